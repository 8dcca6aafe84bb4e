"""Cutting of whole ISPRS tiles into square patches.

The flags are those of GeoSeg's patch tools, which many published commands use. If the stride
divides the side of a patch, the patches of a tile that is not mirrored cover the same pixels. These
are the main differences:

- Colors become labels *before* padding, so padding is ignored. With ``--pad-policy geoseg`` it
  becomes ImSurf as in GeoSeg, and the provenance records this.
- A tile is padded first and then mirrored. GeoSeg mirrors it first, so the padding of its mirrored
  tiles is at the top and left, too.
- Patches are numbered without gaps. GeoSeg also counts windows that reach beyond the padded tile.
- A color that is no class is an error by default. In GeoSeg, it becomes ImSurf.

Notation: h and w are the height and width of a tile in pixels, p is the side of a patch.
"""

import math
import zlib
from collections import ChainMap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from network.datasets.files import (
    check_pair,
    fitting_header,
    ignore_invalid,
    list_images,
    read_colored_mask,
    read_valid_image,
    used_size,
)
from network.datasets.folder_jobs import check_folders, check_replaceable, replacing_folders
from network.datasets.provenance import (
    Provenance,
    is_provenance,
    read_provenance,
    tile_of_patch,
    write_hashed,
    write_provenance,
)
from network.datasets.resize import resize_image, resize_labels
from network.datasets.schema import DatasetInfo
from network.datasets.windows import inner_windows, padding
from network.datasets.workers import map_parallel
from network.errors import InputError, nearest

WHOLE_MASKS = "origin"
"""Name of the folder with whole, unpadded RGB masks that ``--gt`` writes beside the patches."""

MODES = ("train", "val")
PAD_POLICIES = ("ignore", "geoseg")
UNKNOWN_COLORS = ("error", "nearest", "ignore")

CAR_ZOOM_THRESHOLD = 0.1
"""A zoom crop replaces its patch if cars cover more than this share of the crop."""


@dataclass(frozen=True, kw_only=True)
class PatchSplit:
    """Settings that say how tiles are cut; the fields are the flags of the command line.

    Args:
        info: description of the data set, with the names of the tiles.
        img_dir: folder of the whole images.
        mask_dir: folder of the whole RGB masks.
        output_img_dir: folder of the image patches, replaced as a whole.
        output_mask_dir: folder of the mask patches, replaced as a whole.
        mode: ``"train"`` stores every tile in three variants (as is, flipped left-right, flipped
            top-bottom); ``"val"`` stores it only as is.
        split_size: height and width of a patch in pixels.
        stride: pixels from the start of a patch to the start of the next one, at most
            ``split_size``.
        eroded: whether to use the masks whose class boundaries are black.
        gt: whether to write RGB masks, and also whole ones under ``origin/``.
        val_scale: factor on the size of the tiles, only in val mode.
        rgb_image: whether to use RGB images, if the data set also has infrared images.
        car_zoom: whether to enlarge the surroundings of cars, only in train mode.
        pad_policy: label of the padding, ``"ignore"`` for the ignore label or ``"geoseg"`` for
            ImSurf.
        unknown_color: what to do with a color that is no class. ``"error"`` raises an error,
            ``"nearest"`` takes the class with the nearest color (for lossy masks), and ``"ignore"``
            ignores the pixel.
        seed: seed of the random zoom crops.

    Raises:
        InputError: a value is out of range.
    """

    info: DatasetInfo
    img_dir: Path
    mask_dir: Path
    output_img_dir: Path
    output_mask_dir: Path
    mode: str = "train"
    split_size: int = 1024
    stride: int = 1024
    eroded: bool = False
    gt: bool = False
    val_scale: float = 1.0
    rgb_image: bool = False
    car_zoom: bool = False
    pad_policy: str = "ignore"
    unknown_color: str = "error"
    seed: int = 42

    def __post_init__(self) -> None:
        _check_choice("mode", self.mode, MODES)
        _check_choice("pad_policy", self.pad_policy, PAD_POLICIES)
        _check_choice("unknown_color", self.unknown_color, UNKNOWN_COLORS)
        if self.split_size < 1:
            raise InputError(f"split_size={self.split_size}", "expected 1 or more pixels")
        if not 1 <= self.stride <= self.split_size:
            raise InputError(
                f"stride={self.stride}",
                f"expected 1 to {self.split_size}, the side of a patch",
                "a larger stride would leave out the pixels between the patches",
            )
        if not (self.val_scale > 0 and math.isfinite(self.val_scale)):
            raise InputError(f"val_scale={self.val_scale}", "expected a factor above 0")
        if self.val_scale != 1 and self.mode != "val":
            raise InputError(
                f"val_scale={self.val_scale}", "only mode=val resizes tiles", "leave it out"
            )
        if self.seed < 0:
            raise InputError(f"seed={self.seed}", "expected 0 or more")

    @property
    def image_ending(self) -> str:
        return self.info.tile_names.image_ending(infrared=not self.rgb_image)

    @property
    def mask_ending(self) -> str:
        names = self.info.tile_names
        return names.eroded_mask if self.eroded else names.mask

    @property
    def padding_label(self) -> int:
        return 0 if self.pad_policy == "geoseg" else self.info.ignore_index


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name}={value}", f"not a choice{nearest(value, choices)}")


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One whole image and its mask.

    Args:
        name: name of the tile, without the ending of a file.
        image: the image file.
        mask: the mask file.
        height: height after scaling, in pixels.
        width: width after scaling, in pixels.
    """

    name: str
    image: Path
    mask: Path
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Patch:
    """One patch of a tile.

    Args:
        name: file name without suffix.
        image: (p, p, 3) uint8
        labels: (p, p) uint8
    """

    name: str
    image: np.ndarray
    labels: np.ndarray


def split_tiles(split: PatchSplit, *, workers: int = 1) -> Provenance:
    """Cut all tiles into patches and return the provenance that is stored beside them.

    Both output folders are replaced together, after every patch is written.

    Args:
        split: settings of the patches.
        workers: number of processes.

    Raises:
        InputError: tiles, masks, colors or folders cannot be used. Nothing is changed then.
    """
    inputs = (split.img_dir, split.mask_dir)
    outputs = (split.output_img_dir, split.output_mask_dir)
    check_folders(inputs, outputs)
    check_replaceable(split.output_img_dir, _is_image_patch)
    check_replaceable(split.output_mask_dir, _is_mask_patch)
    tiles = find_tiles(split)
    with replacing_folders(*outputs) as (images_to, masks_to):
        write = partial(_write_tile, split, images_to, masks_to)
        written = map_parallel(write, tiles, workers=workers, unit="tile")
        images, masks = (dict(ChainMap(*checksums)) for checksums in zip(*written, strict=True))
        provenance = _provenance(split, tiles, len(images))
        write_provenance(images_to, provenance, images)
        write_provenance(masks_to, provenance, masks)
    return provenance


def is_cut(split: PatchSplit) -> bool:
    """Tell by their provenance whether the output folders hold what :func:`split_tiles` writes.

    Raises:
        InputError: a tile cannot be used, or the provenance is damaged.
    """
    images, masks = map(read_provenance, (split.output_img_dir, split.output_mask_dir))
    if images is None or masks is None:
        return False
    expected = _provenance(split, find_tiles(split), masks.patches or 0)
    # The images may have been written again, together with other masks of the same tiles.
    of_masks = ("label_kind", "gt", "pad_policy", "unknown_color")
    images = replace(images, **{name: getattr(expected, name) for name in of_masks})
    return masks == images == expected


# Tiles ------------------------------------------------------------------------------------------


def find_tiles(split: PatchSplit, image_hints: dict[str, str] | None = None) -> list[Tile]:
    """Find all tiles in name order, each with its image and mask; only file headers are read.

    Args:
        split: settings of the patches.
        image_hints: advice for the error about images of another ending, by ending; by default it
            names the setting to change.

    Raises:
        InputError: there are no tiles, a tile has no image or no mask, its sizes differ or are
            smaller than a patch, or a file is truncated.
    """
    names = split.info.tile_names
    if image_hints is None:
        image_hints = {names.image: "did you mean rgb_image=True?"}
        if names.infrared_image:
            image_hints[names.infrared_image] = "without rgb_image=True, these IRRG images are used"
    mask_hints = {
        names.mask: "these are full masks; give the eroded ones, or leave out eroded=True",
        names.eroded_mask: "these are eroded masks; did you mean eroded=True?",
    }
    images = _files_by_tile(split.img_dir, split.image_ending, image_hints)
    masks = _files_by_tile(split.mask_dir, split.mask_ending, mask_hints)
    _check_pairs(images, masks, f"mask in {split.mask_dir}", split.mask_ending)
    _check_pairs(masks, images, f"image in {split.img_dir}", split.image_ending)
    return [_open_tile(name, images[name], masks[name], split) for name in images]


def _files_by_tile(folder: Path, ending: str, hints: dict[str, str]) -> dict[str, Path]:
    """Find the files with an ending, by tile; ``hints`` has advice for other endings."""
    by_ending: dict[str, dict[str, Path]] = {}
    files = list(list_images(folder).values())
    for path in files:
        # The longest ending counts: "area1_noBoundary.tif" is no full mask of "area1_noBoundary".
        found = max(filter(path.name.endswith, hints), key=len, default="")
        by_ending.setdefault(found, {})[path.name.removesuffix(found)] = path
    if ending not in by_ending:
        other = max(by_ending, key=len)
        example = next(iter(by_ending[other].values())).name
        hint = f", which ends in {other}: {hints[other]}" if other else "; give the whole tiles"
        raise InputError(
            folder,
            f"expected files that end in {ending}, found {len(files)} others such as "
            f"{example}{hint}",
        )
    return by_ending[ending]


def _check_pairs(
    files: dict[str, Path], partners: dict[str, Path], partner: str, ending: str
) -> None:
    alone = [name for name in files if name not in partners]
    if alone:
        raise InputError(
            f"{files[alone[0]]}",
            f"no {partner} ({alone[0]}{ending}); {len(alone)} of {len(files)} files have none",
            "add what is missing, or remove these files",
        )


def _open_tile(name: str, image: Path, mask: Path, split: PatchSplit) -> Tile:
    header = fitting_header(image, split.info)
    check_pair(image, mask, header, split.info)
    size = used_size(header, split.info)
    height, width = (round(length * split.val_scale) for length in size)
    if min(height, width) < split.split_size:
        scaled = f" after val_scale={split.val_scale}" if split.val_scale != 1 else ""
        raise InputError(
            image,
            f"{_text((height, width))} pixels{scaled}, smaller than a patch of {split.split_size}",
            "cut smaller patches",
        )
    return Tile(name=name, image=image, mask=mask, height=height, width=width)


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def read_tile_labels(tile: Tile, split: PatchSplit, valid: np.ndarray | None = None) -> np.ndarray:
    """Read the RGB mask file of a tile as labels (h, w) uint8, after scaling.

    Args:
        tile: the tile.
        split: settings of the patches.
        valid: (h, w) bool before scaling, true where the image has data; other pixels are ignored.
            With None, all pixels have data.

    Raises:
        InputError: the file cannot be read, or a color is no class.
    """
    labels = read_colored_mask(
        tile.mask, split.info, unknown=split.unknown_color, option="unknown_color"
    )
    labels = ignore_invalid(labels, valid, split.info)
    return resize_labels(labels, tile.height, tile.width)


# Cutting ----------------------------------------------------------------------------------------


def cut(tile: str, image: np.ndarray, labels: np.ndarray, split: PatchSplit) -> Iterator[Patch]:
    """Cut one tile into patches.

    Patches are named ``{tile}_{variant}_{index}``; the names of zoom crops end in ``_{view}``.

    Args:
        tile: name of the tile.
        image: (h, w, 3) uint8
        labels: (h, w) uint8
        split: settings of the patches.
    """
    size, stride = split.split_size, split.stride
    top, left = (padding(length, size, stride) for length in labels.shape)
    image = _pad(image, top, left, 0)
    labels = _pad(labels, top, left, split.padding_label)
    height, width = labels.shape
    for variant in range(3 if split.mode == "train" else 1):
        # Views and not copies, since a whole Potsdam tile takes 113 MB.
        variant_image, variant_labels = _flip(image, variant), _flip(labels, variant)
        for index, window in enumerate(inner_windows(height, width, size, stride)):
            patch = Patch(
                name=f"{tile}_{variant}_{index}",
                image=np.ascontiguousarray(variant_image[window]),
                labels=np.ascontiguousarray(variant_labels[window]),
            )
            if split.mode == "train" and split.car_zoom:
                # Each patch has its own seed, so the order of the workers does not matter.
                rng = np.random.default_rng([split.seed, zlib.crc32(tile.encode()), variant, index])
                yield from zoom_on_cars(patch, split.info.classes.index("Car"), rng)
            else:
                yield patch


def _pad(array: np.ndarray, top: int, left: int, value: int) -> np.ndarray:
    """Pad at the top and left."""
    return cv2.copyMakeBorder(array, top, 0, left, 0, cv2.BORDER_CONSTANT, value=[value] * 3)


def _flip(array: np.ndarray, variant: int) -> np.ndarray:
    """Return a view: as is (variant 0), flipped left-right (1) or flipped top-bottom (2)."""
    return (array, array[:, ::-1], array[::-1])[variant]


def zoom_on_cars(patch: Patch, car: int, rng: np.random.Generator) -> Iterator[Patch]:
    """Yield four views of a random enlarged crop if it shows cars, otherwise the patch itself.

    The crop has 3/8 to 1/2 of the patch's height. The views are as is, flipped left-right, flipped
    top-bottom, and turned by a random number of quarter turns.

    Args:
        patch: the patch.
        car: label of cars.
        rng: source of the random crop and turn.
    """
    size = patch.labels.shape[0]
    smallest = math.ceil(size * 3 / 8)
    side = int(rng.integers(smallest, max(smallest, size // 2) + 1))
    top, left = rng.integers(0, size - side + 1, size=2).tolist()
    quarter_turns = int(rng.integers(1, 4))
    window = slice(top, top + side), slice(left, left + side)
    if np.mean(patch.labels[window] == car) <= CAR_ZOOM_THRESHOLD:
        yield patch
        return
    image = resize_image(patch.image[window], size, size)
    labels = resize_labels(patch.labels[window], size, size)
    images = (*(_flip(image, view) for view in range(3)), np.rot90(image, quarter_turns))
    masks = (*(_flip(labels, view) for view in range(3)), np.rot90(labels, quarter_turns))
    for view, (one_image, one_mask) in enumerate(zip(images, masks, strict=True)):
        yield Patch(
            name=f"{patch.name}_{view}",
            image=np.ascontiguousarray(one_image),
            labels=np.ascontiguousarray(one_mask),
        )


# Output -----------------------------------------------------------------------------------------


def _write_tile(
    split: PatchSplit, images_to: Path, masks_to: Path, tile: Tile
) -> tuple[dict[str, str], dict[str, str]]:
    """Write all patches of one tile; this runs in a worker.

    Returns:
        Checksums of the image files and of the mask files, by name.
    """
    image, valid = read_valid_image(tile.image, split.info)
    image = resize_image(image, tile.height, tile.width)
    labels = read_tile_labels(tile, split, valid)
    images: dict[str, str] = {}
    masks: dict[str, str] = {}
    if split.gt:
        name = f"{WHOLE_MASKS}/{tile.name}.tif"
        masks[name] = write_hashed(masks_to / name, split.info.to_rgb(labels))
    for patch in cut(tile.name, image, labels, split):
        mask = split.info.to_rgb(patch.labels) if split.gt else patch.labels
        image_name, mask_name = f"{patch.name}.tif", f"{patch.name}.png"
        images[image_name] = write_hashed(images_to / image_name, patch.image)
        masks[mask_name] = write_hashed(masks_to / mask_name, mask)
    return images, masks


def _provenance(split: PatchSplit, tiles: list[Tile], patches: int) -> Provenance:
    return Provenance(
        tool=f"{split.info.name}_patch_split",
        dataset=split.info.name,
        mode=split.mode,
        split_size=split.split_size,
        stride=split.stride,
        pad_policy=split.pad_policy,
        unknown_color=split.unknown_color,
        label_kind="eroded" if split.eroded else "full",
        gt=split.gt,
        val_scale=split.val_scale,
        image_ending=split.image_ending,
        seed=split.seed,
        tiles=len(tiles),
        patches=patches,
        padding_share=round(_padding_share(tiles, split), 6),
    )


def _padding_share(tiles: list[Tile], split: PatchSplit) -> float:
    """Compute the share of padding (0 to 1) in all pixels of the padded tiles."""

    def padded(length: int) -> int:
        return length + padding(length, split.split_size, split.stride)

    total = sum(padded(tile.height) * padded(tile.width) for tile in tiles)
    return 1 - sum(tile.height * tile.width for tile in tiles) / total


def _is_image_patch(path: Path) -> bool:
    """Tell whether an entry of an image folder was written by a patch tool."""
    is_patch = path.suffix == ".tif" and tile_of_patch(path.stem) is not None
    return path.is_file() and (is_patch or is_provenance(path))


def _is_mask_patch(path: Path) -> bool:
    """Tell whether an entry of a mask folder was written by a patch tool."""
    if path.name == WHOLE_MASKS and path.is_dir():
        return all(mask.is_file() and mask.suffix == ".tif" for mask in path.iterdir())
    is_patch = path.suffix == ".png" and tile_of_patch(path.stem) is not None
    return path.is_file() and (is_patch or is_provenance(path))
