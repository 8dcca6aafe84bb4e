"""Windows of a raster of any size, in any format that GDAL opens."""

import hashlib
import os
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError  # has no public name, and is no RasterioError
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from network.errors import InputError
from network.rasters.header import (
    OPTIONS,
    Header,
    find_orientation,
    header_of,
    is_lossy,
    webp_orientation,
)
from network.rasters.pixels import finite_pixels
from network.rasters.reader import Raster, check_once, transparent_colors, turned, validity
from network.rasters.whole import REMEDY, check_structure, find_driver
from network.writing import file_hash

_VIRTUAL = "/vsi"
_IN_FILES = {
    "vsizip",
    "vsitar",
    "vsi7z",
    "vsirar",
    "vsigzip",
    "vsisubfile",
    "vsicrypt",
    "vsisparse",
}
"""GDAL's names for what reads a part of a file, such as one of those in an archive."""

_PART = re.compile(r"[A-Z0-9_]{2,}:.+")

_SIDE_FILES = (".aux.xml", ".ovr")
"""Endings of the files that viewers add to an image: statistics and smaller copies of it."""

_CHECKED = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


class UnreadableImage(InputError):
    """The error for an image that cannot be opened or decoded; others may still be read."""


class Source:
    """An opened raster that is read window by window; one thread may use it at a time.

    Args:
        path: a file, or a path that GDAL understands, as ``/vsizip/a.zip/b.tif`` or, for one of
            several rasters of a file, ``NETCDF:"a.nc":water``.
        bands: numbers of the bands to read, from 1 on. By default all bands are read, except for an
            alpha band, which tells the valid pixels.
        turn: whether to turn the image as its EXIF orientation says, like a viewer. Otherwise, rows
            and columns are those of the file.

    Raises:
        InputError: the file cannot be opened, or it has no such band.
    """

    def __init__(self, path: str | Path, bands: Sequence[int] | None = None, *, turn: bool = False):
        self.path = str(path)
        driver, orientation = _look_at(self.path)
        self._environment = rasterio.Env(**OPTIONS)
        try:
            with self._environment:
                self._file = rasterio.open(self.path, driver=driver)
        except (RasterioError, CPLE_BaseError, OSError, ValueError, OverflowError) as error:
            raise InputError(Path(self.path), "unreadable image", f"{REMEDY}") from error
        try:
            self._choose(bands, driver, orientation)
        except InputError:
            self.close()
            raise
        self._turn = orientation if turn else 1

    def _choose(self, bands: Sequence[int] | None, driver: str | None, orientation: int) -> None:
        """Read the header, and find the bands to read."""
        if not self._file.count:
            raise InputError(
                Path(self.path),
                f"has no bands, but {len(self._file.subdatasets)} rasters in it",
                "give one of these (gdalinfo lists them)",
            )
        self.header: Header = header_of(self._file, driver or self._file.driver, orientation)
        if bands is None:
            bands = range(1, self.header.bands - self.header.has_alpha + 1)
        self.bands = list(bands)
        missing = set(self.bands) - set(range(1, self.header.bands + 1))
        if missing:
            raise InputError(
                Path(self.path),
                f"has no band {min(missing)}, only 1 to {self.header.bands}",
                "choose other bands",
            )
        self._alpha = None
        if self.header.has_alpha and self.header.bands not in self.bands:
            self._alpha = self.header.bands
        self._transparent = transparent_colors(self._file)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, of the turned image if it is turned."""
        size = self.header.height, self.header.width
        return size[::-1] if self._turn > 4 else size

    @property
    def block_size(self) -> tuple[int, int]:
        """Height and width of the parts that the file stores and decodes at once."""
        size = self._file.block_shapes[0]
        return size[::-1] if self._turn > 4 else size

    @property
    def dtypes(self) -> set[str]:
        """NumPy's names for the types of the bands that are read."""
        return {self._file.dtypes[band - 1] for band in self.bands}

    @property
    def scales(self) -> tuple[float, ...]:
        """The scale of each band that is read, by which the file wants its values multiplied.

        It is 1 if the file names none. :meth:`read` does not multiply the values.
        """
        return tuple(self._file.scales[band - 1] for band in self.bands)

    @property
    def may_lack_data(self) -> bool:
        """Whether some pixels may not be valid; if not, nothing needs to be read to know it."""
        flags = [self._file.mask_flag_enums[band - 1] for band in self.bands]
        is_whole = all(MaskFlags.all_valid in of_band for of_band in flags)
        is_float = any(np.dtype(dtype).kind == "f" for dtype in self.dtypes)
        is_apart = self._alpha is not None or bool(self._transparent)
        return is_apart or is_float or not is_whole

    @property
    def has_rpcs(self) -> bool:
        """Whether rational polynomials (RPC) say where it lies, as in raw satellite images."""
        return bool(self._file.tags(ns="RPC"))

    @property
    def driver(self) -> str:
        """GDAL's name of the file's format."""
        return self._file.driver

    @property
    def compression(self) -> str:
        """Name of the compression of the stored pixels, such as ``"LZW"``; empty for none."""
        if self.driver.startswith("JP2"):
            return "JPEG 2000"
        return self._file.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION", "")

    @property
    def color_table(self) -> dict[int, tuple[int, int, int]]:
        """Red, green and blue of each value of the first band; empty without a color table.

        Entries that are transparent are left out.
        """
        try:
            with self._environment:
                table = self._file.colormap(1)
        except ValueError:
            return {}
        return {value: color[:3] for value, color in table.items() if color[3]}

    @property
    def is_turned(self) -> bool:
        """Whether rows and columns are not those that are stored."""
        return self._turn != 1

    def version(self, *, with_side_files: bool = False) -> str:
        """Make a text that shows later whether the image has changed.

        It has size and time of all files that GDAL reads: world files, sources of a VRT, archives.
        Statistics and overviews, which viewers write beside an image, do not count. But a file with
        statistics may also say where the image lies or which value is no data, and that counts.

        Args:
            with_side_files: whether all side files count, as they did in an older version.
        """
        paths = list(dict.fromkeys([self.path, *sorted(self._file.files)]))
        known = set(paths)
        for inner in [path for path in paths[1:] if path.lower().endswith(".vrt")]:
            paths += _sources(inner, known)
        side = set() if with_side_files else {p for p in paths[1:] if _is_side_file(p, paths)}
        found = [about for path in paths if path not in side and (about := _stat(path))]
        stamps = [f"{about.st_size}-{about.st_mtime_ns}" for about in found]
        height, width = self.size
        text = " ".join(stamps) or f"{self.path} {height} x {width}"
        if side and (facts := _facts(self._file)) != self._facts_without_side_files():
            text += f" {hashlib.sha256(facts.encode(errors='surrogateescape')).hexdigest()[:16]}"
        if len(text) > 100:
            return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
        return text

    def _facts_without_side_files(self) -> str | None:
        """Read what the image says of itself without ``.aux.xml``; None if it cannot be opened."""
        try:
            with (
                rasterio.Env(**OPTIONS, GDAL_PAM_ENABLED="NO"),
                rasterio.open(self.path, driver=self.driver) as file,
            ):
                return _facts(file)
        except (RasterioError, CPLE_BaseError, OSError, ValueError, OverflowError):
            return None

    def read(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray | None]:
        """Read a window.

        Args:
            rows: rows of the image.
            columns: columns of the image.

        Returns:
            Values (h, w, bands) and the mask of valid pixels (h, w) bool, which is None if all
            are valid. NaN and infinite values are not.

        Raises:
            InputError: the pixels cannot be decoded.
        """
        values, valid = self._decode(rows, columns)
        return values, finite_pixels(values, valid)

    def _decode(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray | None]:
        """Read values (h, w, bands), and the pixels (h, w) that the file calls valid."""
        stored = _stored(rows, columns, self._turn, (self.header.height, self.header.width))
        window = RasterioWindow.from_slices(*stored)
        try:
            with self._environment:
                values = self._file.read(indexes=self.bands, window=window)
                valid = validity(self._file, self.bands, self._alpha, window, self._transparent)
        except (RasterioError, CPLE_BaseError, OSError, ValueError, OverflowError) as error:
            raise UnreadableImage(
                Path(self.path),
                f"unreadable at rows {rows.start} to {rows.stop}, columns {columns.start} to "
                f"{columns.stop}",
                f"{REMEDY}",
            ) from error
        values = values.transpose(1, 2, 0)
        if self._turn != 1:
            values = turned(values, self._turn)
            valid = None if valid is None else turned(valid, self._turn)
        return values, valid

    def read_raster(self, rows: slice, columns: slice) -> Raster:
        """Read a window with all that is needed to understand its values.

        Args:
            rows: rows of the image.
            columns: columns of the image.

        Returns:
            The window, as if it was a file of its own: turned already if the image is turned.

        Raises:
            InputError: the pixels cannot be decoded.
        """
        values, valid = self._decode(rows, columns)
        header = replace(
            self.header,
            height=values.shape[0],
            width=values.shape[1],
            orientation=1 if self.is_turned else self.header.orientation,
        )
        is_palette = header.color == "color-table"
        table = self._file.colormap(1) if is_palette else None
        return Raster(header, values, valid, self._file.nodata, table)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _facts(file: rasterio.DatasetReader) -> str:
    """Write all that an opened file says of its pixels and that a side file may change."""
    points, crs = file.gcps
    place = [tuple(file.transform), *((p.row, p.col, p.x, p.y, p.z) for p in points)]
    systems = [one.to_wkt() if one else "" for one in (file.crs, crs)]
    bands = [file.nodatavals, file.mask_flag_enums, file.scales, file.offsets, file.colorinterp]
    try:
        colors = file.colormap(1)
    except ValueError:
        colors = {}
    return repr([file.shape, file.dtypes, place, systems, bands, sorted(colors.items())])


def _is_side_file(path: str, known: Collection[str]) -> bool:
    """Tell whether a viewer may have written a file beside another one of an image."""
    return any(path.lower().endswith(e) and path[: -len(e)] in known for e in _SIDE_FILES)


def _stat(path: str) -> os.stat_result | None:
    """Find size and time of a file, or of the archive that it is in; None if it is elsewhere."""
    place = _real_path(path)
    if place is None:
        return None
    for candidate in (place, *place.parents):
        try:
            if candidate.is_file():
                return candidate.stat()
        except OSError:
            return None
    return None


def _real_path(path: str) -> Path | None:
    """Find the path on the disk of a path that GDAL understands; None if there is none.

    Examples:
        >>> names = "/vsizip/a.zip/b.tif", "/vsizip/{/d/a.zip}/b.tif", "/vsitar//vsigzip//d/a.gz/b"
        >>> [str(_real_path(name)) for name in names]
        ['a.zip/b.tif', '/d/a.zip', '/d/a.gz/b']
    """
    while path.startswith(_VIRTUAL):
        kind, _, rest = path[1:].partition("/")
        if kind not in _IN_FILES:
            return None
        if kind == "vsisubfile":  # its path begins with the place in the file
            rest = rest.partition(",")[2]
        if rest.startswith("{"):
            rest = _in_braces(rest)
        # GDAL takes both /vsitar/vsigzip/ and /vsitar//vsigzip/.
        path = f"/{rest}" if rest.startswith(_VIRTUAL[1:]) else rest
    return Path(path)


def _in_braces(text: str) -> str:
    """Take what stands in the first braces, which may have further ones in them."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "{") - (letter == "}")
        if not depth:
            return text[1:place]
    return text[1:]


def is_lossy_raster(source: Source) -> bool:
    """Tell whether an opened raster, or a source of a VRT, was compressed with loss."""
    if source.header.is_lossy or not source.path.lower().endswith(".vrt"):
        return source.header.is_lossy
    return _has_lossy_sources(source.path, file_version(Path(source.path)))


@lru_cache(maxsize=64)
def _has_lossy_sources(vrt: str, state: str) -> bool:
    """Tell whether a VRT has sources with loss.

    It may have thousands of sources, and each map asks anew. So the answer is kept as long as the
    state of its files is the same.
    """
    for path in _sources(vrt, {vrt}):
        if path.lower().endswith((".ovr", ".msk", ".xml")):  # not the pixels themselves
            continue
        with suppress(RasterioError, CPLE_BaseError), rasterio.open(path) as file:
            if is_lossy(file):
                return True
    return False


def content_hash(path: Path) -> str:
    """Compute the SHA-256 of a data source, in hexadecimal.

    A Shapefile has several files, a VRT has sources, a GeoPackage may have edits in a file beside
    it, and other formats are folders. Then it is the digest of the names and the hashes of all
    files.

    Args:
        path: the file or the folder.
    """
    files = _files_of(path)
    if files == [path]:
        return file_hash(path)
    lines = "".join(f"{one.name} {file_hash(one)}\n" for one in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def file_version(path: Path) -> str:
    """Make a text that shows later whether a data source has changed, from sizes and times.

    Args:
        path: the file or the folder.
    """
    files = _files_of(path)
    # GDAL's side files may say which value is which class. QGIS also writes statistics into them,
    # so the hash of the content leaves them out.
    side = [one.with_name(one.name + ".aux.xml") for one in files]
    found = [*files, *(one for one in side if one.is_file())]
    stamps = [about for one in found if (about := _stat(str(one)))]
    return " ".join(f"{about.st_size}-{about.st_mtime_ns}" for about in stamps)


def _files_of(path: Path) -> list[Path]:
    """List the files that hold the content of a data source, itself first if it is a file."""
    if path.is_dir():
        return sorted(one for one in path.rglob("*") if one.is_file())
    if path.suffix.lower() == ".shp":
        return sorted(one for one in path.parent.iterdir() if one.stem == path.stem)
    if path.suffix.lower() == ".vrt":
        sources = map(Path, _sources(str(path), {str(path)}))
        return [path, *(one for one in sources if one.is_file())]
    # While QGIS has a GeoPackage open, its edits stand in the log, and the file stays as it was.
    log = path.with_name(path.name + "-wal")
    about = _stat(str(log)) if log.is_file() else None  # it goes when QGIS closes the file
    return [path, log] if about and about.st_size else [path]


def _sources(vrt: str, known: set[str]) -> list[str]:
    """List the files that a VRT reads, also by other VRTs; a vector VRT counts as one file."""
    try:
        with rasterio.open(vrt) as file:
            listed = set(file.files)
    except (RasterioError, CPLE_BaseError):
        return []
    found = []
    for source in sorted(listed - known, key=Path):
        known.add(source)
        found.append(source)
        found += _sources(source, known) if source.lower().endswith(".vrt") else []
    return found


def is_remote(path: str) -> bool:
    """Tell whether a path is one of GDAL's own: in an archive, on a server, part of a file."""
    return path.startswith(_VIRTUAL) or "://" in path


def is_part(path: str) -> bool:
    """Tell whether a path is GDAL's name of one raster of a file, as ``GTIFF_DIR:2:a.tif``."""
    return bool(_PART.fullmatch(path)) and not Path(path).exists()


def is_virtual(path: str) -> bool:
    """Tell whether GDAL alone understands a path, which is none of a file then."""
    return is_remote(path) or is_part(path)


def _look_at(path: str) -> tuple[str | None, int]:
    """Find GDAL's driver of a PNG, JPEG or TIFF file and its orientation, and check it is whole.

    Of WebP files, only the orientation is found.

    All bytes of a PNG are checked; of a JPEG or TIFF, only the structure.

    Other formats are left to GDAL: the driver is None, and the orientation is upright.
    """
    if is_virtual(path):
        return None, 1
    file = Path(path)
    if not file.exists():
        raise InputError(file, "no such file")
    if file.suffix.lower() == ".webp" and file.is_file():
        return None, webp_orientation(file)
    if file.is_dir() or file.suffix.lower() not in _CHECKED:
        return None, 1
    driver = find_driver(file)
    if driver == "PNG":  # GDAL makes up the pixels that a PNG lacks, without an error
        return driver, check_once(file, driver)
    check_structure(file, driver)
    return driver, find_orientation(file, driver)


def _stored(
    rows: slice, columns: slice, orientation: int, stored_size: tuple[int, int]
) -> tuple[slice, slice]:
    """Find the stored rows and columns of a window of the turned image."""
    if orientation > 4:
        rows, columns = columns, rows
    height, width = stored_size
    if orientation in (3, 4, 6, 7):
        rows = slice(height - rows.stop, height - rows.start)
    if orientation in (2, 3, 7, 8):
        columns = slice(width - columns.stop, width - columns.start)
    return rows, columns
