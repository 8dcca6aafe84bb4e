"""Outlines of polygons in a window, against the geometries that were written."""

import json

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from network.errors import InputError
from network.serving import polygons as module
from network.serving.polygons import Polygons
from tests.serving.scene import PLACE

BOX = (0.0, 0.0, 900.0, 700.0)


def squares(*places: tuple[float, float], side: float = 20.0) -> np.ndarray:
    """Squares by column and row of their upper left corner, in coordinates."""
    boxes = [shapely.box(column, row, column + side, row + side) for column, row in places]
    return shapely.transform(
        np.array(boxes), lambda xy: np.column_stack(PLACE.transform @ tuple(xy.T))
    )


def write(path, shapes, labels, crs=PLACE.crs, **options):
    frame = geopandas.GeoDataFrame({"class": labels, "name": "x"}, geometry=shapes, crs=crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path, **options)
    else:
        frame.to_file(path)
    return path


def features(text: str) -> list[tuple[int | None, shapely.Geometry]]:
    found = json.loads(text)["features"]
    return [(one["properties"]["label"], shapely.geometry.shape(one["geometry"])) for one in found]


KINDS = {
    "gpkg": ("a.gpkg", {}),
    "parquet": ("a.parquet", {"write_covering_bbox": True}),
    "parquet without boxes": ("a.parquet", {}),
    "geojson": ("a.geojson", {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_polygons_in_rows_and_columns(tmp_path, kind):
    name, options = KINDS[kind]
    crs = "EPSG:4326" if kind == "geojson" else PLACE.crs
    shapes = geopandas.GeoSeries(squares((100, 50), (300, 60), (800, 600)), crs=PLACE.crs)
    path = write(tmp_path / name, shapes.to_crs(crs), [2, 0, 1], crs, **options)
    polygons = Polygons(path, PLACE)
    found = features(polygons.inside((90.0, 40.0, 400.0, 400.0), 1.0))
    assert sorted(label for label, _ in found) == [0, 2]
    for label, line in found:
        column, row = {2: (100, 50), 0: (300, 60)}[label]
        expected = shapely.box(column, row, column + 20, row + 20)
        assert line.hausdorff_distance(expected.boundary) < 0.03


def test_an_outline_is_cut_to_the_window(tmp_path):
    """So a window inside a polygon shows nothing of it, and no border where it is cut."""
    polygons = Polygons(write(tmp_path / "a.gpkg", squares((0, 0), side=300), [1]), PLACE)
    ((label, line),) = features(polygons.inside((200.0, 20.0, 400.0, 60.0), 0.1))
    assert label == 1
    assert line.equals(shapely.LineString([(300, 20), (300, 60)]))
    assert features(polygons.inside((100.0, 20.0, 200.0, 60.0), 0.1)) == []


@settings(max_examples=10, deadline=None)
@given(pixel=st.floats(0.05, 32), seed=st.integers(0, 99))
def test_outlines_are_simplified_by_less_than_a_pixel(tmp_path_factory, pixel, seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 60))
    radius = rng.uniform(60, 100, 60)
    ring = np.column_stack([450 + radius * np.cos(angles), 350 + radius * np.sin(angles)])
    shape = shapely.Polygon(ring)
    there = shapely.transform(shape, lambda xy: np.column_stack(PLACE.transform @ tuple(xy.T)))
    path = write(tmp_path_factory.mktemp("a") / "a.parquet", [there], [0])
    ((_, found),) = features(Polygons(path, PLACE).inside(BOX, pixel))
    assert found.hausdorff_distance(shape.boundary) <= pixel + 0.02


def test_small_ones_come_last(tmp_path):
    shapes = np.concatenate([squares((0, 0), side=5), squares((0, 0), side=90), squares((50, 50))])
    path = write(tmp_path / "a.gpkg", shapes, [0, 1, 2])
    assert [label for label, _ in features(Polygons(path, PLACE).inside(BOX, 1.0))] == [1, 2, 0]


@pytest.mark.parametrize("name", ["a.gpkg", "a.parquet"])
def test_too_many(tmp_path, monkeypatch, name):
    monkeypatch.setattr(module, "MOST", 3)
    places = [(0, 0), (30, 0), (60, 0), (500, 500)]
    polygons = Polygons(write(tmp_path / name, squares(*places), range(4)), PLACE)
    assert polygons.inside(BOX, 1.0) is None
    assert len(features(polygons.inside((0.0, 0.0, 200.0, 200.0), 1.0))) == 3


def test_polygons_of_no_class(tmp_path):
    frame = geopandas.GeoDataFrame(geometry=squares((5, 5)), crs=PLACE.crs)
    frame.to_file(tmp_path / "a.gpkg")
    ((label, _),) = features(Polygons(tmp_path / "a.gpkg", PLACE).inside(BOX, 1.0))
    assert label is None


def test_a_window_without_polygons(tmp_path):
    path = write(tmp_path / "a.gpkg", squares((5, 5)), [1])
    assert features(Polygons(path, PLACE).inside((600.0, 600.0, 700.0, 700.0), 1.0)) == []


@pytest.mark.parametrize("name", ["a.gpkg", "a.parquet", "a.txt"])
def test_no_file_of_polygons(tmp_path, name):
    with pytest.raises(InputError, match=f"{name}: no such file"):
        Polygons(tmp_path / name, PLACE)
    (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(InputError, match=f"{name}: is no file of polygons") as error:
        Polygons(tmp_path / name, PLACE)
    assert "\n" not in str(error.value)


def test_a_map_without_a_place(tmp_path):
    path = write(tmp_path / "a.gpkg", squares((5, 5)), [1])
    with pytest.raises(InputError, match="the map does not say where it lies"):
        Polygons(path, None)
