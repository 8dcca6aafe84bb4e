"""Functions to find, read, check and write the image and mask files of a data set."""

import os
import struct
import zlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

import cv2
import numpy as np

from network.datasets.schema import MAX_CLASSES, DatasetInfo, Folder, normal, pixel_type
from network.errors import InputError, listed
from network.rasters.display import SHOWN_PERCENTILES, stretch
from network.rasters.header import Header, read_header
from network.rasters.pixels import finite_pixels
from network.rasters.place import distance
from network.rasters.plain import plain_header, plain_png
from network.rasters.reader import Raster, read_raster, turned
from network.writing import replacing

TIFF_SUFFIXES = (".tif", ".tiff")
IMAGE_SUFFIXES = (".png", *TIFF_SUFFIXES, ".jpg", ".jpeg")
_OF_SYSTEMS = ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found")
"""Folders in which operating systems and file servers keep previews and deleted files."""

ENCODING = {".tif": (cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_LZW), ".png": ()}
"""Lossless compression of the written images, by suffix.

TIFF files with LZW are decoded in 60 % of the time of PNG files, and are up to a fifth larger.
Uncompressed files would be decoded in an eighth of the time of LZW, but are up to twice as large
(docs/performance.md). Label masks are PNG files, which are small.
"""

COLORS = ("gray", "RGB")
"""Values of ``Header.color`` that images may have; this includes TIFFs of many bands."""

MISPLACED = 0.5
"""Largest distance on Earth, in pixels, between the corners of a mask and of its image."""


@dataclass(frozen=True)
class Listing:
    """The names in a folder.

    Attributes:
        folder: the folder.
        images: names of the image files, in order; hidden ones (``.NAME``) are left out.
        irregular: those of them that are no regular files.
        others: the other names that are not hidden.
        states: size, time of the content and of the last change in ns, and number on the disk of
            each image file, (n, 4) int64; None if they were not asked for.
    """

    folder: Path
    images: list[str]
    irregular: set[str]
    others: list[str]
    states: np.ndarray | None = None

    @cached_property
    def stems(self) -> list[str]:
        """Names of the image files without their endings."""
        return [normal(name[: name.rindex(".")]) for name in self.images]

    @cached_property
    def by_stem(self) -> dict[str, str]:
        """Names of the image files by their stems.

        Raises:
            InputError: there is no image, two images have the same stem, or an image is no regular
                file or has a name that is not UTF-8.
        """
        if not self.images:
            suffixes = ", ".join(IMAGE_SUFFIXES)
            raise InputError(self.folder, f"no image in this folder ({suffixes})")
        if self.irregular or not all(map(str.isascii, self.images)):
            for name in self.images:
                if not name.isascii() or name in self.irregular:
                    check_file(self.folder / name)
        found = dict(zip(self.stems, self.images, strict=True))
        if len(found) < len(self.images):
            seen: dict[str, str] = {}
            for stem, name in zip(self.stems, self.images, strict=True):
                if stem in seen:
                    path = self.folder / name
                    raise InputError(path, f"same name as {seen[stem]}", "keep one of them")
                seen[stem] = name
        return found


NO_STATE = (-1, 0, 0, 0)
"""The state of a file that the system does not tell."""


def list_folder(folder: Path, *, states: bool = False) -> Listing:
    """List a folder.

    Args:
        folder: the folder.
        states: whether to ask the system for the state of each image file.

    Raises:
        InputError: the folder does not exist or cannot be listed.
    """
    if folder.is_file():
        raise InputError(folder, "is a file", "give the folder that it is in")
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "see docs/data.md for the folders")
    names: list[str] = []
    irregular: set[str] = set()
    others: list[str] = []
    numbers = array("q")  # a list of tuples would take several times as long
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise InputError(
            folder, f"cannot be listed ({error.strerror})", "see who may read it"
        ) from error
    try:
        # The folder is opened once. Otherwise, the system would look up its path for each file.
        with os.scandir(descriptor) as entries:
            for entry in entries:
                name = entry.name
                if name[0] == ".":
                    continue
                if not name.lower().endswith(IMAGE_SUFFIXES):
                    others.append(name)
                    continue
                names.append(name)
                if not entry.is_file():
                    irregular.add(name)
                if states:
                    numbers += _state(entry)
    finally:
        os.close(descriptor)
    order = sorted(range(len(names)), key=names.__getitem__)
    images = [names[at] for at in order]
    found = np.frombuffer(numbers, np.int64).reshape(-1, 4)[order] if states else None
    return Listing(folder, images, irregular, others, found)


def _state(entry: os.DirEntry[str]) -> array:
    """Ask the system for the state of a file, see :class:`Listing`."""
    try:
        of = entry.stat()
        # The number of a file has 64 bits without a sign, of which one is left out here.
        inode = of.st_ino & 0x7FFFFFFFFFFFFFFF
        return array("q", (of.st_size, of.st_mtime_ns, of.st_ctime_ns, inode))
    except (OSError, OverflowError):  # removed meanwhile; a time after the year 2262
        return array("q", NO_STATE)


def list_images(folder: Path) -> dict[str, Path]:
    """List the image files of a folder by stem, in name order, without hidden files (``.NAME``).

    Args:
        folder: the folder.

    Raises:
        InputError: the folder does not exist or holds no image, two images have the same stem, or
            an image is no regular file or has a name that is not UTF-8.
    """
    return {stem: folder / name for stem, name in list_folder(folder).by_stem.items()}


def used_names(listing: Listing, folder: Folder) -> dict[str, str]:
    """List the names of the files that a split uses, by the names that their samples have.

    Args:
        listing: the folder of the images or of their masks.
        folder: says which names are used, and what is put before them.

    Raises:
        InputError: see :attr:`Listing.by_stem`; or no file is used, or a name has an ending.
    """
    found = listing.by_stem
    if not (folder.only or folder.leave_out or folder.prefix):
        return found
    for option in ("only", "leave_out"):
        for name in getattr(folder, option):
            if name in found or not name.lower().endswith(IMAGE_SUFFIXES):
                continue
            stem = stem_of(Path(name))
            if stem in found:
                raise InputError(
                    listing.folder,
                    f"{option} names {name}, and names stand there without ending",
                    f"write {stem} in the config",
                )
    used = {folder.prefix + stem: name for stem, name in found.items() if folder.has(stem)}
    if not used:
        chosen = f"only={folder.only}, leave_out={folder.leave_out}"
        raise InputError(listing.folder, f"none of its {len(found)} files is used by {chosen}")
    return used


def unmatched_names(listing: Listing, names: Iterable[str]) -> list[str]:
    """List the names that no file has; patterns are left out.

    Args:
        listing: the folder of the images.
        names: names without endings, such as those of :attr:`Folder.only`.
    """
    found = listing.by_stem
    return [name for name in names if not set(name) & set("*?[") and normal(name) not in found]


def list_used(path: Path, folder: Folder) -> dict[str, Path]:
    """List the files of a folder that a split uses, by the names that their samples have.

    Args:
        path: the folder of the images or of their masks.
        folder: says which names are used, and what is put before them.

    Raises:
        InputError: the folder does not exist; or see :func:`used_names`.
    """
    return {name: path / file for name, file in used_names(list_folder(path), folder).items()}


def is_of_system(path: PurePath) -> bool:
    """Tell whether a file or folder is hidden, or one that systems keep for themselves.

    Args:
        path: the path below a folder that the user has named.

    Examples:
        >>> [is_of_system(PurePath(name)) for name in ("a/b.tif", "a/._b.tif", "#recycle/b.tif")]
        [False, True, True]
    """
    return any(part.startswith(".") or part in _OF_SYSTEMS for part in path.parts)


def stem_of(path: Path) -> str:
    """Return the name of an image or a mask without ending; it is the same for both.

    Args:
        path: the file.
    """
    return normal(path.stem)


def check_file(path: Path) -> None:
    """Raise an :class:`InputError` if a file's name is not UTF-8, or if it is no regular file."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        name = str(path).encode(errors="surrogateescape").decode(errors="backslashreplace")
        raise InputError(name, "its name is not UTF-8", "rename it") from None
    if not path.is_file():  # reading a pipe, for example, would wait forever
        raise InputError(path, "is no regular file", "remove it from this folder")


# Headers ----------------------------------------------------------------------------------------


def image_size(path: Path) -> tuple[int, int]:
    """Read the size (height, width) of an image as stored in its file.

    Raises:
        InputError: the file is no image, or is truncated.
    """
    header = read_header(path)
    return header.height, header.width


def fitting_size(path: Path, info: DatasetInfo) -> tuple[int, int]:
    """Read the size (height, width) of an image of a data set, turned if the data set says so.

    Raises:
        InputError: the image does not fit the data set, see :func:`fitting_header`.
    """
    return used_size(fitting_header(path, info), info)


def fitting_header(path: Path, info: DatasetInfo, *, alone: bool = False) -> Header:
    """Read the header of an image and check that it fits a data set.

    Args:
        path: the image file.
        info: description of the data set.
        alone: whether no file beside it belongs to it, so a plain one can be read without GDAL.

    Raises:
        InputError: the file is no image or is truncated; it has other bands or values than
            ``info`` says; it has a color table or CMYK colors; or a viewer would turn it, and
            ``info`` sets no ``exif_orientation``.
    """
    header = (plain_header(path) if alone else None) or read_header(path)
    check_header(path, header, info)
    return header


def check_header(path: Path, header: Header, info: DatasetInfo) -> None:
    """Raise an :class:`InputError` if an image does not fit a data set, see :func:`fitting_header`.

    Args:
        path: file of the image, for the error.
        header: its header.
        info: description of the data set.
    """
    _check_bands(path, header, info)
    if header.color not in COLORS:
        raise InputError(path, f"a {header.color} image", "convert it to gray or RGB")
    _check_orientation(path, header, info)


def used_size(header: Header, info: DatasetInfo) -> tuple[int, int]:
    """Return the size (height, width) of an image after it is turned, if the data set says so."""
    size = header.height, header.width
    is_on_its_side = header.orientation > 4 and info.exif_orientation == "shown"
    return size[::-1] if is_on_its_side else size


def check_pair(
    image: Path,
    mask: Path,
    image_header: Header,
    info: DatasetInfo,
    mask_header: Header | None = None,
) -> None:
    """Raise an :class:`InputError` unless a mask has the size and the place of its image.

    Args:
        image: file of the image, for the error.
        mask: file of the mask; only its header is read.
        image_header: header of the image.
        info: description of the data set.
        mask_header: header of the mask; by default it is read now.
    """
    header = mask_header or read_header(mask)
    _check_orientation(mask, header, info)
    size, expected = used_size(header, info), used_size(image_header, info)
    if size != expected:
        raise InputError(
            mask,
            f"{size[0]} x {size[1]} pixels, its image {image} has {expected[0]} x {expected[1]}",
            "both must have one size",
        )
    if image_header.place is None or header.place is None:
        return
    apart = distance(image_header.place, header.place, *expected)
    if apart is not None and apart > MISPLACED:
        where = f"{apart:.1f} pixels away from" if apart < 1e6 else "elsewhere on Earth than"
        systems = [
            place.crs and place.crs.to_string() for place in (header.place, image_header.place)
        ]
        other = "" if systems[0] == systems[1] else f" (in {systems[0]}, not {systems[1]})"
        raise InputError(
            mask,
            f"lies {where} its image {image}{other}",
            "warp it to the image's grid (gdalwarp), or correct its georeference (gdal_edit.py)",
        )


def _check_bands(path: Path, header: Header, info: DatasetInfo) -> None:
    """Raise an :class:`InputError` if an image has other bands or values than ``info`` says."""
    bands = header.bands
    if header.has_alpha and bands == info.bands + 1:
        bands -= 1
    if (bands, header.dtype) != (info.bands, info.dtype):
        raise InputError(
            path,
            f"{_count(header.bands)} of {header.dtype}, {info.name} has {_count(info.bands)} of "
            f"{info.dtype}",
            _remedy(bands, header.dtype, info),
        )


def _remedy(bands: int, dtype: str, info: DatasetInfo) -> str:
    """Say how an image or the description of its data set has to change."""
    kind = pixel_type(dtype)
    if kind is None:
        return "convert it to a type of at most 32 bits (gdal_translate -ot Float32)"
    found = {"bands": bands, "values": kind[0], "bits": kind[1]}
    known = {"bands": info.bands, "values": info.values, "bits": info.bits}
    settings = ", ".join(f"{k}={v!r}" for k, v in found.items() if v != known[k])
    convert = "convert it to RGB" if info.is_rgb8 else "convert it"
    return f"{convert}, or set {settings} in the config's DatasetInfo"


def _count(bands: int) -> str:
    return f"{bands} band{'s' * (bands != 1)}"


def _check_orientation(path: Path, header: Header, info: DatasetInfo) -> None:
    if header.orientation != 1 and info.exif_orientation is None:
        raise InputError(
            path,
            f"viewers turn this image (its EXIF orientation is {header.orientation}), so masks fit "
            "either the turned or the stored pixels",
            "set which of them in the config's DatasetInfo: exif_orientation='shown', or 'stored'",
        )


# Images -----------------------------------------------------------------------------------------


def read_image(path: Path, info: DatasetInfo) -> np.ndarray:
    """Read an image as (h, w, bands), of the type that the data set says.

    Raises:
        InputError: the file cannot be decoded, or has other bands or values.
    """
    return read_valid_image(path, info)[0]


def read_valid_image(path: Path, info: DatasetInfo) -> tuple[np.ndarray, np.ndarray | None]:
    """Read an image (h, w, bands) and a mask (h, w) bool that is true where it has data.

    The mask comes from a no-data value, a mask in the file, or an extra alpha band. Pixels that are
    NaN or infinite in a band have no data either. The mask is None if all pixels have data.

    Raises:
        InputError: the file cannot be decoded, or has other bands or values.
    """
    return image_of(read_image_raster(path, info), info)


def read_image_raster(path: Path, info: DatasetInfo) -> Raster:
    """Decode an image as it is stored.

    Raises:
        InputError: see :func:`read_valid_image`.
    """
    raster = read_raster(path, info.bands)
    _check_bands(path, raster.header, info)
    _check_orientation(path, raster.header, info)
    return raster


def image_of(raster: Raster, info: DatasetInfo) -> tuple[np.ndarray, np.ndarray | None]:
    """Find image and mask of a decoded file, see :func:`read_valid_image`."""
    valid = finite_pixels(raster.values, raster.valid)
    if info.exif_orientation != "shown":
        return raster.values, valid
    turn = raster.header.orientation
    return turned(raster.values, turn), None if valid is None else turned(valid, turn)


def ignore_invalid(labels: np.ndarray, valid: np.ndarray | None, info: DatasetInfo) -> np.ndarray:
    """Set the ignore label where an image has no data.

    Args:
        labels: (h, w) uint8
        valid: (h, w) bool, true where the image has data; None if it has data everywhere.
        info: description of the data set.
    """
    return labels if valid is None else np.where(valid, labels, np.uint8(info.ignore_index))


def read_rgb(path: Path) -> np.ndarray:
    """Read an image or a colored mask as RGB (h, w, 3) uint8.

    Only the first three bands are used; a gray band is repeated three times.

    Raises:
        InputError: the file cannot be decoded, or has more than 8 bits a channel.
    """
    return rgb_of(path, read_raster(path))


def rgb_of(path: Path, raster: Raster) -> np.ndarray:
    """Find the colors of a decoded file, see :func:`read_rgb`.

    Args:
        path: the file, for the error.
        raster: what was decoded.
    """
    image = raster.values
    if image.dtype != np.uint8:
        raise InputError(path, f"{image.dtype} pixels", "convert the images to 8 bits a channel")
    if raster.table:
        colors = np.zeros((256, 3), np.uint8)
        for index, color in raster.table.items():
            colors[index] = color[:3]
        return colors[image[..., 0]]
    if image.shape[2] == 3:
        return image
    return np.ascontiguousarray(image[..., :3] if image.shape[2] > 3 else image[..., [0] * 3])


def read_photo(path: Path, info: DatasetInfo) -> np.ndarray:
    """Read an image for display, see :func:`to_photo`.

    Raises:
        InputError: the file cannot be decoded, or has other bands or values.
    """
    return to_photo(*read_valid_image(path, info), info)


def to_photo(image: np.ndarray, valid: np.ndarray | None, info: DatasetInfo) -> np.ndarray:
    """Turn an image into RGB (h, w, 3) uint8 for display.

    The data set's ``rgb_bands`` are shown. Bands of more than 8 bits are stretched between the
    percentiles 2 and 98 of their valid pixels. Measurements are black where they have no data.

    Args:
        image: (h, w, bands)
        valid: (h, w) bool, true where the image has data; None if it has data everywhere.
        info: description of the data set.
    """
    shown = np.ascontiguousarray(image[..., list(info.rgb_bands)])
    if info.dtype == "uint8":
        return shown
    known = shown.reshape(-1, 3) if valid is None else shown[valid]
    if not len(known):
        return np.zeros(shown.shape, np.uint8)
    low, high = np.percentile(known, SHOWN_PERCENTILES, axis=0).astype(np.float64)
    stretched = stretch(shown, low, high)
    if valid is not None and info.is_measured:
        stretched[~valid] = 0
    return stretched


# Masks ------------------------------------------------------------------------------------------


def read_plain_mask(path: Path) -> Raster | None:
    """Decode a mask if it is a plain PNG, of which all bytes are checked; otherwise return None.

    Args:
        path: the mask file. There must be no file beside it that belongs to it.
    """
    found = plain_png(path)
    return found and Raster(*found, None)


def read_mask(
    path: Path, info: DatasetInfo, *, unknown: str = "error", option: str | None = None
) -> np.ndarray:
    """Read a mask file of labels, of a color table or of RGB colors as labels (h, w) uint8.

    Labels may have any number type if they are whole; in a color table, the indices are the
    labels. The data set's ``mask_coding`` may say otherwise. Pixels without data (by a no-data
    value, a mask or an alpha band) get the ignore label.

    Args:
        path: the mask file.
        info: description of the data set.
        unknown: what to do with colors that are no class, see :meth:`DatasetInfo.from_rgb`.
        option: name of the user's setting for ``unknown``, for the error.

    Raises:
        InputError: the file cannot be decoded, is compressed with loss, or holds a label or a
            color that is no class.
    """
    return mask_labels(path, read_mask_raster(path, info), info, unknown=unknown, option=option)


def mask_labels(
    path: Path,
    raster: Raster,
    info: DatasetInfo,
    *,
    unknown: str = "error",
    option: str | None = None,
    where: str | None = None,
) -> np.ndarray:
    """Find the labels (h, w) uint8 of a decoded mask.

    Arguments and errors are those of :func:`read_mask`; ``raster`` is the decoded file, or a window
    of it that errors call ``where``.
    """
    where = where or str(path)
    coding, is_lossy = info.mask_coding, raster.header.is_lossy
    has_colors = raster.values.shape[2] > 1 or (raster.table and coding.color_tables == "colors")
    if has_colors or (is_lossy and coding.tolerance):
        return _labels_of_colors(path, raster, info, unknown, option, where)
    if is_lossy:
        raise lossy_mask(path)
    labels = raster.values[..., 0]
    if coding.values or coding.ignored_values:
        labels = _labels_of_values(labels, raster.valid, info, where)
    else:
        if raster.valid is not None:
            # The type of the result holds both, such as int16 for labels of int8.
            labels = np.where(raster.valid, labels, np.uint8(info.ignore_index))
        check_labels(labels, info, where)
    return turned_mask(labels.astype(np.uint8), raster, info)


def read_own_mask(path: Path, info: DatasetInfo) -> np.ndarray:
    """Read a mask that this project has written, of labels or of the palette's colors.

    Args:
        path: the mask file.
        info: description of the data set, whose own masks may have other values.

    Raises:
        InputError: see :func:`read_mask`.
    """
    return read_mask(path, info.decoded)


def _labels_of_values(
    values: np.ndarray, valid: np.ndarray | None, info: DatasetInfo, source: str
) -> np.ndarray:
    """Find the labels (h, w) of the values of a mask of one band, by the data set's coding."""
    labels = np.full(values.shape, MAX_CLASSES, np.uint8)  # which is no label
    labels[values == info.ignore_index] = info.ignore_index
    for value in info.mask_coding.ignored_values:
        labels[values == value] = info.ignore_index
    for label, value in enumerate(info.mask_values):
        labels[values == value] = label
    if valid is not None:
        labels[~valid] = info.ignore_index
    wrong = labels == MAX_CLASSES
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise InputError(
            source,
            f"value {values[row, column]} at row {row}, column {column} is no class "
            f"({int(wrong.sum())} pixels); {info.name} has the values "
            f"{listed(map(str, info.mask_values), 30)}",
            "correct the mask, or add the value to ignored=... in the data set's MaskCoding",
        )
    return labels


def read_colored_mask(
    path: Path, info: DatasetInfo, *, unknown: str = "error", option: str | None = None
) -> np.ndarray:
    """Read an RGB mask file as labels (h, w) uint8.

    Args:
        path: the mask file.
        info: description of the data set.
        unknown: what to do with colors that are no class, see :meth:`DatasetInfo.from_rgb`.
        option: name of the user's setting for ``unknown``, for the error.

    Raises:
        InputError: the file cannot be decoded, or holds a color that is no class.
    """
    return _labels_of_colors(path, read_mask_raster(path, info), info, unknown, option)


def read_mask_raster(path: Path, info: DatasetInfo) -> Raster:
    """Decode a mask file without a check of its labels.

    Raises:
        InputError: the file cannot be decoded, or a viewer would turn it, and ``info`` sets no
            ``exif_orientation``.
    """
    try:
        raster = read_raster(path)
    except InputError as error:
        raise InputError(str(error).replace("truncated image", "truncated mask")) from error
    _check_orientation(path, raster.header, info)
    return raster


def _labels_of_colors(
    path: Path,
    raster: Raster,
    info: DatasetInfo,
    unknown: str,
    option: str | None,
    where: str | None = None,
) -> np.ndarray:
    if raster.values.shape[2] > 3:
        raise InputError(
            path,
            f"{raster.header.bands} bands",
            "a mask has one band of labels or three bands of colors",
        )
    if raster.header.is_lossy and unknown == "error" and not info.mask_coding.tolerance:
        raise lossy_mask(path, option)
    try:
        labels = info.from_rgb(rgb_of(path, raster), where or str(path), unknown=unknown)
    except InputError as error:
        if option is None:
            raise
        raise InputError(
            error.where,
            error.problem,
            f"correct the mask, or give {option}=nearest, which takes the nearest class (lossy "
            f"masks), or {option}=ignore, which leaves these pixels out",
        ) from error
    if raster.valid is not None:
        labels[~raster.valid] = info.ignore_index
    return turned_mask(labels, raster, info)


def lossy_mask(path: Path, option: str | None = None) -> InputError:
    """Make the error for a mask with lossy compression.

    Args:
        path: the mask file.
        option: name of the setting that accepts such masks, if there is one.
    """
    nearest = f", or give {option}=nearest, which takes the nearest class" if option else ""
    return InputError(
        path,
        "compressed with loss, so some of its labels are wrong",
        f"save the mask again from its source, as PNG or a lossless TIFF{nearest}",
    )


def turned_mask(labels: np.ndarray, raster: Raster, info: DatasetInfo) -> np.ndarray:
    """Turn labels (h, w) as viewers turn their file, if the data set says so.

    Args:
        labels: the labels.
        raster: the decoded file.
        info: description of the data set.
    """
    is_shown = info.exif_orientation == "shown"
    return turned(labels, raster.header.orientation) if is_shown else labels


def check_labels(labels: np.ndarray, info: DatasetInfo, source: str) -> None:
    """Raise an :class:`InputError` if a label is neither a class nor the ignore label.

    Args:
        labels: (h, w), of any number type.
        info: description of the data set.
        source: where the labels come from, for the error.
    """
    is_class = (labels >= 0) & (labels < info.num_classes)
    if labels.dtype.kind == "f":
        is_class &= labels == np.floor(labels)
    wrong = ~is_class & (labels != info.ignore_index)
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise InputError(
            source,
            f"label {labels[row, column]} at row {row}, column {column} is out of range "
            f"({int(wrong.sum())} pixels); {info.name} has labels 0 to {info.num_classes - 1} "
            f"and {info.ignore_index} to ignore",
            "correct the mask, or call this its no-data value (gdal_edit.py -a_nodata)",
        )


# Writing ----------------------------------------------------------------------------------------


def write_image(path: Path, image: np.ndarray) -> None:
    """Write labels (h, w) or RGB (h, w, 3) uint8; an incomplete file never has the final name.

    Raises:
        InputError: the file cannot be written (disk full, no permission).
    """
    write_content(path, encode(image, path.suffix))


def encode(image: np.ndarray, suffix: str) -> bytes:
    """Encode labels (h, w), RGB (h, w, 3) or RGBA (h, w, 4) uint8 as the bytes of a file.

    Args:
        image: the pixels.
        suffix: suffix of the format, as in ``".png"``.
    """
    orders = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, orders[image.shape[2]])
    return cv2.imencode(suffix, bgr, ENCODING.get(suffix, ()))[1].tobytes()


def write_mask(
    path: Path, labels: np.ndarray, info: DatasetInfo, *, rgb: bool, valid: np.ndarray | None
) -> None:
    """Write predicted labels as a PNG of labels or of colors.

    Args:
        path: the file to write.
        labels: (h, w) uint8
        info: description of the data set.
        rgb: whether to write colors.
        valid: (h, w) bool, true where the image has data; None if it has data everywhere. Other
            pixels get the ignore label, which the file names as its no-data value; in a mask of
            colors they are transparent.

    Raises:
        InputError: the file cannot be written (disk full, no permission).
    """
    write_content(path, encode_mask(labels, info, rgb=rgb, valid=valid))


def encode_mask(
    labels: np.ndarray, info: DatasetInfo, *, rgb: bool, valid: np.ndarray | None
) -> bytes:
    """Encode predicted labels as the bytes of a PNG, see :func:`write_mask`."""
    if valid is None:
        return encode(info.to_rgb(labels) if rgb else labels, ".png")
    if rgb:
        alpha = np.where(valid, 255, 0).astype(np.uint8)
        colors = info.to_rgb(labels) * valid[..., None]
        return encode(np.dstack([colors, alpha]), ".png")
    png = encode(np.where(valid, labels, info.ignore_index).astype(np.uint8), ".png")
    # In a gray PNG this chunk, which follows the header, holds the no-data value.
    chunk = b"tRNS" + struct.pack(">H", info.ignore_index)
    return png[:33] + struct.pack(">I", 2) + chunk + _crc(chunk) + png[33:]


def _crc(chunk: bytes) -> bytes:
    return zlib.crc32(chunk).to_bytes(4)


def write_content(path: Path, content: bytes) -> None:
    """Write an encoded image; an incomplete file never has the final name.

    Raises:
        InputError: the file cannot be written (disk full, no permission).
    """
    with replacing(path, sweep=False) as partial:
        partial.write_bytes(content)
