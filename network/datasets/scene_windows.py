"""Windows of scenes for training, and windows of scenes and other large images for validation."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch.utils.data import Dataset

from network.datasets.lazy import Lazy
from network.datasets.on_earth.label_raster import CELL
from network.datasets.rare import ClassDraw, draw_pixel, paste_class, rare_classes
from network.datasets.samples import FolderSamples
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, to_tensor
from network.datasets.transforms import Pair, TrainTransform
from network.datasets.windows import STRIDE, Part, Window, around, parts_of
from network.rasters.pixels import is_measured, network_values
from network.rasters.source_pool import SourcePool
from network.settings import Data


class SceneWindows(Dataset):
    """Dataset of training crops from random windows of scenes.

    Windows are drawn where labels are: each labeled pixel is the middle of a window with the same
    probability, times the weight of the file that its label is from. An index is ``(epoch,
    index)``; the window and its augmentation depend only on these and the seed, so neither the
    number of workers nor an interruption changes them. Only the pixels of the crop are read from
    the files.

    An item has ``image`` (bands, H, W) and ``labels`` (H, W) uint8, as those of
    :class:`network.datasets.segmentation.SegmentationDataset`.

    Args:
        samples: the scenes, with labels.
        info: description of the data set.
        transform: the augmentation.
        window: side of the windows in pixels; where a scene is smaller, so is the window.
        seed: seed of windows and augmentation.
        rare: share of the windows whose middle is a pixel of a rare class, from 0 to 1. Each of
            these windows first draws a class, with equal probabilities for all classes. Its crop
            holds this pixel.
        paste: probability that a crop gets the pixels of a rare class from another crop, see
            :class:`network.settings.Data`.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        info: DatasetInfo,
        transform: TrainTransform,
        window: int,
        seed: int = 0,
        rare: float = 0.0,
        paste: float = 0.0,
    ):
        self.samples, self.info, self.transform = samples, info, transform
        self.window, self.seed, self.rare, self.paste = window, seed, rare, paste
        self._cells = _Cells(samples)
        self._rare_classes = rare_classes(self._cells.pixels)
        self._sources = SourcePool()

    def __len__(self) -> int:
        """Number of windows that have as many pixels as all labels."""
        return count_windows(self.samples, self.window)

    def __getitem__(self, item: tuple[int, int]) -> dict:
        epoch, index = item
        rng = np.random.default_rng([self.seed, epoch, index])
        pair, focus = self._window_of(epoch, index)

        def read(number: int) -> Pair:
            return pair if number == index else self._window_of(epoch, number)[0]

        crop = self.transform(read, index, len(self), rng, focus)
        rng = np.random.default_rng([self.seed, epoch, index, 2])
        if self._rare_classes and rng.random() < self.paste:
            label = int(rng.choice(self._rare_classes))
            other, focus = self._draw_window(rng, label)
            source = self.transform(lambda _: other, 0, 1, rng, focus)
            crop = paste_class(crop, source, label)
        return {"image": to_tensor(crop[0]), "labels": torch.from_numpy(crop[1])}

    def crop(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Make a crop of a random window: image (H, W, bands) and labels (H, W).

        Args:
            rng: source of all random decisions.
        """
        pair, focus = self._draw_window(rng)
        return self.transform(lambda _: pair, 0, 1, rng, focus)

    def _window_of(self, epoch: int, index: int) -> tuple[Pair, tuple[int, int] | None]:
        """Draw the window of an index, see :meth:`_draw_window`."""
        return self._draw_window(np.random.default_rng([self.seed, epoch, index, 1]))

    def _draw_window(
        self, rng: np.random.Generator, label: int | None = None
    ) -> tuple[Pair, tuple[int, int] | None]:
        """Draw a window.

        Args:
            rng: source of randomness.
            label: class of the pixel in its middle; with None, any class, or a rare one.

        Returns:
            Its image and labels, of which only the used parts are read; and row and column of its
            middle if a rare class was drawn, otherwise None.
        """
        sample, middle, is_rare = self._draw_middle(rng, label)
        rows, columns = (
            around(place, self.window, length)
            for place, length in zip(middle, sample.size, strict=True)
        )
        shape = rows.stop - rows.start, columns.stop - columns.start
        assert sample.scene is not None
        dtype = np.dtype(np.float32 if is_measured(self.info.dtype) else self.info.dtype)
        corner = rows.start, columns.start
        pair = (
            Lazy((*shape, self.info.bands), dtype, partial(self._image, sample, corner)),
            Lazy(shape, np.dtype(np.uint8), partial(self._labels, sample, corner)),
        )
        return pair, (middle[0] - corner[0], middle[1] - corner[1]) if is_rare else None

    def _draw_middle(
        self, rng: np.random.Generator, label: int | None = None
    ) -> tuple[Sample, tuple[int, int], bool]:
        """Draw the pixel in the middle of a window; also tell whether its class was drawn first."""
        if label is None and self.rare and rng.random() < self.rare:
            label = self._cells.draw_class(rng)
        number, origin, row, column = self._cells.draw(rng, label)
        sample = self.samples[number]
        rows, columns = (
            slice(CELL * cell, min(CELL * (cell + 1), length))
            for cell, length in zip((row, column), sample.size, strict=True)
        )
        labels = self._labels(sample, (0, 0), (rows, columns))
        is_one = labels != self.info.ignore_index if label is None else labels == label
        if origin is not None:
            is_one &= self._origins(sample, (rows, columns)) == origin
        place = draw_pixel(is_one, rng)
        assert place is not None  # the cell has such pixels
        return sample, (rows.start + place[0], columns.start + place[1]), label is not None

    def _image(self, sample: Sample, corner: tuple[int, int], window: Window) -> np.ndarray:
        assert sample.scene is not None
        source = self._sources.get(sample.image, sample.scene.bands)
        return network_values(*source.read(*_moved(window, corner)))

    def _labels(self, sample: Sample, corner: tuple[int, int], window: Window) -> np.ndarray:
        mask = next(iter(sample.masks.values()))
        return self._sources.get(mask).read(*_moved(window, corner))[0][..., 0]

    def _origins(self, sample: Sample, window: Window) -> np.ndarray:
        assert sample.scene is not None
        assert sample.scene.labels is not None
        assert sample.scene.labels.origins is not None
        path = sample.scene.labels.origins.path
        return self._sources.get(path).read(*window)[0][..., 0]


class _Cells:
    """The cells of all scenes, from which one is drawn by its number of labeled pixels.

    Attributes:
        pixels: number of labeled pixels of each class, (k,).
    """

    def __init__(self, samples: Sequence[Sample]):
        counts: dict[float, list[np.ndarray]] = {}
        places: dict[float, list[np.ndarray]] = {}
        for number, sample in enumerate(samples):
            for weight, origin, cells in _weighted_cells(sample):
                rows, columns = np.nonzero(cells.any(axis=2))
                if not len(rows):
                    continue
                same = np.full_like(rows, -1 if origin is None else origin)
                place = np.stack([np.full_like(rows, number), same, rows, columns], axis=1)
                places.setdefault(weight, []).append(place)
                counts.setdefault(weight, []).append(cells[rows, columns])
        self._weights = sorted(counts)
        self._places = [np.concatenate(places[weight]) for weight in self._weights]
        by_weight = [np.concatenate(counts[weight]) for weight in self._weights]
        self._draws = [ClassDraw(each) for each in by_weight]
        # Pixels of each class, (weights, k), as often as each of them is drawn.
        totals = np.stack([each.sum(axis=0, dtype=np.int64) for each in by_weight])
        self._shares = totals * np.array(self._weights)[:, None]
        self._classes = np.flatnonzero(totals.any(axis=0))
        self.pixels = totals.sum(axis=0)

    def draw_class(self, rng: np.random.Generator) -> int:
        """Draw a class, all with the same probability."""
        return int(rng.choice(self._classes))

    def draw(self, rng: np.random.Generator, label: int | None) -> tuple[int, int | None, int, int]:
        """Draw a cell: the number of its scene, the origin of its labels, its row and its column.

        Args:
            rng: source of randomness.
            label: the class whose pixels are counted; None for all.
        """
        chosen = 0
        if len(self._weights) > 1:
            shares = self._shares.sum(axis=1) if label is None else self._shares[:, label]
            chosen = int(rng.choice(len(shares), p=shares / shares.sum()))
        place = self._places[chosen][self._draws[chosen].draw_part(rng, label)]
        number, origin, row, column = place.tolist()
        return number, None if origin < 0 else origin, row, column


def _weighted_cells(sample: Sample) -> Iterator[tuple[float, int | None, np.ndarray]]:
    """Yield weights, origins, and their pixels of each class in each cell, (rows, columns, k).

    The origin is None if all labels of the scene have the same weight.
    """
    assert sample.scene is not None
    assert sample.scene.labels is not None
    labels = sample.scene.labels
    if labels.origins is None:
        yield 1.0, None, labels.cells
        return
    for origin, weight in enumerate(labels.origins.weights):
        yield weight, origin, labels.origins.cells[origin]


def weights_digest(samples: Sequence[Sample]) -> str | None:
    """Compute a digest of the weights of all labels; None if all of them have the same.

    Args:
        samples: the scenes, with labels.
    """
    digest, is_weighted = hashlib.sha256(), False
    for sample in samples:
        for weight, origin, cells in _weighted_cells(sample):
            is_weighted |= origin is not None
            digest.update(f"{sample.name} {weight} {cells.shape}".encode())
            digest.update(np.ascontiguousarray(cells).data)
    return digest.hexdigest() if is_weighted else None


def count_windows(samples: Sequence[Sample], window: int) -> int:
    """Count the windows that have as many pixels as all labels of scenes together.

    Args:
        samples: the scenes, with labels.
        window: side of the windows in pixels.
    """
    pixels = sum(
        int(sample.scene.labels.pixels.sum())
        for sample in samples
        if sample.scene and sample.scene.labels
    )
    return max(1, -(-pixels // window**2))


def is_large(sample: Sample, info: DatasetInfo, data: Data) -> bool:
    """Tell whether an image of a folder is seen in windows; see ``data.windows_above``.

    Args:
        sample: the image, or a scene, for which this is never true.
        info: description of the data set.
        data: settings of the data.
    """
    height, width = sample.size
    is_whole = info.patched or sample.scene is not None
    return not is_whole and height * width > data.windows_above**2


def in_windows(samples: Sequence[Sample], info: DatasetInfo, data: Data) -> Sequence[Sample]:
    """Replace scenes and large images by the windows that cover them.

    Args:
        samples: the images, with labels.
        info: description of the data set.
        data: settings of the data.
    """
    if isinstance(samples, FolderSamples) and info.patched:
        return samples
    found: list[Sample] = []
    for sample in samples:
        is_cut = sample.scene is not None or is_large(sample, info, data)
        found += evaluation_windows([sample], data.window) if is_cut else [sample]
    return found


def fitting_window(window: int) -> tuple[int, int]:
    """Find the side of the windows of an evaluation, and of the context around their cores.

    Args:
        window: largest side of a window in pixels.

    Returns:
        Side and halo in pixels, both multiples of the stride of the encoders.
    """
    side = max(STRIDE, window // STRIDE * STRIDE)
    return side, min(128, side // 8 // STRIDE * STRIDE)


def evaluation_windows(samples: Sequence[Sample], window: int) -> list[Sample]:
    """List the windows that cover images; each pixel is in the core of one of them.

    Windows of scenes in which no pixel has a label are left out.

    Args:
        samples: scenes with labels, or images of a folder.
        window: largest side of a window in pixels, rounded to the stride of the encoders.
    """
    return [
        replace(sample, part=part, size=_size(part.window))
        for sample in samples
        for part in parts_of(*sample.size, *fitting_window(window))
        if _may_be_labeled(sample, part)
    ]


def _may_be_labeled(sample: Sample, part: Part) -> bool:
    if sample.scene is None:
        return True
    assert sample.scene.labels is not None
    rows, columns = (slice(side.start // CELL, -(-side.stop // CELL)) for side in part.core)
    return bool(sample.scene.labels.cells[rows, columns].any())


def _size(window: Window) -> tuple[int, int]:
    rows, columns = window
    return rows.stop - rows.start, columns.stop - columns.start


def _moved(window: Window, corner: tuple[int, int]) -> Window:
    rows, columns = (
        slice(side.start + start, side.stop + start)
        for side, start in zip(window, corner, strict=True)
    )
    return rows, columns
