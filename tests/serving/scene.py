"""A small map with all its layers and its image, as predict.py leaves them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rasterio.crs import CRS
from rasterio.transform import from_origin

from network.rasters.legend_files import write_attribute_table
from network.rasters.place import Place
from network.rasters.tiles import Grid, Legend, write_cog, write_mosaic, write_tile
from tests.scenes import write_bands

NAMES = ("road", "building", "lawn", "tree")
COLORS = ((250, 250, 250), (20, 40, 230), (30, 220, 210), (10, 180, 20))
PLACE = Place(CRS.from_epsg(32632), from_origin(500_000, 5_400_000, 0.5, 0.5))


@dataclass(frozen=True)
class Scene:
    """A map in files, and the arrays that they hold.

    Args:
        map: the file of the labels; layers lie beside it.
        image: the file of the image.
        labels: (h, w), 255 where there are no data.
        probabilities: (h, w, 4) in steps of 1 / 250, 255 where there are no data.
        pixels: (h, w, 3) of the image, 0 where there are no data.
    """

    map: Path
    image: Path
    labels: np.ndarray
    probabilities: np.ndarray
    pixels: np.ndarray


def make_scene(folder: Path, height: int = 700, width: int = 900, *, layers: bool = True) -> Scene:
    """Blocks of classes; a corner has no data."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 4, (-(-height // 30), -(-width // 30)))
    truth = np.kron(blocks, np.ones((30, 30), int))[:height, :width]
    scores = np.eye(4)[truth] + rng.random((height, width, 4))
    probabilities = np.rint(250 * scores / scores.sum(axis=2, keepdims=True)).astype(np.uint8)
    labels = probabilities.argmax(axis=2).astype(np.uint8)
    pixels = (np.array(COLORS)[truth] // 2 + rng.integers(1, 60, (height, width, 3))).astype(
        np.uint8
    )
    hole = np.s_[: height // 3, : width // 4]
    labels[hole], probabilities[hole], pixels[hole] = 255, 255, 0
    path = folder / "maps/town.tif"
    path.parent.mkdir(parents=True)
    legend = Legend(["class"], NAMES, COLORS)
    _write_cog(path, labels[..., None], legend)
    write_attribute_table(path, legend, [int((labels == label).sum()) for label in range(4)])
    if layers:
        shares = Legend([f"probability of {name}" for name in NAMES], scale=1 / 250)
        _write_cog(path.with_name("town_probabilities.tif"), probabilities, shares)
        largest = probabilities.max(axis=2, keepdims=True)
        confidence = Legend(["largest probability"], scale=1 / 250)
        _write_cog(path.with_name("town_confidence.tif"), largest, confidence)
    image = folder / "images/town.tif"
    place = {"crs": PLACE.crs, "transform": PLACE.transform}
    block = {"tiled": True, "blockxsize": 256, "blockysize": 256}
    write_bands(image, pixels, nodata=0, photometric="RGB", **block, **place)
    return Scene(path, image, labels, probabilities, pixels)


def _write_cog(path: Path, values: np.ndarray, legend: Legend) -> None:
    height, width, bands = values.shape
    tile, mosaic = path.with_name("part.tif"), path.with_name("whole.vrt")
    write_tile(tile, values.transpose(2, 0, 1), 255)
    grid = Grid(height, width, bands, 255, PLACE)
    write_mosaic(mosaic, grid, legend, {tile: (slice(0, height), slice(0, width))})
    write_cog(path, mosaic, legend)
    tile.unlink()
    mosaic.unlink()
