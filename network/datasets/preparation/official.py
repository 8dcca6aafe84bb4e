"""Preparation of the folders that the configs read, from the official archives.

Whole ISPRS tiles go to ``<root>/{train,val,test}_images`` and ``_masks`` (for test also
``_masks_eroded``), and are cut into patches. LoveDA's images and masks go to its own folders, and
the masks are converted. Files that exist already stay, so an interrupted run can go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from network.cluster import Workers
from network.datasets.files import read_mask
from network.datasets.preparation.archives import Source, check_disk_space, find_sources, place
from network.datasets.preparation.loveda import convert_masks, is_converted
from network.datasets.preparation.patches import PatchSplit, is_cut, split_tiles
from network.datasets.schema import SPLITS, DatasetInfo
from network.datasets.segmentation import find_samples
from network.datasets.workers import map_parallel
from network.errors import InputError, warn
from network.rasters.pixels import count_labels

# Bytes of image patches for each byte of their tiles. Patches are compressed by LZW, which leaves
# 0.5 to 0.75 of the bytes. Training tiles are cut in three variants.
PATCH_SHARE = {"train": 3 * 0.7, "val": 0.7, "test": 0.7}


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Settings of the preparation.

    Args:
        info: description of the data set.
        archives: folder with the official zip files, or with their unpacked content.
        output: root of the prepared data.
        split_size: side of the patches, in pixels.
        train_stride: pixels from the start of a training patch to the start of the next one; by
            default the data set's stride.
        infrared: whether to use infrared images, if the data set also has RGB images.
        pad_policy: label of the padding, see :class:`PatchSplit`.
        unknown_color: what to do with colors that are no class, see :class:`PatchSplit`.
        partial: whether to go on if tiles or images of the official splits are missing.
        workers: number of processes, or a cluster.
    """

    info: DatasetInfo
    archives: Path
    output: Path
    split_size: int = 1024
    train_stride: int | None = None
    infrared: bool = False
    pad_policy: str = "ignore"
    unknown_color: str = "error"
    partial: bool = False
    workers: Workers = 1

    @property
    def stride(self) -> int:
        return self.train_stride or self.info.train_stride


@dataclass(frozen=True)
class SplitSummary:
    """Result of the preparation of one split.

    Attributes:
        split: name of the split.
        sources: number of tiles that are used; for single images, the official number of images.
        images: number of images for training or testing.
        pixels: number of pixels of each label, with the ignored ones last.
    """

    split: str
    sources: int
    images: int
    pixels: tuple[int, ...]


def prepare(preparation: Preparation) -> list[SplitSummary]:
    """Prepare a data set: unpack the archives, cut tiles or convert masks, and count pixels.

    Raises:
        InputError: the archives are damaged, incomplete or of another data set, or the disk is
            full.
    """
    prepare_kind = _prepare_tiles if preparation.info.tiles else _prepare_images
    return prepare_kind(preparation)


# Data sets of whole tiles -----------------------------------------------------------------------


def _prepare_tiles(preparation: Preparation) -> list[SplitSummary]:
    info, output = preparation.info, preparation.output
    files = _tile_files(preparation, find_sources(preparation.archives))
    tiles = {split: _tiles_of(preparation, split, files) for split in SPLITS}
    wanted = {
        (kind, tile): (source, output / f"{_split_of(info, tile)}_{kind}" / source.path.name)
        for (kind, tile), source in files.items()
        if any(tile in names for names in tiles.values())
        and (kind != "masks_eroded" or tile in tiles["test"])
    }
    _check_space(preparation, wanted, tiles)
    placed = place(list(wanted.values()))
    print(f"{placed} files unpacked, {len(wanted) - placed} were there")
    summaries = []
    for split in SPLITS:
        if not tiles[split]:
            continue
        for part in _patch_splits(preparation, split, files):
            if is_cut(part):
                print(f"{part.output_mask_dir}: cut already")
            else:
                print(f"{part.output_mask_dir}: cutting {len(tiles[split])} tiles")
                split_tiles(part, workers=preparation.workers)
        summaries.append(_summary(preparation, split, len(tiles[split])))
    return summaries


def _tile_files(
    preparation: Preparation, sources: Sequence[Source]
) -> dict[tuple[str, str], Source]:
    """Find the first file of each kind (images, masks, masks_eroded) of each tile.

    A later one with another content is named on standard error.
    """
    files: dict[tuple[str, str], Source] = {}
    made = _made_folders(preparation)
    for source in sources:
        path = (source.folder / source.path).resolve()
        is_made = source.archive is None and not made.isdisjoint(path.parents)
        found = None if is_made else _identify(preparation, source)
        if found:
            _tell_of_another(files.setdefault(found, source), source)
    if not files:
        raise InputError(
            preparation.archives,
            f"no tile of {preparation.info.name} among {len(sources)} files (such as {sources[0]})",
            "give the folder with its official archives",
        )
    return files


def _tell_of_another(used: Source, source: Source) -> None:
    if used.is_surely_not(source):
        warn(f"{source}: not used, {used} has another content and comes first")


def _made_folders(preparation: Preparation) -> set[Path]:
    """List the folders of patches, which this tool fills; the archives may lie beside them."""
    parts = [part for split in SPLITS for part in preparation.info.folders(split)]
    masks = [mask.folder for part in parts for mask in part.masks]
    names = (*(part.images for part in parts), *masks)
    return {(preparation.output / name).resolve() for name in names}


def _identify(preparation: Preparation, source: Source) -> tuple[str, str] | None:
    """Find kind and tile of a file; None if the data set does not need it."""
    info, names = preparation.info, preparation.info.tile_names
    image = names.image_ending(infrared=preparation.infrared)
    endings = {names.eroded_mask: "masks_eroded", names.mask: "masks", image: "images"}
    official = {tile for tiles in info.tile_splits.values() for tile in tiles}
    for ending, kind in endings.items():
        tile = source.path.name.removesuffix(ending)
        if not source.path.name.endswith(ending) or tile not in official:
            continue
        if names.mask == names.image and kind != "masks_eroded":
            # Vaihingen's images and masks have the same names; only the folders differ.
            if "dsm" in source.text:
                return None
            is_mask = any(word in source.text for word in ("gts_", "ground_truth", "mask"))
            kind = "masks" if is_mask else "images"
        return kind, tile
    return None


def _split_of(info: DatasetInfo, tile: str) -> str:
    return next(split for split, tiles in info.tile_splits.items() if tile in tiles)


def _tiles_of(
    preparation: Preparation, split: str, files: dict[tuple[str, str], Source]
) -> list[str]:
    """List the tiles of a split that have all files; test needs eroded masks if there are any."""
    info = preparation.info
    needed = {"images": "image", "masks": "mask"}
    if split == "test" and any(kind == "masks_eroded" for kind, _ in files):
        needed["masks_eroded"] = "eroded mask"
    tiles = info.tile_splits[split]
    for kind, word in needed.items():
        missing = [tile for tile in tiles if (kind, tile) not in files]
        if missing and not preparation.partial:
            raise InputError(
                preparation.archives,
                f"{len(missing)} of the {len(tiles)} {split} tiles of {info.name} have no "
                f"{word}, the first is {missing[0]}",
                "add the archive that holds them, or give partial=True to go on without them",
            )
    return [tile for tile in tiles if all((kind, tile) in files for kind in needed)]


def _check_space(
    preparation: Preparation,
    wanted: dict[tuple[str, str], tuple[Source, Path]],
    tiles: dict[str, list[str]],
) -> None:
    needed: float = sum(source.size for source, target in wanted.values() if not target.exists())
    overlap = (preparation.split_size / preparation.stride) ** 2
    for split, names in tiles.items():
        size = sum(wanted["images", tile][0].size for tile in names)
        folder = preparation.output / preparation.info.folders(split)[0].images
        if not folder.is_dir():
            needed += size * PATCH_SHARE[split] * (overlap if split == "train" else 1)
    check_disk_space(preparation.output, int(needed))


def _patch_splits(
    preparation: Preparation, split: str, files: dict[tuple[str, str], Source]
) -> list[PatchSplit]:
    """List the runs of the patch tool that a split needs, in the order of docs/data.md."""
    info, output = preparation.info, preparation.output
    folder = info.folders(split)[0]
    part = partial(
        PatchSplit,
        info=info,
        img_dir=output / f"{split}_images",
        output_img_dir=output / folder.images,
        mode="train" if split == "train" else "val",
        split_size=preparation.split_size,
        stride=preparation.stride if split == "train" else preparation.split_size,
        car_zoom=info.car_zoom and split == "train",
        rgb_image=not preparation.infrared,
        pad_policy=preparation.pad_policy,
        unknown_color=preparation.unknown_color,
    )
    masks = {mask.kind: output / mask.folder for mask in folder.masks}
    full, eroded = output / f"{split}_masks", output / f"{split}_masks_eroded"
    if split != "test":
        return [part(mask_dir=full, output_mask_dir=masks["full"])]
    if not any(kind == "masks_eroded" for kind, _ in files):
        # Tests look in the folder of eroded masks first. The provenance says that these are full.
        return [part(mask_dir=full, output_mask_dir=masks["eroded"])]
    return [
        part(mask_dir=eroded, output_mask_dir=masks["eroded"], eroded=True),
        part(mask_dir=full, output_mask_dir=masks["full"], gt=True),
    ]


# Data sets of single images ---------------------------------------------------------------------


def _prepare_images(preparation: Preparation) -> list[SplitSummary]:
    info, output = preparation.info, preparation.output
    sources = find_sources(preparation.archives)
    by_target: dict[Path, Source] = {}
    for source in sources:
        path = _path_in_data_set(info, source)
        if path is not None:  # an archive and its unpacked folder have the same files
            _tell_of_another(by_target.setdefault(output / path, source), source)
    wanted = [(source, target) for target, source in by_target.items()]
    if not wanted:
        raise InputError(
            preparation.archives,
            f"nothing of {info.name} among {len(sources)} files (such as {sources[0]})",
            "give the folder with its official archives",
        )
    _check_counts(preparation, [target for _, target in wanted])
    check_disk_space(output, sum(s.size for s, target in wanted if not target.exists()))
    placed = place(wanted)
    print(f"{placed} files unpacked, {len(wanted) - placed} were there")
    for folder in _mask_folders(info):
        raw = output / folder.removesuffix("_convert")
        if not raw.is_dir():
            continue
        if is_converted(raw, output / folder):
            print(f"{output / folder}: converted already")
        else:
            convert_masks(raw, output / folder, workers=preparation.workers)
    return [
        _summary(preparation, split, info.image_counts[split])
        for split in SPLITS
        if any((output / folder.images).is_dir() for folder in info.folders(split))
    ]


def _mask_folders(info: DatasetInfo) -> list[str]:
    """List the folders of converted masks."""
    folders = [folder for split in SPLITS for folder in info.folders(split)]
    return [mask.folder for folder in folders for mask in folder.masks]


def _path_in_data_set(info: DatasetInfo, source: Source) -> PurePosixPath | None:
    """Find a file's path below the data set's root; None if it is neither image nor mask."""
    known = {folder.images for split in SPLITS for folder in info.folders(split)}
    known |= {folder.removesuffix("_convert") for folder in _mask_folders(info)}
    parts = source.path.parts
    for start in range(len(parts) - 1):
        path = PurePosixPath(*parts[start:])
        if str(path.parent) in known and path.suffix.lower() == ".png":
            return path
    return None


def _check_counts(preparation: Preparation, targets: Sequence[Path]) -> None:
    info = preparation.info
    for split in SPLITS:
        folders = [preparation.output / folder.images for folder in info.folders(split)]
        count, expected = sum(t.parent in folders for t in targets), info.image_counts[split]
        if count != expected and not preparation.partial:
            raise InputError(
                preparation.archives,
                f"{count} {split} images of {info.name} instead of {expected}",
                "add the archive that holds the others, or give partial=True to go on without them",
            )


# Summary ----------------------------------------------------------------------------------------


def _summary(preparation: Preparation, split: str, sources: int) -> SplitSummary:
    info = preparation.info
    samples = find_samples(info, preparation.output, split)
    masks = [path for sample in samples for path in list(sample.masks.values())[-1:]]
    count = _CountPixels(info)
    pixels = map_parallel(count, masks, workers=preparation.workers, unit="mask") if masks else []
    total = sum(pixels, np.zeros(info.num_classes + 1, np.int64))
    return SplitSummary(split, sources, len(samples), tuple(total.tolist()))


@dataclass(frozen=True)
class _CountPixels:
    """A function that counts the pixels of each label in a mask; it runs in a worker."""

    info: DatasetInfo

    def __call__(self, path: Path) -> np.ndarray:
        counts = count_labels(read_mask(path, self.info))
        return np.append(counts[: self.info.num_classes], counts[self.info.ignore_index])
