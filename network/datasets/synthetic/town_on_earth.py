"""Synthetic scenes on Earth: GeoTIFFs, and one GeoPackage of their labels as polygons.

This module needs the extra ``vectors``.
"""

from collections.abc import Sequence
from pathlib import Path

import geopandas
import rasterio
import rasterio.features
import shapely
from affine import Affine
from rasterio.transform import array_bounds, from_origin

from network.datasets.info import VAIHINGEN
from network.datasets.synthetic.town import PIXELS_PER_METER, make_scene
from network.datasets.synthetic.town_files import SceneTile
from network.rasters.header import OPTIONS
from network.rasters.vector_paths import plain
from network.writing import writing

CRS = "EPSG:32632"
"""UTM zone 32, in which Vaihingen lies."""

LABELS, AREAS = "labels.gpkg", "areas.gpkg"
"""Polygons of all classes, with the attribute ``class``; and of all scenes, with ``split``."""

_WEST, _NORTH = 496_000.0, 5_421_000.0
_GAP = 100.0  # meters between neighbors


def write_scene_image(folder: Path, tile: SceneTile) -> list[str]:
    """Write the image of a scene as a tiled GeoTIFF; return its path below ``folder``."""
    image, _ = make_scene(tile.seed, tile.height, tile.width)
    name = f"images/{scene_name(tile)}.tif"
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"tiled": True, "blockxsize": 512, "blockysize": 512, "interleave": "pixel"}
    with (
        writing(path),
        rasterio.Env(**OPTIONS),
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=tile.height,
            width=tile.width,
            count=3,
            dtype="uint8",
            crs=CRS,
            transform=place_of_scene(tile),
            compress="deflate",
            photometric="RGB",
            **options,
        ) as file,
    ):
        file.write(image.transpose(2, 0, 1))
    return [name]


def write_polygons(folder: Path, tiles: Sequence[SceneTile]) -> list[str]:
    """Write the labels of all scenes as polygons, and the areas of the splits if there are several.

    Pixels whose center is in a polygon of a class are just those that have this label.

    Args:
        folder: the folder.
        tiles: all scenes.

    Returns:
        Paths of the files, below ``folder``.
    """
    shapes, names, boxes = [], [], []
    for tile in tiles:
        _, labels = make_scene(tile.seed, tile.height, tile.width)
        transform = place_of_scene(tile)
        for shape, label in rasterio.features.shapes(labels, transform=transform):
            shapes.append(shapely.geometry.shape(shape))
            names.append(VAIHINGEN.classes[int(label)])
        boxes.append(shapely.box(*array_bounds(tile.height, tile.width, transform)))
    labels_frame = geopandas.GeoDataFrame({"class": names}, geometry=shapes, crs=CRS)
    splits = [tile.split for tile in tiles]
    areas = geopandas.GeoDataFrame({"split": splits}, geometry=boxes, crs=CRS)
    with writing(folder):
        labels_frame.to_file(plain(folder / LABELS), layer="labels")
        if len(set(splits)) == 1:
            return [LABELS]
        areas.to_file(plain(folder / AREAS), layer="areas")
    return [LABELS, AREAS]


def scene_name(tile: SceneTile) -> str:
    """Name of a scene's file, without its ending."""
    return f"scene{tile.area:02}"


def place_of_scene(tile: SceneTile) -> Affine:
    """Find where a scene lies: all are in a row from west to east."""
    step = tile.width / PIXELS_PER_METER + _GAP
    pixel = 1 / PIXELS_PER_METER
    return from_origin(_WEST + (tile.area - 1) * step, _NORTH, pixel, pixel)
