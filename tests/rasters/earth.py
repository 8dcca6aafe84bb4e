"""Small rasters on Earth, with known labels."""

from pathlib import Path

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.transform import from_origin

from network.rasters.earth_grid import EarthGrid
from network.rasters.legend_files import write_attribute_table
from network.rasters.tiles import Legend
from tests.scenes import write_bands

UTM = CRS.from_epsg(32632)
ORIGIN = from_origin(500_000, 5_400_000, 0.5, 0.5)

CLASSES = ("road", "house", "field")
PALETTE = ((200, 200, 200), (200, 0, 0), (240, 220, 80))


def grid_of(height: int, width: int, transform: Affine = ORIGIN, crs: CRS = UTM) -> EarthGrid:
    return EarthGrid(height, width, crs, transform)


def blocks(seed: int, height: int, width: int, side: int = 6) -> np.ndarray:
    """Random labels 0 to 2 in squares."""
    rng = np.random.default_rng(seed)
    squares = rng.integers(0, 3, (-(-height // side), -(-width // side)))
    return np.kron(squares, np.ones((side, side), int))[:height, :width].astype(np.uint8)


def write_labels(path: Path, labels: np.ndarray, **options) -> Path:
    """Write labels (h, w) as a GeoTIFF that lies on Earth.

    Args:
        options: rasterio's, instead of the usual place.
    """
    place = {"crs": UTM, "transform": ORIGIN, "nodata": 255}
    write_bands(path, labels[..., None], **{**place, **options})
    return path


def write_map(path: Path, labels: np.ndarray, classes=CLASSES, **options) -> Path:
    """Write labels with the names of their classes beside them, as predict.py does."""
    write_labels(path, labels, **options)
    counts = [int((labels == label).sum()) for label in range(len(classes))]
    legend = Legend(["class"], classes, PALETTE[: len(classes)])
    write_attribute_table(path, legend, counts)
    return path
