"""Small scenes on Earth for tests: images that show their own labels, and files of labels."""

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely
from affine import Affine
from rasterio.features import shapes as polygons_of

from network.datasets.on_earth.files import LabelFile
from network.datasets.on_earth.scenes import Scenes
from network.datasets.schema import DatasetInfo
from tests.rasters.earth import CLASSES, ORIGIN, PALETTE, UTM
from tests.scenes import write_bands


def dataset(**scenes: dict[str, Any]) -> DatasetInfo:
    """A data set whose splits are scenes, by the arguments of :class:`Scenes`."""
    return DatasetInfo(
        name="fields",
        root="",
        classes=CLASSES,
        palette=PALETTE,
        ignore_index=255,
        splits={split: (Scenes(**arguments),) for split, arguments in scenes.items()},
    )


def by_class(path: str = "labels.gpkg", **options: Any) -> LabelFile:
    """Labels by the attribute ``class``."""
    return LabelFile(path=Path(path), attribute="class", **options)


def write_scene(path: Path, labels: np.ndarray, place: Affine = ORIGIN, **options: Any) -> None:
    """An image (h, w, 3) whose bands tell the label: 80 times the label plus 10, and so on."""
    image = np.stack([80 * (labels % 3) + 10, labels, 255 - labels], axis=2).astype(np.uint8)
    write_bands(path, image, **{"crs": UTM, "transform": place, **options})


def write_regions(path: Path, labels: np.ndarray, place: Affine = ORIGIN, crs: Any = UTM) -> None:
    """The regions of labels as polygons, without those of 255."""
    found = [
        (shapely.geometry.shape(shape), CLASSES[int(label)])
        for shape, label in polygons_of(labels, mask=labels != 255, transform=place)
    ]
    shapes, names = zip(*found, strict=True)
    write_features(path, shapes, crs, **{"class": names})


def write_features(path: Path, shapes: Any, crs: Any = UTM, **attributes: Any) -> None:
    """Features in UTM, written in another reference system."""
    frame = geopandas.GeoDataFrame(attributes, geometry=list(shapes), crs=UTM.to_wkt())
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_crs(crs if isinstance(crs, str) else crs.to_wkt()).to_file(path)


def box(rows: slice, columns: slice, place: Affine = ORIGIN) -> shapely.Polygon:
    """A rectangle of pixels."""
    left, top = place @ (columns.start, rows.start)
    right, bottom = place @ (columns.stop, rows.stop)
    return shapely.box(left, bottom, right, top)
