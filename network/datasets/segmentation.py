"""Samples of a split, the checks of their masks, and the Dataset that reads them."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from network.datasets.files import (
    Listing,
    check_pair,
    fitting_header,
    fitting_size,
    ignore_invalid,
    list_folder,
    list_images,
    list_used,
    mask_labels,
    read_mask,
    read_plain_mask,
    read_valid_image,
    stem_of,
    used_size,
)
from network.datasets.known_files import FolderFacts, KnownFiles
from network.datasets.lazy import Lazy
from network.datasets.on_earth.find import Scene, find_scenes
from network.datasets.on_earth.scenes import Scenes
from network.datasets.patch_cache import CachePart, Decoded, Files
from network.datasets.provenance import recorded_kind
from network.datasets.rare import ClassDraw, Crop, draw_pixel_of, paste_class, rare_classes
from network.datasets.schema import DatasetInfo, Folder
from network.datasets.transforms import Pair, TrainTransform
from network.datasets.window_reader import WindowReader, strips
from network.datasets.windows import Part, Window
from network.errors import InputError
from network.memory import collector_paused
from network.progress import progress_bar
from network.rasters.pixels import count_labels, is_measured, network_values

Item = TypeVar("Item")

READ_WHOLE = 2048**2
"""Number of pixels of the largest images that are read as a whole."""

PART = 32
"""Number of files that a thread checks one after another."""

QUICK = 0.0005
"""Seconds for a file in which threads bring nothing."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image and its masks.

    Args:
        name: stem of the image file.
        image: the image file.
        size: height and width in pixels.
        masks: mask files by label kind; empty if the labels are not public.
        scene: the scene that the image is; None for an image in a folder.
        part: the window that is read, and its core, outside of which labels are ignored; ``size``
            is that of the window. None for the whole image.
    """

    name: str
    image: Path
    size: tuple[int, int]
    masks: dict[str, Path] = field(default_factory=dict)
    scene: Scene | None = None
    part: Part | None = None


@collector_paused()
def find_samples(
    info: DatasetInfo, root: Path, split: str, known: KnownFiles | None = None
) -> list[Sample]:
    """Find the images of a split and their masks, in name order, and check the file headers.

    Args:
        info: description of the data set.
        root: root folder of the data.
        split: name of the split.
        known: facts about unchanged files, whose headers are not read again; new facts are added.
            By default, all headers are read.

    Raises:
        InputError: a folder is missing or empty, an image has no mask or the reverse, their
            sizes or places on Earth differ, an image has other bands than ``info`` says, or a file
            is damaged.
    """
    samples: dict[str, Sample] = {}
    for part in info.splits[split]:
        if isinstance(part, Folder):
            own = _folder_samples(root, part, info, known)
        else:
            own = _scene_samples(root, part, info)
        for sample in own:
            if sample.name in samples:
                raise InputError(
                    sample.image,
                    f"same name as {samples[sample.name].image}",
                    "masks are saved by name: rename one of the two, or give their folders "
                    "different prefixes",
                )
            samples[sample.name] = sample
    found = list(samples.values())
    for sample in found:
        if sample.masks.keys() != found[0].masks.keys():
            raise InputError(
                sample.image,
                f"its masks are {' and '.join(sample.masks)}, those of {found[0].image} "
                f"{' and '.join(found[0].masks)}",
                "all images of a split need the same kinds of masks; cut them again in the same "
                "way",
            )
    return found


def evenly_spread(items: Sequence[Item], count: int) -> list[Item]:
    """Choose items at equal distances, such as images of a split.

    Args:
        items: the items.
        count: number of items to choose; all if there are no more.

    Examples:
        >>> evenly_spread("abcdef", 3)
        ['b', 'd', 'f']
    """
    count = min(count, len(items))
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def find_images(folder: Path, info: DatasetInfo) -> list[Sample]:
    """Find the images of one folder, in name order and without masks, and check their headers.

    Raises:
        InputError: the folder is missing or empty, or an image is damaged or does not fit the data
            set.
    """
    images = list_images(folder)
    with ThreadPoolExecutor() as pool:
        sizes = pool.map(lambda path: fitting_size(path, info), images.values())
        return [
            Sample(name=name, image=path, size=size)
            for (name, path), size in zip(images.items(), sizes, strict=True)
        ]


def _folder_samples(
    root: Path, folder: Folder, info: DatasetInfo, known: KnownFiles | None
) -> list[Sample]:
    def listed(path: Path) -> Listing:
        return list_folder(path, states=known is not None)

    own = listed(root / folder.images)
    images = list_used(own.folder, folder, own)
    folders: dict[str, Listing] = {}
    for mask_folder in folder.masks:
        path = root / mask_folder.folder
        if mask_folder.optional and not path.is_dir():
            continue
        # The patch tools record which kind of masks they cut; this is more reliable.
        kind = recorded_kind(path, mask_folder.kind)
        if kind in folders:
            raise InputError(
                path,
                f"{kind} masks, as in another folder of this split",
                "cut the eroded ones with eroded=True, or remove one of the two",
            )
        folders[kind] = listed(path)
    masks = {kind: _paired_masks(images, folder, own, one) for kind, one in folders.items()}
    if known is None:
        with ThreadPoolExecutor() as pool:  # most of the time is spent waiting for the disk
            sizes = list(pool.map(lambda name: _checked_size(name, images, masks, info), images))
    else:
        sizes = _known_sizes(known.folder(own, folders, images), images, masks, info)
    return [
        Sample(
            name=name,
            image=path,
            size=size,
            masks={kind: paths[name] for kind, paths in masks.items()},
        )
        for (name, path), size in zip(images.items(), sizes, strict=True)
    ]


def _known_sizes(
    facts: FolderFacts,
    images: dict[str, Path],
    masks: dict[str, dict[str, Path]],
    info: DatasetInfo,
) -> list[tuple[int, int]]:
    """Find the sizes of images; the headers of those without facts are checked."""
    found = facts.sizes_of(images.values())
    new = [(at, name) for at, name in enumerate(images) if found[at] is None]
    start = perf_counter()

    def check(part: Sequence[tuple[int, str]]) -> None:
        for at, name in part:
            found[at] = _check_new(name, facts, images, masks, info)

    _for_all(check, new, "Checking files", "image")
    facts.seconds += perf_counter() - start
    return [size for size in found if size is not None]


def _check_new(
    name: str,
    facts: FolderFacts,
    images: dict[str, Path],
    masks: dict[str, dict[str, Path]],
    info: DatasetInfo,
) -> tuple[int, int]:
    """Check the headers of an image and its masks as :func:`_checked_size` does, but faster.

    A mask that is a plain PNG is read whole, since opening it again would take longer.
    """
    image = images[name]
    is_alone, *are_alone = facts.are_alone(stem_of(image))
    header = fitting_header(image, info, alone=is_alone)
    size, labels = used_size(header, info), {}
    for (kind, paths), mask_is_alone in zip(masks.items(), are_alone, strict=True):
        path = paths[name]
        is_plain = mask_is_alone and not is_read_in_windows(size)
        raster = read_plain_mask(path) if is_plain else None
        check_pair(image, path, header, info, raster.header if raster else None)
        if raster:
            with suppress(InputError):  # raised again if this mask is used
                labels[kind] = _summary(iter((mask_labels(path, raster, info),)), info)
    facts.set_size(stem_of(image), size)
    if len(labels) == len(masks):
        facts.set_labels(stem_of(image), labels)
    return size


def _for_all(
    function: Callable[[Sequence[Item]], None], items: Sequence[Item], text: str, unit: str
) -> None:
    """Apply a function to parts of many items, in threads if that is faster."""
    if not items:
        return
    parts = [items[start : start + PART] for start in range(0, len(items), PART)]
    with (
        ThreadPoolExecutor() as pool,
        progress_bar(total=len(items), desc=text, leave=False, unit=unit) as bar,
    ):
        start = perf_counter()
        function(parts[0])
        bar.update(len(parts[0]))
        # Threads wait for a slow disk together and decode large masks together. But if each item
        # takes less time than it takes to change between threads, they are slower than one.
        is_quick = perf_counter() - start < QUICK * len(parts[0])
        done = map(function, parts[1:]) if is_quick else pool.map(function, parts[1:])
        for part, _ in zip(parts[1:], done, strict=True):
            bar.update(len(part))


def _scene_samples(root: Path, scenes: Scenes, info: DatasetInfo) -> list[Sample]:
    kind = "eroded" if scenes.border else "full"
    return [
        Sample(
            name=scene.image.stem,
            image=scene.image,
            size=scene.size,
            masks={kind: scene.labels.path} if scene.labels else {},
            scene=scene,
        )
        for scene in find_scenes(info, root, scenes)
    ]


def _paired_masks(
    images: dict[str, Path], folder: Folder, own: Listing, listing: Listing
) -> dict[str, Path]:
    masks = list_used(listing.folder, folder, listing)
    for one, other, searched, what in (
        (images, masks, listing.folder, "mask"),
        (masks, images, own.folder, "image"),
    ):
        alone = [path for name, path in one.items() if name not in other]
        if alone:
            raise InputError(
                alone[0],
                f"no {what} of this name in {searched} ({len(alone)} of {len(one)} files without "
                "one)",
                "add the missing files or remove these",
            )
    return masks


def _checked_size(
    name: str, images: dict[str, Path], masks: dict[str, dict[str, Path]], info: DatasetInfo
) -> tuple[int, int]:
    """Check the headers of an image and its masks, and return the size that is used."""
    header = fitting_header(images[name], info)
    for paths in masks.values():
        check_pair(images[name], paths[name], header, info)
    return used_size(header, info)


@dataclass(frozen=True)
class Labels:
    """Summary of all masks of a split, by label kind.

    Attributes:
        digests: SHA-256 of all names and labels, by kind. If two runs have the same digest, they
            were scored on the same labels.
        counts: number of pixels of each class in each sample, (samples, k) int64, by kind.
    """

    digests: dict[str, str]
    counts: dict[str, np.ndarray]

    @property
    def pixels(self) -> dict[str, tuple[int, ...]]:
        """Number of pixels of each class, by kind."""
        return {kind: tuple(each.sum(axis=0).tolist()) for kind, each in self.counts.items()}


@collector_paused()
def check_samples(
    samples: Sequence[Sample], info: DatasetInfo, split: str, known: KnownFiles | None = None
) -> Labels:
    """Read every mask once, so a wrong label is found before the training or the test begins.

    Args:
        samples: the samples of the split.
        info: description of the data set.
        split: name of the split, for the progress bar and errors.
        known: facts about unchanged files, whose masks are not read again; new facts are added. By
            default, all masks are read.

    Raises:
        InputError: a mask cannot be read, holds a label or color that is no class, or no pixel
            of the whole split has a class.
    """
    kinds = list(samples[0].masks)
    digests: dict[str, list[str]] = {kind: [""] * len(samples) for kind in kinds}
    counts = {kind: np.zeros((len(samples), info.num_classes), np.int64) for kind in kinds}
    new, start = [], perf_counter()
    for at, sample in enumerate(samples):
        found = known.labels_of(sample.name) if known else None
        if sample.scene and sample.scene.labels:
            labels = sample.scene.labels
            found = dict.fromkeys(kinds, (labels.digest, labels.pixels))
        if found is None:
            new.append(at)
            continue
        for kind, (digest, pixels) in found.items():
            digests[kind][at], counts[kind][at] = digest, pixels

    def check(part: Sequence[int]) -> None:
        for at in part:
            sample = samples[at]
            found = {}
            for kind, path in sample.masks.items():
                found[kind] = _summary(_mask_strips(sample, path, info), info)
                digests[kind][at], counts[kind][at] = found[kind]
            if known:
                known.set_labels(sample.name, found)

    _for_all(check, new, f"Checking {split} masks", "mask")
    if known and new:
        known.add_seconds(perf_counter() - start)
    # The size counts too: the same bytes in rows of another length are another mask.
    starts = [f"{sample.name} {sample.size} " for sample in samples]
    totals = {}
    for kind, each in digests.items():
        lines = sorted(f"{one}{digest}\n" for one, digest in zip(starts, each, strict=True))
        totals[kind] = hashlib.sha256("".join(lines).encode()).hexdigest()
    if not any(each.any() for each in counts.values()):
        raise InputError(
            info.name,
            f"no pixel of the {split} masks has a class",
            "check the masks and the classes",
        )
    return Labels(totals, counts)


def _summary(strips: Iterator[np.ndarray], info: DatasetInfo) -> tuple[str, np.ndarray]:
    """Compute the SHA-256 of the labels of a mask, and the number of pixels of each class."""
    digest, counts = hashlib.sha256(), np.zeros(256, np.int64)
    for mask in strips:
        digest.update(np.ascontiguousarray(mask).data)
        counts += count_labels(mask)
    return digest.hexdigest(), counts[: info.num_classes]


def _mask_strips(sample: Sample, path: Path, info: DatasetInfo) -> Iterator[np.ndarray]:
    """Read a mask, strip by strip if it is large."""
    if not is_read_in_windows(sample.size):
        yield read_mask(path, info)
        return
    reader = WindowReader(info)
    for window in strips(sample.size):
        yield reader.mask(path, window)


def is_read_in_windows(size: tuple[int, int]) -> bool:
    """Tell whether an image is so large that only those pixels are read that are needed.

    Args:
        size: height and width of the image.
    """
    return math.prod(size) > READ_WHOLE


class SegmentationDataset(Dataset):
    """Dataset of images (bands, H, W) with their labels (H, W) uint8.

    Images are uint8 or uint16, or float32 with NaN where they have no data; see
    :func:`network.rasters.pixels.network_values`.

    For training, an index is ``(epoch, index)``. The augmentation depends only on these and the
    seed, so a resumed run sees the same images as an uninterrupted one. An item has ``image`` and
    ``labels``.

    For evaluation, an index is ``index``, or ``~index`` for the same image with all labels ignored.
    An item has ``image``, ``labels`` by label kind, ``valid`` (H, W) bool, true where the image has
    data, ``name`` and ``index``. Labels are ignored where the image has no data.

    Args:
        samples: the samples to read.
        info: description of the data set.
        transform: augmentation for training; None for evaluation.
        seed: seed of the augmentation.
        rare: share of the training crops that hold a pixel of a rare class, from 0 to 1. Each of
            them first draws a class, with equal probabilities for all classes that have pixels, and
            then one of its pixels in all images; so it is from an image with many of them rather
            than from one with few.
        counts: number of pixels of each class in each sample, (samples, k); needed if ``rare`` or
            ``paste`` is above 0.
        paste: probability that a training crop gets the pixels of a rare class from another crop,
            see :class:`network.settings.Data`.
        cache: decoded patches, in the order of the samples; by default each is decoded every time.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        info: DatasetInfo,
        transform: TrainTransform | None = None,
        seed: int = 0,
        rare: float = 0.0,
        counts: np.ndarray | None = None,
        paste: float = 0.0,
        cache: CachePart | None = None,
    ):
        self.samples, self.info, self.transform, self.seed = samples, info, transform, seed
        self._cache = cache
        self.rare, self.paste = rare, paste
        self._draw = None if counts is None else ClassDraw(counts)
        self._rare_classes = [] if counts is None else rare_classes(counts.sum(axis=0))
        self._reader = WindowReader(info)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, item: int | tuple[int, int]) -> dict:
        if self.transform is None:
            assert not isinstance(item, tuple)
            return self._evaluation_item(item)
        assert isinstance(item, tuple)
        epoch, index = item
        rng = np.random.default_rng([self.seed, epoch, index])
        # Draws of their own, so that the augmentation of the other crops is the same as without.
        chosen = self._rare_item(np.random.default_rng([self.seed, epoch, index, 1]))
        if chosen is None:
            image, labels = self.transform(self._read, index % len(self), len(self), rng)
        else:
            pair, focus = chosen
            image, labels = self.transform(lambda _: pair, 0, 1, rng, focus)
        crop = self._pasted((image, labels), np.random.default_rng([self.seed, epoch, index, 2]))
        return {"image": to_tensor(crop[0]), "labels": torch.from_numpy(own(crop[1]))}

    def _pasted(self, crop: Crop, rng: np.random.Generator) -> Crop:
        """Paste the pixels of a rare class onto a crop, with the probability ``paste``."""
        if not self._rare_classes or rng.random() >= self.paste:
            return crop
        label = int(rng.choice(self._rare_classes))
        found = self._image_of(label, rng)
        if found is None:
            return crop
        pair, focus = found
        assert self.transform is not None
        return paste_class(crop, self.transform(lambda _: pair, 0, 1, rng, focus), label)

    def _rare_item(self, rng: np.random.Generator) -> tuple[Pair, tuple[int, int]] | None:
        """Draw an image by its class, and a pixel of the class; None for an item as usual."""
        if self._draw is None or rng.random() >= self.rare:
            return None
        return self._image_of(self._draw.draw_class(rng), rng)

    def _image_of(
        self, label: int, rng: np.random.Generator
    ) -> tuple[Pair, tuple[int, int]] | None:
        """Draw an image with pixels of a class, and one of these pixels."""
        assert self._draw is not None
        image, labels = self._read(self._draw.draw_part(rng, label))
        # The image may have no data at all of these pixels.
        focus = draw_pixel_of(labels, label, rng)
        return None if focus is None else ((image, labels), focus)

    def _read(self, index: int) -> Pair:
        sample = self.samples[index]
        mask = next(iter(sample.masks.values()))
        if is_read_in_windows(sample.size):
            return self._lazy(sample, mask)
        decoded = self._whole(index, used_masks(sample, training=True))
        return decoded.image, next(iter(decoded.labels.values()))

    def _whole(self, index: int, masks: Mapping[str, Path]) -> Decoded:
        """Read an image and its masks as a whole, from the cache if it has them."""
        cached = self._cache and self._cache.read(index)
        if cached:
            return cached
        image, valid = read_valid_image(self.samples[index].image, self.info)
        labels = {
            kind: ignore_invalid(read_mask(path, self.info), valid, self.info)
            for kind, path in masks.items()
        }
        decoded = Decoded(network_values(image, valid), valid, labels)
        if self._cache:
            self._cache.write(index, decoded)
        return decoded

    def _lazy(self, sample: Sample, mask: Path) -> Pair:
        """Make image and labels of which only the windows are read that the augmentation uses."""

        def read(window: Window) -> np.ndarray:
            return network_values(*self._reader.image(sample, window))

        dtype = np.dtype(np.float32 if is_measured(self.info.dtype) else self.info.dtype)
        return (
            Lazy((*sample.size, self.info.bands), dtype, read),
            Lazy(sample.size, np.dtype(np.uint8), partial(self._reader.labels, sample, mask)),
        )

    def _evaluation_item(self, index: int) -> dict:
        sample = self.samples[max(index, ~index)]
        if sample.part is None:
            whole = self._whole(max(index, ~index), used_masks(sample, training=False))
            image, valid, labels = whole.image, whole.valid, whole.labels
        else:
            image, valid, masks = self._read_part(sample, sample.part)
            image = network_values(image, valid)
            labels = {kind: ignore_invalid(mask, valid, self.info) for kind, mask in masks.items()}
        if index < 0:
            valid = np.zeros(image.shape[:2], bool)
            labels = {kind: np.full_like(m, self.info.ignore_index) for kind, m in labels.items()}
        return {
            "image": to_tensor(image),
            "labels": {kind: torch.tensor(mask) for kind, mask in labels.items()},
            "valid": torch.ones(image.shape[:2], dtype=torch.bool)
            if valid is None
            else torch.tensor(valid),
            "name": sample.name,
            "index": max(index, ~index),
        }

    def _read_part(
        self, sample: Sample, part: Part
    ) -> tuple[np.ndarray, np.ndarray | None, dict[str, np.ndarray]]:
        """Read a window: image, valid pixels, and labels, which the halo lacks."""
        image, valid = self._reader.image(sample, part.window)
        masks = {}
        for kind, path in sample.masks.items():
            mask = np.full(image.shape[:2], self.info.ignore_index, np.uint8)
            mask[part.inside] = self._reader.mask_of(sample, path, part.core)
            masks[kind] = mask
        return image, valid, masks


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """Turn an image (h, w, bands) into a tensor (bands, h, w)."""
    if image.dtype != np.uint8 or image.shape[2] != 3:
        return torch.from_numpy(own(image.transpose(2, 0, 1)))
    bands = np.empty((3, *image.shape[:2]), np.uint8)
    cv2.split(np.ascontiguousarray(image), list(bands))  # several times faster than NumPy
    return torch.from_numpy(bands)


def own(array: np.ndarray) -> np.ndarray:
    """Return an array in C order that may be written to; arrays of a cache are copied."""
    return np.require(array, requirements=("C", "W"))


def used_masks(sample: Sample, *, training: bool) -> dict[str, Path]:
    """Choose the masks of a sample that a dataset reads: for training one, the first kind."""
    return dict(islice(sample.masks.items(), 1)) if training else sample.masks


def files_of(sample: Sample, known: KnownFiles, *, training: bool) -> Files | None:
    """Describe the files of a patch for a cache; None for windows and for large images.

    Args:
        sample: the patch.
        known: the facts with which it was found.
        training: whether it is trained on, so only its first mask is read.
    """
    if sample.part is not None or is_read_in_windows(sample.size):
        return None
    masks = used_masks(sample, training=training)
    states = known.states_of(sample.name, masks)
    return None if states is None else Files(sample.image, masks, sample.size, states)
