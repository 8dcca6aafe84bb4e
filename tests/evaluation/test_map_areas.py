"""Areas of a map from samples: who counts, what is written, and the draw of points."""

import json

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio.warp
import shapely
from rasterio.crs import CRS
from rasterio.transform import from_origin

from network.datasets.on_earth.areas import open_areas
from network.datasets.on_earth.files import AreaFile
from network.errors import InputError
from network.evaluation.area_estimates import estimate_areas
from network.evaluation.on_earth.estimate import draw_map_sample, estimate_map_areas
from network.evaluation.on_earth.open_map import MapFile, OpenMap
from network.evaluation.on_earth.sample_points import SampleFile, read_sample
from network.evaluation.on_earth.strata import allocate, count_strata, draw_places
from network.rasters.vector_paths import plain
from tests.commands import error_of, succeed
from tests.rasters.earth import CLASSES, ORIGIN, UTM, blocks, write_map

HEIGHT, WIDTH = 60, 80
TOOL = "tools/score_map.py"
HECTARES = 0.25 / 10_000
"""Of a pixel."""


@pytest.fixture
def prediction() -> np.ndarray:
    labels = blocks(0, HEIGHT, WIDTH)
    labels[:, -5:] = 255
    return labels


@pytest.fixture
def map_(tmp_path, prediction):
    return write_map(tmp_path / "map.tif", prediction)


def write_sample(path, rows, columns, classes, crs=UTM, **others):
    """Points at the centers of pixels, in a reference system."""
    x, y = ORIGIN @ (np.asarray(columns) + 0.5, np.asarray(rows) + 0.5)
    frame = geopandas.GeoDataFrame(
        {"class": classes, **others}, geometry=geopandas.points_from_xy(x, y), crs=UTM.to_wkt()
    )
    frame.to_crs(crs.to_wkt()).to_file(path)
    return path


@pytest.fixture
def labeled(prediction):
    """Rows, columns and reference labels of 120 points; a fifth of them differ from the map."""
    rng = np.random.default_rng(4)
    rows, columns = rng.integers(0, HEIGHT, 120), rng.integers(0, WIDTH - 5, 120)
    other = rng.integers(0, 3, 120)
    reference = np.where(rng.random(120) < 0.2, other, prediction[rows, columns])
    return rows, columns, reference


def expected_of(prediction, rows, columns, reference):
    counts = np.zeros((3, 3), int)
    np.add.at(counts, (prediction[rows, columns], reference), 1)
    pixels = np.bincount(prediction[prediction != 255], minlength=3)
    return estimate_areas(counts, pixels * HECTARES)


def assert_same(found, expected):
    np.testing.assert_array_equal(found.counts, expected.counts)
    for one, other in zip(found.areas, expected.areas, strict=True):
        assert (one.value, one.error) == pytest.approx((other.value, other.error))


@pytest.mark.parametrize("crs", [UTM, CRS.from_epsg(4326)])
def test_points_of_a_layer(map_, tmp_path, prediction, labeled, crs):
    rows, columns, reference = labeled
    names = np.array(CLASSES)[reference]
    path = write_sample(tmp_path / "points.gpkg", rows, columns, names, crs=crs)
    sample = SampleFile(path=path, attribute="class")
    found = estimate_map_areas(MapFile(path=map_), sample, tmp_path / "out")
    expected = expected_of(prediction, *labeled)
    assert_same(found, expected)
    document = json.loads((tmp_path / "out/areas.json").read_text())
    assert document["points"] == {"used": 120, "left_out": {}}
    assert document["overall_accuracy"]["value"] == pytest.approx(expected.overall.value)
    for label, name in enumerate(CLASSES):
        of_class, area = document["classes"][name], expected.areas[label]
        assert of_class["area_ha"]["value"] == pytest.approx(area.value)
        assert of_class["area_ha"]["interval_95"] == pytest.approx(list(area.interval))
        assert of_class["pixels"] == (prediction == label).sum()
        assert of_class["mapped_ha"] == pytest.approx((prediction == label).sum() * HECTARES)
    table = pd.read_csv(tmp_path / "out/areas.csv")
    assert table["area_ha_standard_error"].tolist() == pytest.approx(
        [one.error for one in expected.areas]
    )
    matrix = pd.read_csv(tmp_path / "out/error_matrix.csv", index_col="map")
    np.testing.assert_allclose(matrix.loc[list(CLASSES), list(CLASSES)], expected.proportions)
    assert matrix.loc["total", "total"] == pytest.approx(1)
    assert (tmp_path / "out/figures/areas.png").stat().st_size > 5000


@pytest.mark.parametrize("form", ["map", "degrees", "european"])
def test_tables(map_, tmp_path, prediction, labeled, form):
    """Coordinates of the map, in degrees with a column crs, or with decimal commas."""
    rows, columns, reference = labeled
    x, y = ORIGIN @ (columns + 0.5, rows + 0.5)
    frame = pd.DataFrame({"Class": np.array(CLASSES)[reference], "x": x, "y": y})
    if form == "degrees":
        frame["x"], frame["y"] = rasterio.warp.transform(UTM, CRS.from_epsg(4326), x, y)
        frame["crs"] = "EPSG:4326"
    path, how = tmp_path / "points.csv", {}
    if form == "european":
        how = {"sep": ";", "decimal": ","}
    frame.to_csv(path, index=False, **how)
    sample = SampleFile(path=path, attribute="Class")
    found = estimate_map_areas(MapFile(path=map_), sample, tmp_path / "out")
    assert_same(found, expected_of(prediction, *labeled))


@pytest.mark.parametrize("left", [179.9, -180.1, 539.9])
def test_a_table_across_the_date_line(tmp_path, left):
    labels = np.zeros((20, 20), np.uint8)
    place = from_origin(left, 1, 0.01, 0.01)
    path = write_map(tmp_path / "map.tif", labels, crs=CRS.from_epsg(4326), transform=place)
    (tmp_path / "p.csv").write_text("x,y,class\n179.955,0.985,road\n-179.925,0.985,road\n")
    sample = SampleFile(path=tmp_path / "p.csv", attribute="class")
    with OpenMap(MapFile(path=path)) as map_:
        points = read_sample(sample, map_.grid, map_.info)
    np.testing.assert_array_equal(points.places, [[1, 5], [1, 17]])


def test_points_that_do_not_count(map_, tmp_path, prediction, labeled, capsys):
    """Outside, without data, without a class, to be ignored: each is said with its number."""
    rows, columns, reference = labeled
    names = [*np.array(CLASSES)[reference], "road", "road", "road", None, "", "cloud"]
    rows, columns = [*rows, 5, -1, 5, 6, 7, 8], [*columns, 77, 5, 999, 6, 7, 8]
    path = write_sample(tmp_path / "points.gpkg", rows, columns, names)
    sample = SampleFile(path=path, attribute="class", values={"cloud": "ignore"})
    found = estimate_map_areas(MapFile(path=map_), sample, tmp_path / "out")
    assert_same(found, expected_of(prediction, *labeled))
    errors = capsys.readouterr().err
    assert "3 of 126 points are left out, outside the map or where it has no data" in errors
    assert "2 of 126 points are left out, without a reference class" in errors
    assert "1 of 126 points are left out, with a value that is to be ignored" in errors
    assert "the estimates are biased" in errors


def test_given_strata(map_, tmp_path, prediction, labeled, capsys):
    """The stratum of a point counts, wherever its coordinates have been moved to."""
    rows, columns, reference = labeled
    strata = np.array(CLASSES)[prediction[rows, columns]]
    moved = np.where(np.arange(120) < 10, (columns + 6) % (WIDTH - 5), columns)
    names = np.array(CLASSES)[reference]
    path = write_sample(tmp_path / "points.gpkg", rows, moved, names, drawn=strata)
    sample = SampleFile(path=path, attribute="class", stratum="drawn")
    found = estimate_map_areas(MapFile(path=map_), sample, tmp_path / "out")
    assert_same(found, expected_of(prediction, *labeled))
    differ = (prediction[rows, columns] != prediction[rows, moved]).sum()
    assert f"{differ} points lie on another class of the map" in capsys.readouterr().err

    strata = [*strata, "none", "none"]
    rows, columns, names = [*rows, 5, 6], [*columns, 5, 6], [*names, "road", "road"]
    path = write_sample(tmp_path / "more.gpkg", rows, columns, names, drawn=strata)
    sample = SampleFile(path=path, attribute="class", stratum="drawn", values={"none": "ignore"})
    found = estimate_map_areas(MapFile(path=map_), sample, tmp_path / "more")
    assert_same(found, expected_of(prediction, *labeled))
    told = "2 of 122 points are left out, with a stratum that is to be ignored"
    assert told in capsys.readouterr().err


def test_inside_areas(map_, tmp_path, prediction, labeled):
    (x0, y0), (x1, y1) = ORIGIN @ (0, 0), ORIGIN @ (40, HEIGHT)
    frame = geopandas.GeoDataFrame(geometry=[shapely.box(x0, y1, x1, y0)], crs=UTM.to_wkt())
    frame.to_file(tmp_path / "aoi.gpkg")
    rows, columns, reference = labeled
    path = write_sample(tmp_path / "p.gpkg", rows, columns, np.array(CLASSES)[reference])
    found = estimate_map_areas(
        MapFile(path=map_),
        SampleFile(path=path, attribute="class"),
        tmp_path / "out",
        areas_file=AreaFile(path=tmp_path / "aoi.gpkg"),
    )
    inside = columns < 40
    expected = expected_of(prediction[:, :40], rows[inside], columns[inside], reference[inside])
    assert_same(found, expected)


def test_strata_in_degrees(tmp_path):
    """Pixels of the south are larger: each row counts with its own area."""
    labels = np.repeat(np.array([[0], [1]], np.uint8), [4, 6], axis=0) * np.ones((1, 5), np.uint8)
    path = write_map(
        tmp_path / "map.tif", labels, crs=CRS.from_epsg(4326), transform=from_origin(9, 60, 1, 1)
    )
    with OpenMap(MapFile(path=path)) as map_:
        strata = count_strata(map_)
    assert strata.pixels.tolist() == [20, 30, 0]
    areas = strata.pixel_areas
    np.testing.assert_allclose(strata.areas, [5 * areas[:4].sum(), 5 * areas[4:].sum(), 0])
    assert areas[9] / areas[0] == pytest.approx(1.25, abs=0.01)  # cos(50.5) / cos(59.5)


def test_drawn_points(map_, prediction, tmp_path):
    """As many as asked for in each class, no pixel twice, in random order, the same again."""
    drawn = draw_map_sample(MapFile(path=map_), tmp_path / "a.gpkg", 200, minimum=30, seed=3)
    assert sum(drawn.values()) == 200
    frame = geopandas.read_file(tmp_path / "a.gpkg")
    assert frame.crs.to_epsg() == 32632
    assert frame["id"].tolist() == list(range(1, 201))
    assert set(frame["class"]) == {""}
    assert list(frame.columns) == ["id", "class", "geometry"]  # what the map says stays hidden
    columns, rows = ~ORIGIN @ (frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy())
    np.testing.assert_allclose(columns % 1, 0.5)
    np.testing.assert_allclose(rows % 1, 0.5)
    labels = prediction[rows.astype(int), columns.astype(int)]
    assert np.bincount(labels, minlength=3).tolist() == list(drawn.values())
    assert (labels != 255).all()
    assert len(set(zip(rows, columns, strict=True))) == 200
    assert np.abs(np.corrcoef(np.arange(200), labels)[0, 1]) < 0.2
    draw_map_sample(MapFile(path=map_), tmp_path / "a.csv", 200, minimum=30, seed=3)
    table = pd.read_csv(tmp_path / "a.csv")
    np.testing.assert_array_equal(table["x"], frame.geometry.x)
    odd = tmp_path / "!drawn" / "a;b.geojson"
    odd.parent.mkdir()
    draw_map_sample(MapFile(path=map_), odd, 200, minimum=30, seed=3)
    again = geopandas.read_file(plain(odd))
    np.testing.assert_allclose(again.geometry.y, frame.geometry.y)
    draw_map_sample(MapFile(path=map_), tmp_path / "b.csv", 200, minimum=30, seed=4)
    assert pd.read_csv(tmp_path / "b.csv")["x"].tolist() != table["x"].tolist()


@pytest.mark.parametrize("crs", ["ESRI:102003", UTM.to_wkt().replace('"EPSG","32632"', '"A","1"')])
def test_a_drawn_geojson_of_a_system_without_a_code(tmp_path, prediction, crs):
    """It would be read as degrees."""
    place = from_origin(500_000, 1_500_000, 0.5, 0.5)
    map_ = write_map(
        tmp_path / "map.tif", prediction, crs=CRS.from_user_input(crs), transform=place
    )
    for name in ("p.gpkg", "p.geojson"):
        draw_map_sample(MapFile(path=map_), tmp_path / name, 100, minimum=30, seed=3)
    expected = geopandas.read_file(tmp_path / "p.gpkg")
    found = geopandas.read_file(tmp_path / "p.geojson").to_crs(expected.crs)
    np.testing.assert_allclose(found.geometry.x, expected.geometry.x, atol=0.01)
    np.testing.assert_allclose(found.geometry.y, expected.geometry.y, atol=0.01)


@pytest.mark.parametrize("name", ["mine", "zone 32, moved"])
def test_a_drawn_table_names_a_system_that_can_be_read(tmp_path, prediction, name):
    """A reference system without a code, whose name says nothing or has a comma."""
    own = UTM.to_wkt().replace("WGS 84 / UTM zone 32N", name).replace('"EPSG","32632"', '"A","1"')
    own = own.replace("500000", "500001")
    map_ = write_map(tmp_path / "map.tif", prediction, crs=CRS.from_wkt(own))
    draw_map_sample(MapFile(path=map_), tmp_path / "p.csv", 100, minimum=30, seed=3)
    table = pd.read_csv(tmp_path / "p.csv", dtype=str)
    assert list(table.columns) == ["id", "x", "y", "crs", "class"]
    x, y = table["x"].astype(float).to_numpy(), table["y"].astype(float).to_numpy()
    columns, rows = np.floor(~ORIGIN @ (x, y)).astype(int)
    reference = prediction[rows, columns]
    table["class"] = np.array(CLASSES)[reference]
    table.to_csv(tmp_path / "labeled.csv", index=False)
    sample = SampleFile(path=tmp_path / "labeled.csv", attribute="class")
    found = estimate_map_areas(MapFile(path=map_), sample, tmp_path / "out")
    assert_same(found, expected_of(prediction, rows, columns, reference))


def test_a_drawn_file_is_never_replaced_by_itself(map_, tmp_path):
    path = tmp_path / "a.gpkg"
    draw_map_sample(MapFile(path=map_), path, 100, minimum=20)
    before = path.read_bytes()
    with pytest.raises(InputError, match="is there already, and may hold labels"):
        draw_map_sample(MapFile(path=map_), path, 100, minimum=20, seed=1)
    assert path.read_bytes() == before
    draw_map_sample(MapFile(path=map_), path, 90, minimum=20, overwrite=True)
    assert len(geopandas.read_file(path)) == 90
    assert [p.name for p in tmp_path.glob(".*")] == []


@pytest.mark.parametrize(
    ("points", "options", "words"),
    [
        (0, {}, "draw_sample=0: must be at least 1"),
        (50, {"minimum": 1}, "min_per_class=1: must be at least 2"),
        (50, {"seed": -1}, "seed=-1: must be at least 0"),
        (50, {"minimum": 20}, r"draw_sample=50: too few points .*\(road, house, field\); draw 60"),
        (9999, {}, "the map has only 4500 pixels"),
    ],
)
def test_points_that_cannot_be_drawn(map_, tmp_path, points, options, words):
    with pytest.raises(InputError, match=words):
        draw_map_sample(MapFile(path=map_), tmp_path / "p.csv", points, **options)
    assert not (tmp_path / "p.csv").exists()


def draws(map_, counts, number, areas=None):
    """Places of many draws."""
    with OpenMap(MapFile(path=map_)) as opened:
        found = None if areas is None else open_areas(areas, opened.grid)
        strata = count_strata(opened, found)
        for seed in range(number):
            yield draw_places(opened, found, strata, np.array(counts), seed)


def test_each_pixel_has_the_same_chance(map_, prediction):
    hits = np.zeros((HEIGHT, WIDTH))
    for places, labels in draws(map_, [0, 30, 10], 300):
        np.add.at(hits, tuple(places.T), 1)
        np.testing.assert_array_equal(prediction[tuple(places.T)], labels)
    for label, count in ((1, 30), (2, 10)):
        of_class = hits[prediction == label]
        mean = 300 * count / of_class.size
        assert of_class.mean() == pytest.approx(mean)
        assert of_class.var() / mean == pytest.approx(1, abs=0.15)  # as of independent draws
    assert not hits[prediction == 0].any()


def test_chances_in_degrees_go_by_area(tmp_path):
    labels = np.zeros((40, 20), np.uint8)
    path = write_map(
        tmp_path / "map.tif", labels, crs=CRS.from_epsg(4326), transform=from_origin(9, 80, 1, 1)
    )
    rows = np.concatenate([places[:, 0] for places, _ in draws(path, [20, 0, 0], 200)])
    counts = np.bincount(rows, minlength=40)
    share = np.cos(np.radians(80 - np.arange(40) - 0.5))
    expected = len(rows) * share / share.sum()
    assert ((counts - expected) ** 2 / expected).sum() < 39 + 4 * np.sqrt(2 * 39)


def test_estimates_of_many_draws_are_unbiased(tmp_path):
    """From the map to the area: points are drawn, labeled by a known truth, and estimated."""
    truth = blocks(1, HEIGHT, WIDTH)
    rng = np.random.default_rng(2)
    is_wrong = rng.random(truth.shape) < 0.2
    prediction = np.where(is_wrong, np.minimum(truth, 1), truth).astype(np.uint8)
    path = write_map(tmp_path / "map.tif", prediction)
    pixels = np.bincount(prediction.ravel(), minlength=3)
    counts = allocate(pixels * 1.0, pixels, 240, 60, CLASSES)
    areas, hits = [], []
    known = np.bincount(truth.ravel(), minlength=3)
    for places, labels in draws(path, counts, 300):
        matrix = np.zeros((3, 3), int)
        np.add.at(matrix, (labels, truth[tuple(places.T)]), 1)
        found = estimate_areas(matrix, pixels)
        areas.append([one.value for one in found.areas])
        hits.append(
            [o.interval[0] <= a <= o.interval[1] for o, a in zip(found.areas, known, strict=True)]
        )
    areas = np.array(areas)
    noise = areas.std(0) / np.sqrt(len(areas))
    assert (np.abs(areas.mean(0) - known) <= 4 * noise + 1e-9).all()
    assert 0.90 < np.mean(hits) <= 0.99
    assert abs(pixels[2] - known[2]) > 10 * noise[2]  # counted on the map it would be wrong


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"attribute": "klass"}, "no attribute 'klass'; did you mean 'class'"),
        ({"values": {"a": "huose"}}, "values=huose: no such class; did you mean 'house'"),
        ({"stratum": "drawn"}, "no attribute 'drawn'.*choose one by stratum=NAME"),
        ({"layer": "x"}, "no layer 'x'"),
    ],
)
def test_wrong_samples(map_, tmp_path, labeled, change, words):
    rows, columns, reference = labeled
    path = write_sample(tmp_path / "p.gpkg", rows, columns, np.array(CLASSES)[reference])
    sample = SampleFile(**{"path": path, "attribute": "class", **change})
    with pytest.raises(InputError, match=words):
        estimate_map_areas(MapFile(path=map_), sample, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("rows", "columns", "classes", "words"),
    [
        ([5, 6], [5, 6], ["road", "hut"], r"values without a class.*'hut' \(1\)"),
        ([5, 6], [5, 6], ["road", "road"], r"map with fewer than 2 points: .*\(\d\)"),
        ([-5, -6], [5, 6], ["road", "road"], "no point counts"),
    ],
)
def test_samples_without_an_estimate(map_, tmp_path, rows, columns, classes, words):
    path = write_sample(tmp_path / "p.gpkg", rows, columns, classes)
    with pytest.raises(InputError, match=words):
        estimate_map_areas(
            MapFile(path=map_), SampleFile(path=path, attribute="class"), tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x,y\n1,2\n", "no column 'class'"),
        ("x,y,class\n1,north,road\n", "line 2: x '1', y 'north': no numbers"),
        ("x,y,crs,class\n1,2,EPSG:0,road\n", "unknown reference system 'EPSG:0'"),
        ("x,y,class\n", "has no points"),
    ],
)
def test_wrong_tables(map_, tmp_path, text, words):
    (tmp_path / "p.csv").write_text(text)
    sample = SampleFile(path=tmp_path / "p.csv", attribute="class")
    with pytest.raises(InputError, match=words):
        estimate_map_areas(MapFile(path=map_), sample, tmp_path / "out")


def test_other_estimates_are_kept(map_, tmp_path, labeled):
    rows, columns, reference = labeled
    out = tmp_path / "out"

    def estimate(reference, **options):
        path = tmp_path / "p.geojson"
        path.unlink(missing_ok=True)
        write_sample(path, rows, columns, np.array(CLASSES)[reference])
        sample = SampleFile(path=path, attribute="class")
        estimate_map_areas(MapFile(path=map_), sample, out, **options)
        return (out / "areas.json").read_bytes()

    before = estimate(reference)
    assert estimate(reference) == before
    with pytest.raises(InputError, match=r"another map or sample \(another sample_sha256"):
        estimate((reference + 1) % 3)
    assert (out / "areas.json").read_bytes() == before
    assert estimate((reference + 1) % 3, overwrite=True) != before


def test_values_without_a_class_on_the_map(map_, tmp_path, prediction):
    prediction[3, 3:6] = 7
    write_map(map_, prediction)
    with pytest.raises(InputError, match=r"no class: 7 \(3 pixels\)"):
        draw_map_sample(MapFile(path=map_), tmp_path / "p.gpkg", 100, minimum=10)
    assert not (tmp_path / "p.gpkg").exists()


@pytest.mark.slow
def test_command_line(map_, tmp_path, prediction):
    """Draw, label, estimate."""
    draw = [map_, "--draw-sample", "150", "--min-per-class", "20", "--seed", "5"]
    printed = succeed(TOOL, *draw, "-o", "points.csv", cwd=tmp_path)
    assert "150 points in points.csv" in printed
    table = pd.read_csv(tmp_path / "points.csv")
    columns, rows = ~ORIGIN @ (table["x"].to_numpy(), table["y"].to_numpy())
    labels = prediction[rows.astype(int), columns.astype(int)]
    table["class"] = np.array(CLASSES)[labels]
    table.to_csv(tmp_path / "labeled.csv", index=False)
    sample = ["--sample", "labeled.csv", "--attribute", "class", "-o", "areas"]
    printed = succeed(TOOL, map_, *sample, cwd=tmp_path)
    assert "overall accuracy 100.0 ± 0.0 %" in printed
    assert (tmp_path / "areas/areas.json").is_file()
    assert "-o points.csv: is there already" not in printed
    again = error_of(TOOL, *draw, "-o", "points.csv", cwd=tmp_path)
    assert "replace it by --overwrite" in again
    few = ["--draw-sample", "50", "-o", "few.csv"]
    assert "smaller --min-per-class 50" in error_of(TOOL, map_, *few, cwd=tmp_path)
    text = [map_, "--draw-sample", "500", "-o", "points.txt"]
    assert "end the name in .gpkg" in error_of(TOOL, *text, cwd=tmp_path)
