"""Samples of a split, the checks of their masks, and the Dataset that reads them."""

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from network.datasets.file_checks import (
    DIGEST,
    LabelFacts,
    MaskFiles,
    PatchFiles,
    check_files,
    read_labels,
)
from network.datasets.files import (
    Listing,
    fitting_size,
    ignore_invalid,
    list_folder,
    list_images,
    read_mask,
    read_valid_image,
    unmatched_names,
    used_names,
)
from network.datasets.known_files import KnownFiles
from network.datasets.lazy import Lazy
from network.datasets.on_earth.find import Scene, find_ground, find_scenes
from network.datasets.on_earth.scenes import Scenes
from network.datasets.patch_cache import CachePart, Decoded, Files
from network.datasets.provenance import recorded_kind
from network.datasets.rare import ClassDraw, Crop, draw_pixel_of, paste_class, rare_classes
from network.datasets.samples import FolderSamples, Sample, joined, names_of, sizes_of
from network.datasets.schema import DatasetInfo, Folder
from network.datasets.transforms import Pair, TrainTransform
from network.datasets.window_reader import WindowReader
from network.datasets.windows import Part, Window
from network.datasets.workers import in_parts
from network.errors import InputError, warn
from network.memory import collector_paused
from network.rasters.pixels import is_measured, network_values

Item = TypeVar("Item")

READ_WHOLE = 2048**2
"""Number of pixels of the largest images that are read as a whole."""


@collector_paused()
def find_samples(
    info: DatasetInfo, root: Path, split: str, known: KnownFiles | None = None
) -> Sequence[Sample]:
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
    parts = [
        _folder_samples(root, part, info, known)
        if isinstance(part, Folder)
        else _samples_of(find_scenes(info, root, part), part)
        for part in info.splits[split]
    ]
    found = joined(parts)
    _refuse_twins(found)
    if isinstance(found, FolderSamples):  # all of them have the same kinds of masks
        return found
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


def _refuse_twins(samples: Sequence[Sample]) -> None:
    """Raise an :class:`InputError` if a sample has the name of another one."""
    names = names_of(samples)
    if len(set(names)) == len(names):
        return
    seen: dict[str, Path] = {}
    for sample in samples:
        if sample.name in seen:
            raise InputError(
                sample.image,
                f"same name as {seen[sample.name]}",
                "masks are saved by name: rename one of the two, or give their folders "
                "different prefixes",
            )
        seen[sample.name] = sample.image


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
) -> FolderSamples:
    def listed(path: Path) -> Listing:
        return list_folder(path, states=known is not None)

    own = listed(root / folder.images)
    images = used_names(own, folder)
    for option in ("only", "leave_out"):
        absent = unmatched_names(own, getattr(folder, option))
        if absent:
            names = ", ".join(absent[:10])
            warn(f"{own.folder}: {option} names {names}, and no image has such a name")
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
    found = FolderSamples(
        list(images),
        _joined_paths(own.folder, images.values()),
        {
            kind: _joined_paths(folders[kind].folder, files.values())
            for kind, files in masks.items()
        },
        np.zeros((len(images), 2), np.int64),
    )
    if known is None:
        alone = np.zeros((len(images), 1 + len(masks)), bool)  # which reads all files by GDAL
        found.sizes = np.concatenate(
            [sizes for sizes, _ in _checked(found, np.arange(len(images)), alone, info, 0)]
        )
        return found
    facts, rows = known.folder(own, folders, images)
    (new,) = np.nonzero(facts.sizes[rows, 0] == 0)
    if len(new):
        start = perf_counter()
        at = 0
        for sizes, labels in _checked(found, new, facts.are_alone(rows), info, known.workers):
            checked = rows[new[at : at + len(sizes)]]
            facts.sizes[checked] = sizes
            facts.labels.set_rows(checked, labels)
            at += len(sizes)
        facts.seconds += perf_counter() - start
    found.sizes = facts.sizes[rows]
    return found


def _joined_paths(folder: Path, names: Iterable[str]) -> list[str]:
    """Join a folder and names of files in it, which takes a tenth of the time that paths take."""
    start = os.path.join(folder, "")
    return [start + name for name in names]


def _checked(
    samples: FolderSamples, which: np.ndarray, alone: np.ndarray, info: DatasetInfo, workers: int
) -> Iterator[tuple[np.ndarray, LabelFacts]]:
    """Check the files of some samples; yield sizes and labels of a part of them after another.

    Args:
        samples: samples of one folder.
        which: indices of those to check.
        alone: for each sample, whether no file beside its image and its masks belongs to them.
        info: description of the data set.
        workers: number of processes that may read files.
    """
    masks = list(samples.masks.values())
    patches = [
        PatchFiles(samples.images[at], tuple(paths[at] for paths in masks), tuple(is_alone))
        for at, is_alone in zip(which.tolist(), alone[which].tolist(), strict=True)
    ]
    check = partial(check_files, info=info, largest=READ_WHOLE)
    return in_parts(check, patches, "Checking files", "image", workers)


def find_ground_samples(info: DatasetInfo, root: Path, split: str) -> list[Sample]:
    """Find the scenes of a split whose labels are not used, see :func:`find_ground`.

    Args:
        info: description of the data set.
        root: root folder of the data.
        split: name of the split.

    Raises:
        InputError: an image is missing, cannot be read or does not fit; or a part of the split has
            no ground.
    """
    parts = info.scenes(split)
    return [one for part in parts for one in _samples_of(find_ground(info, root, part), part)]


def _samples_of(found: Iterable[Scene], scenes: Scenes) -> list[Sample]:
    kind = "eroded" if scenes.border else "full"
    return [
        Sample(
            name=scene.image.stem,
            image=scene.image,
            size=scene.size,
            masks={kind: scene.labels.path} if scene.labels else {},
            scene=scene,
        )
        for scene in found
    ]


def _paired_masks(
    images: dict[str, str], folder: Folder, own: Listing, listing: Listing
) -> dict[str, str]:
    """Find the mask of each image, in the order of the images."""
    masks = used_names(listing, folder)
    if list(masks) == list(images):
        return masks
    for one, other, inside, searched, what in (
        (images, masks, own.folder, listing.folder, "mask"),
        (masks, images, listing.folder, own.folder, "image"),
    ):
        alone = [file for name, file in one.items() if name not in other]
        if alone:
            raise InputError(
                inside / alone[0],
                f"no {what} of this name in {searched} ({len(alone)} of {len(one)} files without "
                "one)",
                "add the missing files or remove these",
            )
    return {name: masks[name] for name in images}


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
    kinds, names = list(samples[0].masks), names_of(samples)
    if known:
        labels = known.labels_of(names, kinds)
    else:
        labels = LabelFacts.empty(len(samples), len(kinds), info.num_classes)
    if not isinstance(samples, FolderSamples):
        for at, sample in enumerate(samples):
            if sample.scene and sample.scene.labels:
                own = sample.scene.labels
                summary = bytes.fromhex(own.digest), np.array(own.pixels)
                labels.set_row(at, [summary] * len(kinds))
    (new,) = np.nonzero(~labels.known)
    if len(new):
        start, at = perf_counter(), 0
        masks = [
            MaskFiles(one.size, tuple(one.masks.values()))
            for one in map(samples.__getitem__, new.tolist())
        ]
        read = partial(read_labels, info=info, largest=READ_WHOLE)
        workers = known.workers if known else 0
        for found in in_parts(read, masks, f"Checking {split} masks", "mask", workers):
            labels.set_rows(new[at : at + len(found.known)], found)
            at += len(found.known)
        if known:
            known.set_labels([names[at] for at in new.tolist()], kinds, labels.rows(new))
            known.add_seconds(perf_counter() - start)
    # The size counts too: the same bytes in rows of another length are another mask.
    starts = [
        f"{name} ({height}, {width}) "
        for name, (height, width) in zip(names, sizes_of(samples).tolist(), strict=True)
    ]
    totals = {}
    for kind, digests in zip(kinds, labels.digests.swapaxes(0, 1), strict=True):
        text, length = digests.tobytes().hex(), 2 * DIGEST
        each = [text[begin : begin + length] for begin in range(0, len(text), length)]
        lines = sorted(f"{one}{digest}\n" for one, digest in zip(starts, each, strict=True))
        totals[kind] = hashlib.sha256("".join(lines).encode()).hexdigest()
    counts = {kind: labels.counts[:, at] for at, kind in enumerate(kinds)}
    if not any(each.any() for each in counts.values()):
        raise InputError(
            info.name,
            f"no pixel of the {split} masks has a class",
            "check the masks and the classes",
        )
    return Labels(totals, counts)


def is_read_in_windows(size: tuple[int, int]) -> bool:
    """Tell whether an image is so large that only those pixels are read that are needed.

    Args:
        size: height and width of the image.
    """
    return math.prod(size) > READ_WHOLE


def read_in_windows(samples: Sequence[Sample]) -> list[Sample]:
    """List the samples of which only those pixels are read that are needed.

    Args:
        samples: the images of a split.
    """
    if isinstance(samples, FolderSamples):
        (large,) = np.nonzero(samples.sizes.prod(axis=1) > READ_WHOLE)
        return [samples[at] for at in large.tolist()]
    return [sample for sample in samples if sample.scene or is_read_in_windows(sample.size)]


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
            labels = partial(self._reader.labels, sample, mask)
            return lazy_pair(self._reader, sample, self.info, labels)
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


def lazy_pair(
    reader: WindowReader,
    sample: Sample,
    info: DatasetInfo,
    labels: Callable[[Window], np.ndarray],
) -> Pair:
    """Make image and labels of which only the windows are read that the augmentation uses.

    Args:
        reader: reads the windows of the image.
        sample: the image.
        info: description of the data set.
        labels: reads labels (h, w) uint8 in a window.
    """

    def read(window: Window) -> np.ndarray:
        return network_values(*reader.image(sample, window))

    dtype = np.dtype(np.float32 if is_measured(info.dtype) else info.dtype)
    return (
        Lazy((*sample.size, info.bands), dtype, read),
        Lazy(sample.size, np.dtype(np.uint8), labels),
    )


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
