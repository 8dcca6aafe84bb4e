"""Description of a data set: its classes, colors, ignore label, folders, splits and views."""

import math
import operator
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np

from network.datasets.on_earth.scenes import Scenes
from network.errors import InputError
from network.rasters.pixels import is_measured

RGB = tuple[int, int, int]

SPLITS = ("train", "val", "test")
"""The usual names of the disjoint splits; a data set may lack some."""


MAX_CLASSES = 254
"""The largest number of classes. Labels have 8 bits, and two of the 256 values are no class."""

PIXEL_TYPES = {
    ("unsigned", 8): "uint8",
    ("unsigned", 16): "uint16",
    ("unsigned", 32): "uint32",
    ("signed", 16): "int16",
    ("signed", 32): "int32",
    ("float", 32): "float32",
}
"""NumPy's names for the types of pixel values, by ``values`` and ``bits`` of a data set."""


def pixel_type(dtype: str) -> tuple[str, int] | None:
    """Find ``values`` and ``bits`` for NumPy's name of a type; None if no data set may have it."""
    return next((kind for kind, name in PIXEL_TYPES.items() if name == dtype), None)


@dataclass(frozen=True, kw_only=True)
class MaskFolder:
    """One folder of masks and the kind of labels in it.

    Args:
        folder: path of the folder, relative to the data set's root.
        kind: ``"full"``, or ``"eroded"`` if the pixels at class boundaries are ignored.
        optional: whether the folder may be missing.
    """

    folder: str
    kind: str = "full"
    optional: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("full", "eroded"):
            raise ValueError(f"kind={self.kind!r} is neither 'full' nor 'eroded'")


@dataclass(frozen=True, kw_only=True)
class Folder:
    """An image folder and the folders of its masks.

    Args:
        images: path of the image folder, relative to the data set's root.
        masks: folders of the masks; empty if only a test server has the labels.
        only: names of the images that are used, without endings; may be patterns such as
            ``area1_*``. Empty for all.
        leave_out: names or patterns of images that are not used, although ``only`` names them.
        prefix: text that is put before the names of the images. Images of several folders may have
            the same names if the folders have different prefixes.
    """

    images: str
    masks: tuple[MaskFolder, ...] = ()
    only: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    prefix: str = ""

    def __post_init__(self) -> None:
        for name in ("masks", "only", "leave_out"):
            if not isinstance(getattr(self, name), tuple):
                raise ValueError(f"{name} must be a tuple, such as {name}=(...,)")
        if not all(isinstance(mask, MaskFolder) for mask in self.masks):
            raise ValueError("masks must be mask folders, such as masks=(MaskFolder(folder=...),)")

    def has(self, name: str) -> bool:
        """Tell whether an image is used, by its name without ending and prefix."""
        is_chosen = not self.only or _matches(name, self.only)
        return is_chosen and not _matches(name, self.leave_out)


def _color(given: Sequence[int]) -> RGB:
    """Check red, green and blue of a class."""
    try:
        red, green, blue = (operator.index(part) for part in given)
    except (TypeError, ValueError):
        red = green = blue = -1
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ValueError(
            f"palette has {given!r}; a color is red, green and blue, whole numbers of 0 to 255"
        )
    return red, green, blue


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(normal(name), normal(pattern)) for pattern in patterns)


def normal(name: str) -> str:
    """Write accented letters as one character each, since names of files may have them as two.

    Args:
        name: the name, such as one that macOS has written.
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


@dataclass(frozen=True, kw_only=True)
class MaskCoding:
    """The meaning of values and colors in mask files, where they are not labels 0 to k-1.

    Scenes on Earth say the meaning of values by their :class:`LabelFile` instead.

    Args:
        values: the value of each class in masks of one band, such as ``(0, 255)``; empty if the
            values are labels.
        ignored: values and RGB colors that are no class. Their pixels get the ignore label.
        tolerance: largest difference, in each of red, green and blue, between the color of a pixel
            and that of its class. With 0, colors must agree. Otherwise a pixel has the nearest
            class within the tolerance, or the ignore label; and masks may be compressed with loss.
        color_tables: what a mask with a color table says: ``"labels"`` by its indices, or
            ``"colors"`` by the colors of its table.
    """

    values: tuple[int, ...] = ()
    ignored: tuple[int | RGB, ...] = ()
    tolerance: int = 0
    color_tables: str = "labels"

    def __post_init__(self) -> None:
        if len(set(self.values)) != len(self.values):
            raise ValueError("two classes have the same value")
        if not 0 <= self.tolerance <= 255:
            raise ValueError(f"tolerance={self.tolerance}, expected 0 to 255")
        if self.color_tables not in ("labels", "colors"):
            raise ValueError(f"color_tables={self.color_tables!r} is neither 'labels' nor 'colors'")

    @property
    def ignored_values(self) -> list[int]:
        """The ignored values of masks of one band."""
        return [value for value in self.ignored if isinstance(value, int)]

    @property
    def ignored_colors(self) -> list[RGB]:
        """The ignored colors."""
        return [value for value in self.ignored if not isinstance(value, int)]


@dataclass(frozen=True, kw_only=True)
class D4Views:
    """Views of the test-time augmentation that GeoSeg's scripts call ``d4`` on one data set.

    Args:
        vertical_flip: whether the image is flipped top-bottom, besides left-right.
        rotations: angles in degrees.
        scales: factors on the image's size.
    """

    vertical_flip: bool
    rotations: tuple[int, ...]
    scales: tuple[float, ...]

    def __post_init__(self) -> None:
        rotations, scales = tuple(self.rotations), tuple(self.scales)
        if not rotations or any(angle not in range(-360, 361, 90) for angle in rotations):
            raise ValueError(f"rotations={rotations}, expected some of 0, 90, 180 and 270")
        are_numbers = all(isinstance(scale, int | float) for scale in scales)
        if not scales or not are_numbers or any(not 0 < scale < math.inf for scale in scales):
            raise ValueError(f"scales={scales}, expected factors above 0")


USUAL_D4 = D4Views(vertical_flip=False, rotations=(0,), scales=(0.75, 1.0, 1.25, 1.5))
"""The views of most data sets."""


@dataclass(frozen=True, kw_only=True)
class TileNames:
    """Endings of the file names of whole ISPRS tiles; the stem before them is the tile's name.

    Args:
        image: ending of the images; of the RGB ones if there are two kinds.
        mask: ending of the masks.
        eroded_mask: ending of the masks whose class boundaries are black.
        infrared_image: ending of the infrared images, if there are RGB images as well.
    """

    image: str
    mask: str
    eroded_mask: str
    infrared_image: str | None = None

    def image_ending(self, *, infrared: bool) -> str:
        """Return the ending of the images.

        Args:
            infrared: whether to take the infrared images if there are two kinds.
        """
        return self.infrared_image or self.image if infrared else self.image


def has_tile(pattern: str) -> bool:
    """Tell whether a text is a regular expression with a group ``tile``, as of ``patch_names``."""
    try:
        return "tile" in re.compile(pattern).groupindex
    except re.error:
        return False


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """The description of one data set.

    Args:
        name: short name, used in results.
        root: default folder of the data, relative to the working directory.
        classes: class names in label order, labels 0 to k-1.
        palette: one RGB color per class.
        ignore_index: the label that is neither trained on nor scored; not in 0 to k-1.
        splits: folders of each split, or scenes on Earth of any size.
        mask_coding: meaning of the values and colors in mask files. By default values are labels,
            and colors are those of the palette.
        bands: number of bands of each image.
        bits: bits of each pixel value: 8, 16 or 32 for unsigned ones, 16 or 32 for signed ones, 32
            for floats.
        values: kind of the pixel values: ``"unsigned"``, ``"signed"`` (integers that may be
            negative) or ``"float"``.
        exif_orientation: how to read an image whose EXIF orientation makes viewers turn it.
            ``"shown"`` turns it, for masks that were drawn on the turned image; ``"stored"`` reads
            it as it is in the file. With None, such images are refused.
        rgb_bands: positions of the bands that are shown as red, green and blue. The default is the
            first three bands, or the first one alone if there are fewer than three.
        scored: labels that count in the mean scores; by default all classes.
        d4: views of the test-time augmentation called ``d4``.
        patched: whether the images are patches of larger ones.
        patch_names: regular expression of the names of the patches, without endings and with the
            prefixes of folders. Its group ``tile`` is the name of the larger image, as in
            ``r"(?P<tile>.+)_[0-9]+"``. Empty for the names of the patch tools, ``TILE_0_N``.
        tiles: file names of the whole tiles, for data sets that are cut into padded patches.
        tile_splits: names of the whole tiles in each split of the literature.
        tile_sizes: height and width of the whole test tiles, in pixels.
        left_out: whole tiles that no split uses, since they are mislabeled.
        train_stride: pixels from the start of a training patch to the start of the next one, for
            the patches of 1024 pixels in the literature.
        car_zoom: whether training patches on cars are enlarged.
        image_counts: number of images in each split, for data sets of single images.

    Raises:
        ValueError: the facts contradict each other or are out of range.
    """

    name: str
    root: str
    classes: tuple[str, ...]
    palette: tuple[RGB, ...]
    ignore_index: int
    splits: Mapping[str, tuple[Folder, ...] | tuple[Scenes, ...]]
    mask_coding: MaskCoding = MaskCoding()
    bands: int = 3
    bits: int = 8
    values: str = "unsigned"
    exif_orientation: str | None = None
    rgb_bands: tuple[int, ...] = ()
    scored: tuple[int, ...] = ()
    d4: D4Views = USUAL_D4
    patched: bool = False
    patch_names: str = ""
    tiles: TileNames | None = None
    tile_splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tile_sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    train_stride: int = 1024
    car_zoom: bool = False
    image_counts: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Lists are equal to no tuples, and a result must fit the config that it comes from.
        for name in ("classes", "scored", "rgb_bands"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "palette", tuple(map(_color, self.palette)))
        if len(self.palette) != len(self.classes):
            raise ValueError(
                f"{self.name}: {len(self.classes)} classes but {len(self.palette)} colors"
            )
        self._check_classes()
        if len(set(self.palette)) != len(self.palette):
            raise ValueError(f"{self.name}: two classes have the same color")
        can_ignore = [*range(len(self.classes), _UNKNOWN), 255]
        if self.ignore_index not in can_ignore:
            raise ValueError(
                f"{self.name}: ignore_index={self.ignore_index}; it must be {len(self.classes)} to "
                f"{_UNKNOWN - 1}, or 255"
            )
        if len(self.classes) > MAX_CLASSES:
            raise ValueError(f"{self.name}: {len(self.classes)} classes, at most {MAX_CLASSES}")
        self._check_coding()
        if self.bands < 1 or (self.values, self.bits) not in PIXEL_TYPES:
            raise ValueError(
                f"{self.name}: bands={self.bands}, bits={self.bits}, values={self.values!r}; "
                "expected at least 1 band, of 8, 16 or 32 bits if 'unsigned', 16 or 32 if "
                "'signed', 32 if 'float'"
            )
        if self.exif_orientation not in (None, "stored", "shown"):
            raise ValueError(
                f"{self.name}: exif_orientation={self.exif_orientation!r} is none of 'stored', "
                "'shown' and None"
            )
        if not self.rgb_bands:
            first = (0, 1, 2) if self.bands >= 3 else (0, 0, 0)
            object.__setattr__(self, "rgb_bands", first)
        if len(self.rgb_bands) != 3 or not set(self.rgb_bands) <= set(range(self.bands)):
            raise ValueError(
                f"{self.name}: rgb_bands={self.rgb_bands} are not three of 0 to {self.bands - 1}"
            )
        if self.patch_names and not has_tile(self.patch_names):
            raise ValueError(
                f"{self.name}: patch_names={self.patch_names!r} is no regular expression with a "
                "group (?P<tile>...)"
            )
        if self.tiles or self.patch_names:
            object.__setattr__(self, "patched", True)
        if not self.scored:
            object.__setattr__(self, "scored", tuple(range(len(self.classes))))

    def _check_classes(self) -> None:
        """Raise a ValueError if names cannot be told apart in results."""
        classes = self.classes
        if not classes or not all(isinstance(name, str) and name.strip() for name in classes):
            raise ValueError(f"{self.name}: classes={classes}, expected names")
        if len({normal(name).strip() for name in classes}) != len(classes):
            raise ValueError(f"{self.name}: classes={classes}, but each name may only occur once")

    @property
    def is_scored_right(self) -> bool:
        """Whether the scored labels are different labels of classes."""
        scored, known = self.scored, range(len(self.classes))
        are_labels = all(isinstance(label, int) and label in known for label in scored)
        return are_labels and len(set(scored)) == len(scored)

    def _check_coding(self) -> None:
        """Raise a ValueError if the coding of the masks does not fit the classes."""
        coding = self.mask_coding
        if coding.values and len(coding.values) != len(self.classes):
            raise ValueError(
                f"{self.name}: {len(self.classes)} classes but {len(coding.values)} values in masks"
            )
        both = {*self.mask_values, *self.palette} & set(coding.ignored)
        if both:
            raise ValueError(f"{self.name}: {both.pop()} is ignored, but it is also a class")
        if any(isinstance(part, Scenes) for parts in self.splits.values() for part in parts):
            for name in ("values", "color_tables"):
                given = getattr(coding, name)
                if given != getattr(MaskCoding(), name):
                    raise ValueError(
                        f"{self.name}: mask_coding has {name}={given!r}, which scenes do not heed; "
                        "say what the values are by LabelFile(values={...})"
                    )

    def folders(self, split: str) -> tuple[Folder, ...]:
        """Return the folders of a split.

        Args:
            split: name of the split.

        Raises:
            InputError: the split has scenes on Earth instead.
        """
        parts = self.splits[split]
        if any(isinstance(part, Scenes) for part in parts):
            raise InputError(
                self.name,
                f"its split '{split}' has scenes on Earth; this needs folders of images and masks",
                "cut the scenes into patches (gdal_retile.py)",
            )
        return tuple(part for part in parts if isinstance(part, Folder))

    def scenes(self, split: str) -> tuple[Scenes, ...]:
        """Return the scenes of a split; empty if it has folders."""
        return tuple(part for part in self.splits[split] if isinstance(part, Scenes))

    def check_one_kind(self, split: str, key: str) -> None:
        """Raise an :class:`InputError` if a split has folders of images as well as scenes.

        Args:
            split: name of the split.
            key: name of the user's setting of the split.
        """
        if 0 < len(self.scenes(split)) < len(self.splits[split]):
            raise InputError(
                f"{key}={split}",
                "has folders of images as well as scenes on Earth",
                "make two splits of them, and give one",
            )

    def relabeled(self, split: str, name: str | None) -> "DatasetInfo":
        """Describe this data set with other masks in one split.

        Args:
            split: the split to change.
            name: name of the new mask folders, each beside a mask folder of the data set. With
                None, the split has no masks.

        Raises:
            InputError: the split has no masks, so there is no place for the new ones; or the masks
                of the data set have other values than labels.
        """
        if name and self.mask_coding.values:
            raise InputError(
                self.name,
                f"its masks have other values than labels, and those of '{name}' have labels",
                "convert its masks to labels, and leave out values=... in its MaskCoding",
            )
        folders = []
        for folder in self.folders(split):
            masks: tuple[MaskFolder, ...] = ()
            if name and not folder.masks:
                raise InputError(
                    self.name,
                    f"its split '{split}' has no masks, so there is no place for '{name}'",
                    "take another split",
                )
            if name:
                beside = PurePosixPath(folder.masks[0].folder).parent
                masks = (MaskFolder(folder=str(beside / name)),)
            folders.append(replace(folder, masks=masks))
        return replace(self, splits={**self.splits, split: tuple(folders)})

    @property
    def tile_names(self) -> TileNames:
        """The file names of the whole tiles; a ValueError if the data set has none."""
        if self.tiles is None:
            raise ValueError(f"{self.name} has no whole tiles")
        return self.tiles

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def mask_values(self) -> tuple[int, ...]:
        """The value of each class in masks of one band."""
        return self.mask_coding.values or tuple(range(self.num_classes))

    @cached_property
    def decoded(self) -> "DatasetInfo":
        """This data set as the project writes its masks: with labels, or colors of the palette."""
        return replace(self, mask_coding=MaskCoding())

    @property
    def dtype(self) -> str:
        """NumPy's name for the type of the pixel values, such as ``"uint8"``."""
        return PIXEL_TYPES[self.values, self.bits]

    @property
    def is_measured(self) -> bool:
        """Whether pixel values are measurements with a unit, not brightness of 8 or 16 bits."""
        return is_measured(self.dtype)

    @property
    def is_rgb8(self) -> bool:
        """Whether the images have three bands of 8 bits, as most files do."""
        return self.bands == 3 and self.dtype == "uint8"

    def to_rgb(self, labels: np.ndarray) -> np.ndarray:
        """Color labels (...) as RGB (..., 3), both uint8; labels that are no class become black.

        Examples:
            >>> from network.datasets.info import BUILDING
            >>> BUILDING.to_rgb(np.array([0, 1, 255], np.uint8)).tolist()
            [[0, 0, 0], [255, 255, 255], [0, 0, 0]]
        """
        return self._color_table[labels]

    def from_rgb(self, rgb: np.ndarray, source: str, *, unknown: str = "error") -> np.ndarray:
        """Turn an RGB mask (h, w, 3) uint8 into labels (h, w) uint8.

        Black becomes the ignore label unless it is the color of a class. So do the ignored colors
        of ``mask_coding``, whose tolerance also counts.

        Args:
            rgb: the mask.
            source: the file that the mask comes from, for the error.
            unknown: what to do with a color that is neither a class nor ignored. ``"error"`` raises
                an error if there is no tolerance, ``"ignore"`` gives the ignore label, and
                ``"nearest"`` gives the label of the nearest color in RGB, black included.

        Raises:
            InputError: a color is neither a class nor black, and ``unknown`` is ``"error"``.

        Examples:
            >>> from network.datasets.info import BUILDING
            >>> mask = np.array([[[0, 0, 0], [250, 255, 249]]], np.uint8)
            >>> BUILDING.from_rgb(mask, "mask.png", unknown="nearest").tolist()
            [[0, 1]]
        """
        labels = np.empty(rgb.shape[:2], np.uint8)
        # A block of rows at a time: the 32-bit codes of a 6000 x 6000 tile would take 144 MB.
        rows = max(1, 2**20 // max(1, rgb.shape[1]))
        for top in range(0, rgb.shape[0], rows):
            labels[top : top + rows] = self._label_table[_codes(rgb[top : top + rows])]
        is_unknown = labels == _UNKNOWN
        if is_unknown.any():
            if unknown == "error" and self.mask_coding.tolerance:
                labels[is_unknown] = self._within_tolerance(rgb[is_unknown])
                return labels
            if unknown == "error":
                raise self._unknown_color(rgb, is_unknown, source)
            is_nearest = unknown == "nearest"
            labels[is_unknown] = self._nearest(rgb[is_unknown]) if is_nearest else self.ignore_index
        return labels

    def _nearest(self, colors: np.ndarray) -> np.ndarray:
        """Find the labels (n,) of the known colors, black included, nearest to colors (n, 3)."""
        labels, _, places = self._nearest_of_each(colors)
        return labels[places]

    def _within_tolerance(self, colors: np.ndarray) -> np.ndarray:
        """Find the labels (n,) of the nearest known colors, if they are near enough."""
        labels, apart, places = self._nearest_of_each(colors)
        labels[apart > self.mask_coding.tolerance] = self.ignore_index
        return labels[places]

    def _nearest_of_each(self, colors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find the nearest known color of each of the different colors among colors (n, 3).

        Returns:
            For each different color its label and the largest of its three differences; for each
            of the n colors the position of its own.
        """
        codes, places = np.unique(_codes(colors), return_inverse=True)
        different = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(int)
        ignored = [(0, 0, 0), *self.mask_coding.ignored_colors]
        known = np.array([*self.palette, *ignored])
        own = np.array([*range(self.num_classes), *[self.ignore_index] * len(ignored)], np.uint8)
        apart = different[:, None] - known
        best = (apart**2).sum(axis=2).argmin(axis=1)
        nearest = np.abs(apart[np.arange(len(codes)), best]).max(axis=1)
        return own[best], nearest, places

    def _unknown_color(self, rgb: np.ndarray, unknown: np.ndarray, source: str) -> InputError:
        codes, counts = np.unique(_codes(rgb[unknown]), return_counts=True)
        code, count = int(codes[counts.argmax()]), int(counts.max())
        row, column = np.argwhere(unknown & (_codes(rgb) == code))[0].tolist()
        color = (code >> 16, code >> 8 & 255, code & 255)
        more = f" (and {len(codes) - 1} more colors)" if len(codes) > 1 else ""
        return InputError(
            source,
            f"color {color} is no class of {self.name}, {count} pixels, the first at row {row}, "
            f"column {column}{more}",
            f"expected {sorted(self.palette)} or black",
        )

    @cached_property
    def _color_table(self) -> np.ndarray:
        table = np.zeros((256, 3), np.uint8)
        table[: self.num_classes] = self.palette
        return table

    @cached_property
    def _label_table(self) -> np.ndarray:
        """The label of every 24-bit color, so each pixel needs only one look-up."""
        table = np.full(1 << 24, _UNKNOWN, np.uint8)
        for color in ((0, 0, 0), *self.mask_coding.ignored_colors):  # a class below may be black
            table[int(_codes(np.array(color, np.uint8)))] = self.ignore_index
        for label, color in enumerate(self.palette):
            table[int(_codes(np.array(color, np.uint8)))] = label
        return table


_UNKNOWN = MAX_CLASSES  # also forbidden as an ignore label


def _codes(rgb: np.ndarray) -> np.ndarray:
    """Pack RGB colors (..., 3) into 24-bit integers (...)."""
    red, green, blue = (rgb[..., i].astype(np.uint32) for i in range(3))
    return red << 16 | green << 8 | blue
