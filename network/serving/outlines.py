"""Polygons of a predicted image as GeoJSON. This module needs the extra ``vectors``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely

from network.maps.layers import NO_DATA
from network.maps.outlines import straightened, trace
from network.rasters.vector_paths import plain
from network.serving.refusal import Refusal

DIGITS = 8
"""Decimal digits of degrees, which are about a millimeter."""


def polygons_on_earth(path: Path, most: int) -> bytes:
    """Turn the polygons that a map has written into GeoJSON.

    Args:
        path: the GeoPackage.
        most: largest number of polygons.

    Returns:
        GeoJSON (RFC 7946) in longitude and latitude. Each polygon has the properties of the
        GeoPackage: class, name, area in square meters, and mean confidence.

    Raises:
        Refusal: there are more polygons.
    """
    frame = pyogrio.read_dataframe(plain(path), max_features=most + 1)
    _check_number(len(frame), most)
    shapes = frame.geometry.to_crs(4326).to_numpy()
    shapes = shapely.orient_polygons(shapely.transform(shapes, lambda xy: xy.round(DIGITS)))
    table = frame.drop(columns="geometry").to_dict("records")
    return _collection(shapes, [{**row, "class": int(row["class"])} for row in table])


def polygons_of_labels(labels: np.ndarray, classes: Sequence[str], most: int) -> bytes:
    """Trace the regions of an image without a place on Earth as GeoJSON.

    Args:
        labels: (h, w) uint8, ``NO_DATA`` where there is no data.
        classes: names of the classes, by label.
        most: largest number of polygons.

    Returns:
        GeoJSON in columns (x) and rows (y). Each polygon has the properties class, name, and its
        number of pixels.

    Raises:
        Refusal: there are more polygons.
    """
    shapes, owners = trace(labels.astype(np.int32), (None,) * 4, (0, 0))
    shapes, owners = shapes[owners != NO_DATA], owners[owners != NO_DATA]
    _check_number(len(shapes), most)
    shapes = straightened(shapes) if len(shapes) else shapes
    pixels = shapely.area(shapes)
    rows = [
        {"class": label, "name": classes[label], "pixels": round(count)}
        for label, count in zip(owners.tolist(), pixels.tolist(), strict=True)
    ]
    return _collection(shapely.orient_polygons(shapes), rows)


def _check_number(count: int, most: int) -> None:
    if count > most:
        raise Refusal(
            422,
            f"The mask has more than {most} polygons; give min_area if the image lies on Earth, or "
            "send a smaller image.",
        )


def _collection(shapes: np.ndarray, rows: Sequence[dict[str, Any]]) -> bytes:
    features = [
        f'{{"type":"Feature","properties":{json.dumps(row, ensure_ascii=False)},'
        f'"geometry":{shape}}}'
        for row, shape in zip(rows, shapely.to_geojson(shapes).tolist(), strict=True)
    ]
    return f'{{"type":"FeatureCollection","features":[{",".join(features)}]}}'.encode()
