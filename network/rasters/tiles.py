"""Rasters that are written in parts: tiles, the mosaic of them, and the finished file."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.shutil
import rasterio.warp
from affine import Affine
from rasterio._err import CPLE_BaseError  # has no public name, and is no RasterioError
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from network.errors import InputError
from network.rasters.header import OPTIONS
from network.rasters.place import Place
from network.rasters.whole import check_structure
from network.writing import replacing, unwritable

SIDE = 512
"""Side of the blocks inside all written files, in pixels."""


@dataclass(frozen=True)
class Grid:
    """The size, the bands and the place of a raster that is written in parts.

    Attributes:
        height: height of the whole raster in pixels.
        width: width in pixels.
        bands: number of bands.
        no_data: value of pixels without data.
        place: place on Earth; None if it is not known.
    """

    height: int
    width: int
    bands: int
    no_data: int
    place: Place | None = None


@dataclass(frozen=True)
class Legend:
    """The meaning of the values of a raster of uint8.

    Attributes:
        descriptions: what each band is.
        classes: names of the classes, by label; empty if the values are no labels.
        palette: red, green and blue of each class.
        scale: what the values are multiplied by; None for labels.
        tags: facts that the file keeps as TIFF tags.
    """

    descriptions: Sequence[str]
    classes: Sequence[str] = ()
    palette: Sequence[tuple[int, int, int]] = ()
    scale: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


def write_tile(path: Path, values: np.ndarray, no_data: int) -> None:
    """Write a part of a raster as a small GeoTIFF, whole or not at all.

    Args:
        path: the file.
        values: (bands, h, w) uint8.
        no_data: value of pixels without data.

    Raises:
        InputError: the file cannot be written.
    """
    bands, height, width = values.shape
    options = {
        "height": height,
        "width": width,
        "count": bands,
        "dtype": "uint8",
        "nodata": no_data,
        "tiled": True,
        "blockxsize": SIDE,
        "blockysize": SIDE,
        "interleave": "band",
        "compress": "deflate",
        "zlevel": 1,  # the finished file is compressed better
    }
    # In memory first: GDAL tells nobody of an error when it closes a file on a full disk.
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", **options) as file:
            file.write(values)
        content = memory.read()
    with replacing(path, sweep=False) as partial:
        partial.write_bytes(content)


def write_mosaic(
    path: Path,
    grid: Grid,
    legend: Legend,
    tiles: Mapping[Path, tuple[slice, slice]],
    *,
    overlap: bool = False,
) -> None:
    """Write a VRT over tiles: a small text file that GDAL reads as one raster.

    Args:
        path: the file.
        grid: the whole raster.
        legend: what its values mean.
        tiles: rows and columns of each tile.
        overlap: whether tiles may overlap. Then the last one counts that has data.
    """
    root = ElementTree.Element(
        "VRTDataset", rasterXSize=str(grid.width), rasterYSize=str(grid.height)
    )
    _add_place(root, grid.place)
    kind = "ComplexSource" if overlap else "SimpleSource"  # simple ones are read faster
    metadata = ElementTree.SubElement(root, "Metadata")
    for key, value in legend.tags.items():
        ElementTree.SubElement(metadata, "MDI", key=key).text = value
    for number in range(1, grid.bands + 1):
        band = ElementTree.SubElement(root, "VRTRasterBand", dataType="Byte", band=str(number))
        ElementTree.SubElement(band, "Description").text = legend.descriptions[number - 1]
        ElementTree.SubElement(band, "NoDataValue").text = str(grid.no_data)
        _add_legend(band, legend)
        for tile, (rows, columns) in tiles.items():
            height, width = rows.stop - rows.start, columns.stop - columns.start
            source = ElementTree.SubElement(band, kind)
            relative = os.path.relpath(tile, path.parent)
            ElementTree.SubElement(source, "SourceFilename", relativeToVRT="1").text = relative
            ElementTree.SubElement(source, "SourceBand").text = str(number)
            # With its properties here, a tile is not opened before it is read.
            ElementTree.SubElement(
                source,
                "SourceProperties",
                RasterXSize=str(width),
                RasterYSize=str(height),
                DataType="Byte",
                BlockXSize=str(SIDE),
                BlockYSize=str(SIDE),
            )
            size = {"xSize": str(width), "ySize": str(height)}
            ElementTree.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0", **size})
            target = {"xOff": str(columns.start), "yOff": str(rows.start), **size}
            ElementTree.SubElement(source, "DstRect", target)
            if overlap:
                ElementTree.SubElement(source, "NODATA").text = str(grid.no_data)
    with replacing(path) as partial:
        ElementTree.ElementTree(root).write(partial)


def write_cog(path: Path, mosaic: Path, legend: Legend) -> None:
    """Write a Cloud Optimized GeoTIFF from a mosaic, whole or not at all.

    Labels get overviews by the most frequent value, shares by the average.

    Args:
        path: the file.
        mosaic: the VRT, see :func:`write_mosaic`.
        legend: what its values mean.

    Raises:
        InputError: the file cannot be written.
    """
    is_share = legend.scale is not None
    options = {
        "BLOCKSIZE": str(SIDE),
        # Half the time of DEFLATE, for files that are a fifth larger.
        "COMPRESS": "ZSTD",
        "LEVEL": "3",
        "PREDICTOR": "YES" if is_share else "NO",
        "OVERVIEW_RESAMPLING": "AVERAGE" if is_share else "MODE",
        "BIGTIFF": "IF_SAFER",
        "STATISTICS": "YES",
        "NUM_THREADS": "ALL_CPUS",
    }

    def copy(partial: Path) -> None:
        # Otherwise GDAL writes statistics and names into files beside each tile.
        with rasterio.Env(**{**OPTIONS, "GDAL_PAM_ENABLED": "NO"}):
            rasterio.shutil.copy(mosaic, partial, driver="COG", **options)

    # To compute statistics, GDAL copies the text of the mosaic. Before version 3.11.4, each thread
    # keeps this text, with a line for each tile, three times until it ends
    # (https://github.com/OSGeo/gdal/pull/12932). So each file has a thread of its own.
    with replacing(path) as partial, _naming(path), ThreadPoolExecutor(1) as thread:
        thread.submit(copy, partial).result()
        # GDAL tells nobody of an error when it closes the file.
        try:
            check_structure(partial, "GTiff")
        except InputError as error:
            raise RasterioError("it is not complete") from error


def can_keep(place: Place) -> bool:
    """Tell whether a GeoTIFF can keep a reference system; a rotated pole is one that it cannot.

    Args:
        place: place of the raster; without a reference system, there is nothing to keep.
    """
    crs = place.crs
    if not crs:
        return True
    if place.transform is None:
        places = [(point.x, point.y) for point in place.points]
    else:
        places = [place.transform @ pixel for pixel in ((0, 0), (1000, 1000))]
    size = {"height": 1, "width": 1, "count": 1, "dtype": "uint8"}
    try:
        with rasterio.Env(GDAL_PAM_ENABLED="NO"), MemoryFile() as memory:
            with memory.open(driver="GTiff", crs=crs, transform=Affine.scale(2), **size):
                pass
            with memory.open() as file:
                kept = file.crs
        if kept is None or kept == crs:
            return kept is not None
        # Systems may differ in words alone, such as the order of the axes.
        moved = rasterio.warp.transform(crs, kept, *zip(*places, strict=True))
    except (RasterioError, CPLE_BaseError):
        return False
    return np.allclose(np.transpose(moved), places, rtol=1e-9)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn GDAL's errors in this block into an :class:`InputError` that names the file."""
    try:
        yield
    except (RasterioError, CPLE_BaseError, SystemError) as error:
        raise unwritable(path, error) from error


def _add_place(root: ElementTree.Element, place: Place | None) -> None:
    if place is None:
        return
    crs = place.crs.to_wkt() if place.crs else ""
    if place.transform is not None:
        if crs:
            ElementTree.SubElement(root, "SRS").text = crs
        numbers = ", ".join(repr(number) for number in place.transform.to_gdal())
        ElementTree.SubElement(root, "GeoTransform").text = numbers
        return
    points = ElementTree.SubElement(root, "GCPList", Projection=crs)
    for number, point in enumerate(place.points):
        ElementTree.SubElement(
            points,
            "GCP",
            Id=point.id or str(number),
            Pixel=repr(point.col),
            Line=repr(point.row),
            X=repr(point.x),
            Y=repr(point.y),
            Z=repr(point.z or 0.0),
        )


def _add_legend(band: ElementTree.Element, legend: Legend) -> None:
    if legend.scale is not None:
        ElementTree.SubElement(band, "Scale").text = repr(legend.scale)
        ElementTree.SubElement(band, "ColorInterp").text = "Gray"
        return
    ElementTree.SubElement(band, "ColorInterp").text = "Palette"
    names = ElementTree.SubElement(band, "CategoryNames")
    table = ElementTree.SubElement(band, "ColorTable")
    for value in range(256):
        is_class = value < len(legend.classes)
        if is_class:
            ElementTree.SubElement(names, "Category").text = legend.classes[value]
        red, green, blue = legend.palette[value] if is_class else (0, 0, 0)
        alpha = 255 if is_class else 0
        entry = {"c1": red, "c2": green, "c3": blue, "c4": alpha}
        ElementTree.SubElement(table, "Entry", {k: str(v) for k, v in entry.items()})
