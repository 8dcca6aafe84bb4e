"""Vector layers on the grid of a raster, against GDAL's own drawing and pyproj's transforms."""

import warnings

import geopandas
import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.transform import from_origin

from network.errors import InputError
from network.rasters import shapes
from network.rasters.earth_grid import EarthGrid
from network.rasters.shapes import Painting, first_overlap
from network.rasters.vectors import POINTS, POLYGONS, labels_of, read_features, text_of
from tests.rasters.earth import ORIGIN, UTM, grid_of

GRID = grid_of(40, 60)
LEFT, TOP = 500_000.0, 5_400_000.0
SYSTEM = UTM.to_wkt()


def pixel_box(top: float, left: float, bottom: float, right: float) -> shapely.Polygon:
    """A rectangle in the reference system of GRID, by rows and columns."""
    return shapely.box(LEFT + 0.5 * left, TOP - 0.5 * bottom, LEFT + 0.5 * right, TOP - 0.5 * top)


def layer(path, polygons, crs=SYSTEM, name=None, **columns):
    frame = geopandas.GeoDataFrame(columns, geometry=polygons, crs=crs)
    frame.to_file(path, layer=name or path.stem)
    return path


@pytest.fixture
def two(tmp_path):
    """Two rectangles that overlap, the second one over the first."""
    polygons = [pixel_box(5, 5, 20, 30), pixel_box(10, 20, 30, 50)]
    return layer(tmp_path / "two.gpkg", polygons, kind=["wood", "lake"], code=[1.0, 2.0])


def draw(found, values, rows=slice(0, 40), columns=slice(0, 60)):
    return Painting(found.shapes, np.array(values)).read(rows, columns, 0, "uint8")


def test_the_last_one_counts_where_polygons_overlap(two):
    found = read_features(two, GRID, POLYGONS, attributes={"kind": "attribute"})
    expected = np.zeros((40, 60), np.uint8)
    expected[5:20, 5:30] = 1
    expected[10:30, 20:50] = 2
    assert found.values == {"kind": ["wood", "lake"]}
    assert found.numbers.tolist() == [1, 2]
    np.testing.assert_array_equal(draw(found, [1, 2]), expected)


@pytest.mark.parametrize("ending", [".gpkg", ".fgb"])
def test_the_last_one_of_many_counts(tmp_path, ending):
    """The order of the file, although a spatial index finds those near the image."""
    rng = np.random.default_rng(0)
    corners, sides = rng.uniform(-200, 200, (600, 2)), rng.uniform(5, 30, (600, 2))
    polygons = [pixel_box(*near, *far) for near, far in zip(corners, corners + sides, strict=True)]
    path = layer(tmp_path / f"many{ending}", polygons, value=rng.integers(1, 9, 600))
    found = read_features(path, GRID, POLYGONS, attributes={"value": "attribute"})
    stored = geopandas.read_file(path)
    expected = rasterize(
        list(zip(stored.geometry, stored["value"], strict=True)),
        out_shape=(40, 60),
        transform=ORIGIN,
        dtype="uint8",
    )
    np.testing.assert_array_equal(draw(found, list(map(int, found.values["value"]))), expected)


AT_DATE_LINE = grid_of(40, 60, from_origin(179.97, -17, 0.001, 0.001), CRS.from_epsg(4326))


@pytest.mark.parametrize("form", ["beyond", "cut", "east", "meters"])
def test_image_across_the_date_line(tmp_path, form):
    """Longitudes go on beyond 180 degrees, are cut there as in GeoJSON, or are negative."""
    west, east = (
        shapely.box(179.98, -17.02, 180, -17.01),
        shapely.box(-180, -17.02, -179.99, -17.01),
    )
    given = {
        "beyond": (shapely.box(179.98, -17.02, 180.01, -17.01), 4326),
        "cut": (shapely.MultiPolygon([west, east]), 4326),
        "east": (east, 4326),
        "meters": (shapely.box(179.98, -17.02, 180.01, -17.01), 3832),
    }
    polygon, code = given[form]
    frame = geopandas.GeoDataFrame(geometry=[polygon], crs=4326).to_crs(code)
    far = shapely.box(-100, -17.02, -99, -17.01)
    frame = geopandas.GeoDataFrame(geometry=[*frame.geometry, far], crs=code)
    frame.to_file(tmp_path / "a.gpkg")
    found = read_features(tmp_path / "a.gpkg", AT_DATE_LINE, POLYGONS)
    expected = np.zeros((40, 60), np.uint8)
    expected[10:20, 30 if form == "east" else 10 : 40] = 1
    np.testing.assert_array_equal(draw(found, [1] * len(found)), expected)


def test_points_across_the_date_line(tmp_path):
    points = [shapely.Point(179.9755, -17.0105), shapely.Point(-179.9945, -17.0105)]
    layer(tmp_path / "a.gpkg", points, crs=4326)
    found = read_features(tmp_path / "a.gpkg", AT_DATE_LINE, POINTS)
    np.testing.assert_allclose(
        shapely.get_coordinates(found.shapes), [[5.5, 10.5], [35.5, 10.5]], atol=1e-6
    )


@pytest.mark.parametrize("ending", [".gpkg", ".shp", ".geojson", ".parquet"])
def test_formats_and_systems(tmp_path, two, ending):
    """The same polygons in degrees, in several formats, give the same pixels."""
    frame = geopandas.read_file(two).to_crs(4326)
    path = tmp_path / f"other{ending}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names of columns in Shapefiles
        frame.to_parquet(path) if ending == ".parquet" else frame.to_file(path)
    found = read_features(path, GRID, POLYGONS, attributes={"code": "attribute"})
    assert found.values["code"] == ["1", "2"]
    assert found.crs.to_epsg() == 4326
    expected = draw(read_features(two, GRID, POLYGONS), [1, 2])
    np.testing.assert_array_equal(draw(found, [1, 2]), expected)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), many=st.sampled_from([3, 10_000]))
def test_windows_are_parts_of_the_whole(seed, many):
    """As GDAL draws all polygons at once, whatever the window, cut to it before or not."""
    rng = np.random.default_rng(seed)
    polygons = []
    for _ in range(6):
        angles = (np.arange(7) + rng.uniform(0, 0.9, 7)) * 2 * np.pi / 7
        radii, center = rng.uniform(3, 25, 7), rng.uniform(-5, 60, 2)
        corners = center + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
        polygons.append(shapely.Polygon(corners, [center + (corners - center) / 2]))
    polygons[0] = shapely.MultiPolygon([shapely.box(1, 2, 9, 8), polygons[0]])
    values = np.arange(1, 7)
    whole = rasterize(
        list(zip(polygons, values.tolist(), strict=True)),
        out_shape=(50, 60),
        transform=Affine.identity(),
        dtype="uint8",
    )
    before = shapes._MANY_POINTS
    shapes._MANY_POINTS = many
    try:
        painting = Painting(np.array(polygons), values)
        top, left = rng.integers(0, 40), rng.integers(0, 50)
        rows, columns = slice(top, top + 9), slice(left, left + 10)
        np.testing.assert_array_equal(
            painting.read(rows, columns, 0, "uint8"), whole[rows, columns]
        )
    finally:
        shapes._MANY_POINTS = before


def test_rotated_grid(tmp_path):
    turned = ORIGIN @ Affine.rotation(30)
    grid = grid_of(30, 30, turned)
    corners = np.array([turned @ place for place in ((5, 5), (20, 5), (20, 15), (5, 15))])
    path = layer(tmp_path / "a.gpkg", [shapely.Polygon(corners)])
    expected = np.zeros((30, 30), np.uint8)
    expected[5:15, 5:20] = 1
    found = read_features(path, grid, POLYGONS)
    np.testing.assert_array_equal(draw(found, [1], slice(0, 30), slice(0, 30)), expected)


def test_long_borders_bend_as_they_should(tmp_path):
    """A parallel is no straight line in UTM: between its ends it is 39 m off here."""
    grid = grid_of(3000, 6000, from_origin(480_000, 5_390_000, 10, 10))
    path = layer(tmp_path / "a.gpkg", [shapely.box(8.9, 48.5, 9.6, 48.6)], crs=4326)
    (shape,) = read_features(path, grid, POLYGONS).shapes
    longitudes = np.linspace(8.9, 9.6, 701)
    x, y = pyproj.Transformer.from_crs(4326, SYSTEM, always_xy=True).transform(
        longitudes, np.full(701, 48.6)
    )
    border = grid.pixels_of(np.stack([x, y], axis=1))
    chord = border[0] + (border[-1] - border[0]) * np.linspace(0, 1, 701)[:, None]
    assert np.abs(border - chord).max() > 3
    assert max(shapely.distance(shape.exterior, shapely.points(border))) < 0.11


def test_polygons_of_the_whole_world(tmp_path):
    """Their far ends have no place in UTM, and are cut off."""
    path = layer(tmp_path / "a.gpkg", [shapely.box(-179, -85, 179, 85)], crs=4326)
    found = read_features(path, GRID, POLYGONS)
    assert draw(found, [1]).all()


def test_far_polygons_are_left_out_and_far_points_are_not(tmp_path):
    far = layer(tmp_path / "a.gpkg", [shapely.box(10, -50, 11, -49)], crs=4326)
    assert len(read_features(far, GRID, POLYGONS)) == 0
    points = layer(tmp_path / "b.gpkg", [shapely.Point(10, -50)], crs=4326)
    (point,) = read_features(points, GRID, POINTS).shapes
    assert not shapely.box(0, 0, 60, 40).contains(point)


def test_crossed_borders_are_repaired_with_a_warning(tmp_path, capsys):
    corners = [(LEFT, TOP), (LEFT + 10, TOP - 10), (LEFT + 10, TOP), (LEFT, TOP - 10)]
    path = layer(tmp_path / "a.gpkg", [pixel_box(30, 30, 35, 35), shapely.Polygon(corners)])
    found = read_features(path, GRID, POLYGONS)
    assert shapely.is_valid(found.shapes).all()
    assert found.shapes[1].area == pytest.approx(200)  # two triangles of 100 pixels each
    assert "a polygon is not valid and repaired, feature 2 (Self-inter" in capsys.readouterr().err


def test_parts_that_share_ground_are_drawn_as_by_gdal(tmp_path):
    """As after "Collect geometries" of a GIS; the shared ground is no hole."""
    for parts in (
        [pixel_box(5, 5, 20, 20), pixel_box(10, 15, 30, 40)],
        [pixel_box(5, 5, 30, 40), pixel_box(10, 10, 15, 15)],
    ):
        whole = shapely.MultiPolygon(parts)
        found = read_features(layer(tmp_path / "a.gpkg", [whole]), GRID, POLYGONS)
        expected = rasterize([whole], (40, 60), transform=ORIGIN)
        np.testing.assert_array_equal(draw(found, [1]), expected)


def test_rings_that_touch_themselves_are_drawn_as_by_gdal(tmp_path):
    """A hole that a bridge joins to the border, and an island in a hole of the same polygon."""
    rings = [(0, 0), (30, 0), (30, 30), (0, 30), (0, 0), (9, 9), (21, 9), (21, 21), (9, 21), (9, 9)]
    bridge = shapely.Polygon(rings)
    inner = [pixel_box(*box).exterior for box in ((6, 6, 24, 24), (12, 12, 18, 18))]
    island = shapely.Polygon(pixel_box(0, 0, 30, 30).exterior, inner)
    bridge = shapely.transform(bridge, lambda p: np.array([LEFT, TOP]) + p * [0.5, -0.5])
    for shape in (bridge, island):
        assert not shape.is_valid
        found = read_features(layer(tmp_path / "a.gpkg", [shape]), GRID, POLYGONS)
        expected = rasterize([shape], (40, 60), transform=ORIGIN)
        np.testing.assert_array_equal(draw(found, [1]), expected)


@pytest.mark.parametrize(
    ("grid_left", "shapes", "columns"),
    [
        (-180, [shapely.box(170, -5, 188, 5)], [(0, 8), (350, 360)]),
        (-180, [shapely.box(-190, -5, -170, 5)], [(0, 10), (350, 360)]),
        (-180, [shapely.box(190, -5, 200, 5)], [(10, 20)]),
        (0, [shapely.box(-10, -5, -5, 5), shapely.box(355, -5, 360, 5)], [(350, 360)]),
        (0, [shapely.box(-10, -5, 10, 5)], [(0, 10), (350, 360)]),
    ],
)
def test_longitudes_of_a_global_grid(tmp_path, grid_left, shapes, columns):
    """A pixel has one degree."""
    grid = EarthGrid(10, 360, CRS.from_epsg(4326), from_origin(grid_left, 5, 1, 1))
    found = read_features(layer(tmp_path / "a.gpkg", shapes, crs=4326), grid, POLYGONS)
    drawn = Painting(found.shapes, np.ones(len(found))).read(
        slice(0, 10), slice(0, 360), 0, "uint8"
    )
    expected = np.zeros((10, 360), np.uint8)
    for start, stop in columns:
        expected[:, start:stop] = 1
    np.testing.assert_array_equal(drawn, expected)


def test_a_multipolygon_on_both_sides_of_greenwich(tmp_path):
    """As data from 0 to 360 degrees are cut."""
    grid = EarthGrid(10, 20, CRS.from_epsg(4326), from_origin(-10, 5, 1, 1))
    whole = shapely.MultiPolygon([shapely.box(0, -5, 10, 5), shapely.box(350, -5, 360, 5)])
    found = read_features(layer(tmp_path / "a.gpkg", [whole], crs=4326), grid, POLYGONS)
    drawn = Painting(found.shapes, np.ones(1)).read(slice(0, 10), slice(0, 20), 0, "uint8")
    assert drawn.all()


def test_longitudes_a_full_turn_away(tmp_path):
    """190 degrees are -170, also where the grid is in meters."""
    grid = EarthGrid(40, 60, CRS.from_epsg(32602), from_origin(600_000, 1_000_000, 10, 10))
    corner = shapely.box(-170.0904, -1.0, -170.0854, 9.05)
    near = layer(tmp_path / "a.gpkg", [corner], crs=4326)
    moved = shapely.transform(corner, np.array([360, 0]).__add__)
    far = layer(tmp_path / "b.gpkg", [moved], crs=4326)
    drawn = draw(read_features(near, grid, POLYGONS), [1])
    assert drawn.any()
    np.testing.assert_array_equal(draw(read_features(far, grid, POLYGONS), [1]), drawn)


def test_a_polygon_without_an_area_is_refused(tmp_path):
    line = shapely.Polygon([(LEFT, TOP), (LEFT + 5, TOP - 5), (LEFT, TOP)])
    path = layer(tmp_path / "a.gpkg", [pixel_box(1, 1, 5, 5), line])
    with pytest.raises(InputError, match="feature 2 is no valid polygon and has no area"):
        read_features(path, GRID, POLYGONS)


def test_features_without_geometry_are_left_out(tmp_path, capsys):
    path = layer(tmp_path / "a.gpkg", [None, shapely.Point(LEFT, TOP)])
    assert read_features(path, GRID, POINTS).numbers.tolist() == [2]
    assert "features without geometry are left out (1)" in capsys.readouterr().err


def test_values_and_labels(tmp_path):
    path = layer(tmp_path / "a.gpkg", [pixel_box(1, 1, 5, 5)] * 4, kind=["a", "é", None, "b"])
    found = read_features(path, GRID, POLYGONS, attributes={"kind": "attribute"})
    labels = {"a": 0, "b": 1, "é": 2, "": 9}
    assert labels_of(found, "kind", labels).tolist() == [0, 2, 9, 1]
    with pytest.raises(InputError, match=r"number of their features: 'b' \(1\).*values=VALUE=CL"):
        labels_of(found, "kind", {"a": 0, "é": 2, "": 9})
    values = 2.0, 2.5, None, float("nan"), " x ", np.int64(3), float("inf"), np.array([" a", "b"])
    assert [text_of(v) for v in values] == ["2", "2.5", "", "", "x", "3", "inf", "a, b"]


def test_overlaps():
    squares = np.array(
        [shapely.box(0, 0, 9, 9), shapely.box(9, 0, 19, 9), shapely.box(8, 1, 12, 8)]
    )
    assert first_overlap(squares[:2], np.array([0, 1])) is None  # a common border is none
    assert first_overlap(squares, np.array([0, 1, 1])) == (0, 2)
    assert first_overlap(squares, np.array([0, 0, 0])) is None  # all of one owner
    assert first_overlap(squares, np.array([0, 1, -1])) is None


def several(path):
    for name in ("fields", "woods"):
        layer(path, [pixel_box(1, 1, 5, 5)], name=name)


def no_system(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer(path, [pixel_box(1, 1, 5, 5)], crs=None)


MARS = CRS.from_string("+proj=longlat +a=3396190 +b=3376200 +no_defs").to_wkt()


@pytest.mark.parametrize(
    ("write", "options", "words"),
    [
        (lambda p: None, {}, "no such file"),
        (lambda p: p.write_text("no layer"), {}, "unreadable vector file"),
        (several, {}, r"has 2 layers \(fields, woods\); choose one by layer=NAME"),
        (several, {"layer": "wods"}, "has no layer 'wods'; did you mean 'woods'"),
        (no_system, {}, "does not say in which reference system"),
        (
            lambda p: layer(p, [shapely.box(0, 0, 1, 1)], crs=MARS),
            {},
            "no transform is known from",
        ),
        (
            lambda p: layer(p, [pixel_box(1, 1, 5, 5)], kind=["a"]),
            {"attributes": {"kinds": "attribute"}},
            r"no attribute 'kinds'; did you mean 'kind'\?; its attributes are kind; .*attribute=NA",
        ),
        (
            lambda p: layer(p, [shapely.Point(LEFT, TOP)]),
            {},
            "feature 1 is a Point, expected a Polygon",
        ),
        (
            lambda p: pyogrio.write_dataframe(
                geopandas.GeoDataFrame({"a": [1]}, geometry=[None], crs=SYSTEM).drop(
                    columns="geometry"
                ),
                p,
            ),
            {},
            "has no layer with geometries",
        ),
    ],
)
def test_wrong_files(tmp_path, write, options, words):
    path = tmp_path / "a.gpkg"
    write(path)
    with pytest.raises(InputError, match=words) as error:
        read_features(path, GRID, POLYGONS, **options)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
