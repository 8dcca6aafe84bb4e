"""Scores of a map on Earth: the counts of whole images, whatever the windows, systems and files."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.features import shapes as polygons_of
from rasterio.transform import from_origin
from sklearn.metrics import confusion_matrix

from network import extras
from network.datasets.info import VAIHINGEN
from network.datasets.on_earth.areas import Area, Areas, open_areas
from network.datasets.on_earth.files import AreaFile, LabelFile
from network.datasets.on_earth.open_labels import open_labels
from network.datasets.schema import MaskCoding
from network.errors import InputError
from network.evaluation.on_earth.counts import KIND, count_map
from network.evaluation.on_earth.open_map import MapFile, OpenMap
from network.evaluation.on_earth.score_map import Maker, score_map
from network.evaluation.records import Counter, read_records
from network.evaluation.results import read_result
from network.maps.layers import CONFIDENCE
from network.predictor import Predictor
from network.reporting.comparison import compare, read_models
from network.reporting.map_page import write_map_report
from tests.commands import error_of, succeed
from tests.conftest import ROOT
from tests.maps.local import PLACE, SMALL, Local, predict, random_image
from tests.rasters.earth import CLASSES, ORIGIN, PALETTE, UTM, blocks, write_labels, write_map
from tests.scenes import write_bands

HEIGHT, WIDTH = 60, 80
MAKER = Maker(name="ours")
TOOL = "tools/score_map.py"


def noisy(labels: np.ndarray, seed: int = 1) -> np.ndarray:
    """Labels of which a quarter are others."""
    rng = np.random.default_rng(seed)
    other = rng.integers(0, 3, labels.shape, dtype=np.uint8)
    return np.where(rng.random(labels.shape) < 0.25, other, labels)


@pytest.fixture
def truth() -> np.ndarray:
    labels = blocks(0, HEIGHT, WIDTH)
    labels[:7] = 255
    return labels


@pytest.fixture
def prediction(truth) -> np.ndarray:
    labels = noisy(blocks(0, HEIGHT, WIDTH))
    labels[:, -5:] = 255
    return labels


@pytest.fixture
def files(tmp_path, truth, prediction):
    """Paths of a map and of its truth, on one grid."""
    map_ = write_map(tmp_path / "map.tif", prediction)
    return map_, write_labels(tmp_path / "truth.tif", truth)


def counts_of(map_, truth_file, areas_file=None, info=None, values=None, **options):
    """What is counted, without files."""
    with OpenMap(MapFile(path=map_, info=info, values=values or {})) as opened:
        truth = open_labels(truth_file, opened.grid, opened.info)
        areas = Areas([Area("map", truth.window)])
        if areas_file is not None:
            areas = open_areas(areas_file, opened.grid)
        found = count_map(opened, truth.labels, areas, 3, **options)
        truth.labels.close()
    return found


def whole(prediction, labels, info, tolerance=3):
    """The counts of an image, as of any other image of a test."""
    labels = np.where(prediction == 255, np.uint8(255), labels)
    labels = np.where(labels == 255, np.uint8(info.ignore_index), labels)
    predicted = torch.from_numpy(np.where(labels == info.ignore_index, 0, prediction)).long()
    counter = Counter(info, tolerance)
    return counter.count(None, predicted, torch.from_numpy(labels), (0, 0))


def assert_equal(one, other) -> None:
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)


def info_of(map_):
    with OpenMap(MapFile(path=map_)) as opened:
        return opened.info


def matrix_of(found) -> np.ndarray:
    return sum(record.counts[KIND].matrix for record in found.records)


@pytest.mark.parametrize(
    ("coding", "values", "options"),
    [
        (MaskCoding(values=(0, 128, 255)), (0, 128, 255, 9), {"nodata": 9}),
        (MaskCoding(values=(1, 2, 3), ignored=(0,)), (1, 2, 3, 0), {"nodata": None}),
        (MaskCoding(color_tables="colors"), (7, 5, 0, 9), {"nodata": 9}),
    ],
)
def test_truth_whose_values_the_data_set_explains(tmp_path, files, truth, coding, values, options):
    map_, plain = files
    expected = matrix_of(counts_of(map_, LabelFile(path=plain)))
    stored = np.array([*values[:3], *[values[3]] * 253], np.uint8)[truth]
    coded = write_labels(tmp_path / "coded.tif", stored, **options)
    if coding.color_tables == "colors":
        with rasterio.open(coded, "r+") as file:
            file.write_colormap(1, dict(zip(values, PALETTE, strict=False)))
    info = replace(info_of(map_), mask_coding=coding)
    found = matrix_of(counts_of(map_, LabelFile(path=coded), info=info))
    np.testing.assert_array_equal(found, expected)


def test_counts_are_those_of_the_whole_image(files, truth, prediction):
    found = counts_of(files[0], LabelFile(path=files[1]))
    (record,) = found.records
    assert_equal(record.counts[KIND], whole(prediction, truth, info_of(files[0])))
    valid = (truth != 255) & (prediction != 255)
    expected = confusion_matrix(truth[valid], prediction[valid])
    np.testing.assert_array_equal(record.counts[KIND].matrix, expected)
    assert found.counted == valid.sum()
    assert found.without_truth == (truth == 255).sum()
    assert found.without_map == ((truth != 255) & (prediction == 255)).sum()


def write_polygons(path, labels, transform=ORIGIN, crs=UTM, names=CLASSES):
    """The regions of labels as polygons with the names of their classes."""
    pairs = [(shape, int(value)) for shape, value in polygons_of(labels, transform=transform)]
    pairs = [(shapely.geometry.shape(s), names[v]) for s, v in pairs if v < len(names)]
    frame = geopandas.GeoDataFrame(
        {"class": [name for _, name in pairs]},
        geometry=[shape for shape, _ in pairs],
        crs=crs.to_wkt(),
    )
    frame.to_file(path)
    return path


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6), side=st.integers(7, 90), kind=st.sampled_from(["raster", "poly"])
)
def test_windows_and_areas(tmp_path_factory, seed, side, kind):
    """The record of an area is that of the image around it, whatever the windows are."""
    folder, rng = tmp_path_factory.mktemp("a"), np.random.default_rng(seed)
    labels = blocks(seed, HEIGHT, WIDTH)
    labels[rng.random(labels.shape) < (0.1 if kind == "raster" else 0)] = 255
    predicted = noisy(blocks(seed, HEIGHT, WIDTH), seed)
    predicted[rng.random(labels.shape) < 0.05] = 255
    map_ = write_map(folder / "map.tif", predicted)
    if kind == "raster":
        truth_file = LabelFile(path=write_labels(folder / "truth.tif", labels))
    else:
        path = write_polygons(folder / "truth.gpkg", labels)
        truth_file = LabelFile(path=path, attribute="class")
    owners = np.full(labels.shape, -1)
    polygons = []
    for number in range(3):
        top, left = rng.integers(0, HEIGHT - 20), rng.integers(0, WIDTH - 30)
        bottom, right = top + rng.integers(5, 20), left + rng.integers(5, 30)
        owners[top:bottom, left:right] = number  # the last one counts
        (x0, y0), (x1, y1) = ORIGIN @ (left, top), ORIGIN @ (right, bottom)
        polygons.append((shapely.box(x0, y1, x1, y0), slice(top, bottom), slice(left, right)))
    frame = geopandas.GeoDataFrame(
        {"name": ["a", "b", "c"]}, geometry=[p[0] for p in polygons], crs=UTM.to_wkt()
    )
    frame.to_file(folder / "aoi.gpkg")
    areas = AreaFile(path=folder / "aoi.gpkg", attribute="name")
    found = counts_of(map_, truth_file, areas, side=side)
    again = counts_of(map_, truth_file, areas)
    assert found.shares == again.shares
    info, records = info_of(map_), {record.name: record for record in found.records}
    for number, (name, (_, rows, columns)) in enumerate(zip("abc", polygons, strict=True)):
        inside = np.where(owners == number, labels, np.uint8(255))[rows, columns]
        expected = whole(predicted[rows, columns], inside, info)
        if not expected.matrix.any():
            assert name in found.empty
            continue
        assert_equal(records[name].counts[KIND], expected)
    assert found.counted == matrix_of(found).sum()


@pytest.mark.parametrize("crs", [CRS.from_epsg(4326), CRS.from_epsg(3857)])
@pytest.mark.parametrize("ending", ["gpkg", "geojson"])
def test_polygons_in_other_systems(files, tmp_path, truth, crs, ending):
    """The same scores as from the raster that the polygons were made of."""
    path = write_polygons(tmp_path / "a.gpkg", truth)
    other = tmp_path / f"other.{ending}"
    geopandas.read_file(path).to_crs(crs.to_wkt()).to_file(other)
    found = counts_of(files[0], LabelFile(path=other, attribute="class"))
    expected = counts_of(files[0], LabelFile(path=files[1]))
    np.testing.assert_array_equal(matrix_of(found), matrix_of(expected))


def test_truth_of_a_part(files, tmp_path, truth, prediction):
    """Truth may be a tile of the map that reaches beyond it."""
    tile = np.full((40, 40), 255, np.uint8)
    tile[:30] = truth[30:, 40:80]
    place = ORIGIN @ Affine.translation(40, 30)
    path = write_labels(tmp_path / "tile.tif", tile, transform=place)
    found = counts_of(files[0], LabelFile(path=path))
    expected = whole(prediction[30:, 40:], truth[30:, 40:], info_of(files[0]))
    assert_equal(found.records[0].counts[KIND], expected)


def test_coarser_truth_is_not_mixed(files, tmp_path, capsys):
    """Pixels of 2 m over pixels of 0.5 m: each takes the label at its center."""
    coarse = np.random.default_rng(5).integers(0, 3, (15, 20), dtype=np.uint8)
    path = write_labels(
        tmp_path / "coarse.tif", coarse, transform=from_origin(500_000, 5_400_000, 2, 2)
    )
    score_map(MapFile(path=files[0]), LabelFile(path=path), tmp_path / "out", MAKER)
    fine = np.kron(coarse, np.ones((4, 4), np.uint8))
    with rasterio.open(files[0]) as file:
        predicted = file.read(1)
    valid = predicted != 255
    record = read_records(tmp_path / "out")["map"]
    np.testing.assert_array_equal(
        record.counts[KIND].matrix, confusion_matrix(fine[valid], predicted[valid])
    )
    assert "4.0 times coarser than those of the map (2 m and 0.5 m" in capsys.readouterr().err


def test_classes_of_truth_go_by_their_names(files, tmp_path, truth):
    """The truth numbers its classes otherwise, and says their names."""
    order = [2, 0, 1]
    table = np.full(256, 255, np.uint8)
    table[order] = [0, 1, 2]
    path = write_map(tmp_path / "named.tif", table[truth], [CLASSES[n] for n in order])
    found = counts_of(files[0], LabelFile(path=path))
    expected = counts_of(files[0], LabelFile(path=files[1]))
    np.testing.assert_array_equal(matrix_of(found), matrix_of(expected))


def test_values_of_truth(files, tmp_path, truth):
    """By hand: 10 is road, 20 and 21 are house, 30 does not count."""
    values = np.select([truth == 0, truth == 1, truth == 2], [10, 20, 30], 0).astype(np.int16)
    values[(truth == 1) & (np.arange(WIDTH) % 2 == 0)] = 21
    path = write_labels(tmp_path / "values.tif", values, nodata=0)
    mapping = {"10": "road", "20": "house", "21": "house", "30": "ignore"}
    found = counts_of(files[0], LabelFile(path=path, values=mapping))
    expected = matrix_of(counts_of(files[0], LabelFile(path=files[1])))
    expected[2] = 0
    np.testing.assert_array_equal(matrix_of(found), expected)


def test_truth_in_colors(files, tmp_path, truth):
    colors = np.zeros((256, 3), np.uint8)
    colors[:3] = PALETTE
    write_bands(tmp_path / "rgb.tif", colors[truth], crs=UTM, transform=ORIGIN, photometric="RGB")
    found = counts_of(files[0], LabelFile(path=tmp_path / "rgb.tif"))
    expected = counts_of(files[0], LabelFile(path=files[1]))
    np.testing.assert_array_equal(matrix_of(found), matrix_of(expected))


def test_a_map_of_other_programs(files, tmp_path, prediction):
    """Values of any size; the user says what they are, and no config is needed."""
    table = np.zeros(256, np.int32)
    table[:3] = [1000, -5, 7]
    path = write_labels(tmp_path / "foreign.tif", table[prediction], nodata=0)
    values = {"1000": "road", "-5": "house", "7": "field"}
    found = counts_of(path, LabelFile(path=files[1]), values=values)
    expected = counts_of(files[0], LabelFile(path=files[1]))
    np.testing.assert_array_equal(matrix_of(found), matrix_of(expected))
    with OpenMap(MapFile(path=path, values=values)) as map_:
        assert map_.info.classes == ("road", "house", "field")
        assert len(set(map_.info.palette)) == 3


def test_classes_of_a_config(tmp_path, truth, prediction):
    """Without names of its own, the map has the labels of the data set."""
    map_ = write_labels(tmp_path / "map.tif", prediction)
    path = write_labels(tmp_path / "truth.tif", truth)
    found = counts_of(map_, LabelFile(path=path), info=VAIHINGEN)
    (record,) = found.records
    assert record.counts[KIND].matrix.shape == (6, 6)
    assert_equal(record.counts[KIND], whole(prediction, truth, VAIHINGEN))


def test_background_and_one_class(files, tmp_path, prediction):
    """Footprints of buildings: all else inside the area is another class."""
    corners = [ORIGIN @ place for place in ((10, 10), (30, 25), (5, 5), (60, 50))]
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners
    for name, box in (
        ("houses", shapely.box(x0, y1, x1, y0)),
        ("aoi", shapely.box(x2, y3, x3, y2)),
    ):
        frame = geopandas.GeoDataFrame(geometry=[box], crs=UTM.to_wkt())
        frame.to_file(tmp_path / f"{name}.gpkg")
    truth = LabelFile(path=tmp_path / "houses.gpkg", all_are="house", background="road")
    found = counts_of(files[0], truth, AreaFile(path=tmp_path / "aoi.gpkg"))
    labels = np.zeros((45, 55), np.uint8)
    labels[5:20, 5:25] = 1
    expected = whole(prediction[5:50, 5:60], labels, info_of(files[0]))
    assert_equal(found.records[0].counts[KIND], expected)
    assert [record.name for record in found.records] == ["area 1"]
    with pytest.raises(InputError, match=r"background=road: needs areas of interest.*aoi=FILE"):
        score_map(MapFile(path=files[0]), truth, tmp_path / "out", MAKER)


def test_confidence_beside_the_map(files, tmp_path, truth, prediction):
    """In steps of 1/250, as predict.py writes it; counted as of other predictions."""
    steps = np.random.default_rng(3).integers(50, 250, (HEIGHT, WIDTH), dtype=np.uint8)
    steps[prediction == 255] = 255
    path = write_labels(tmp_path / "map_confidence.tif", steps)
    with rasterio.open(path, "r+") as file:
        file.scales = (1 / 250,)
    summary = score_map(MapFile(path=files[0]), LabelFile(path=files[1]), tmp_path / "out", MAKER)
    valid = (truth != 255) & (prediction != 255)
    assert summary.calibration[0].sum() == valid.sum()
    assert summary.calibration[1].sum() == pytest.approx((steps[valid] / 250).sum())
    assert summary.calibration[2].sum() == (truth == prediction)[valid].sum()
    assert (tmp_path / "out/figures/reliability_full.png").is_file()
    steps[10, 10] = 255
    write_labels(path, steps)
    with pytest.raises(InputError, match="has no data where the map has some"):
        score_map(MapFile(path=files[0]), LabelFile(path=files[1]), tmp_path / "b", MAKER)
    write_labels(path, steps[:30])
    score_map(MapFile(path=files[0]), LabelFile(path=files[1]), tmp_path / "b", MAKER)
    assert (
        json.loads((tmp_path / "b/scores.json").read_text())["scores"]["full"]["calibration_error"]
        is None
    )


def quarters(path, names=("north", "south")):
    """Areas: the upper and the lower half of the map."""
    boxes = []
    for top in (0, 30):
        (x0, y0), (x1, y1) = ORIGIN @ (0, top), ORIGIN @ (WIDTH, top + 30)
        boxes.append(shapely.box(x0, y1, x1, y0))
    frame = geopandas.GeoDataFrame({"name": names}, geometry=boxes, crs=UTM.to_wkt())
    frame.to_file(path)
    return path


def test_files_and_stamp(files, tmp_path, truth, prediction, capsys):
    aoi = quarters(tmp_path / "aoi.gpkg")
    summary = score_map(
        MapFile(path=files[0]),
        LabelFile(path=files[1]),
        tmp_path / "out",
        MAKER,
        areas_file=AreaFile(path=aoi, attribute="name"),
    )
    assert (summary.units, summary.intervals) == (2, {})  # two areas are too few
    result = read_result(tmp_path / "out")
    facts = result.protocol.on_earth
    assert (facts.truth_crs, facts.map_crs, facts.resampling) == (
        *("EPSG:32632", "EPSG:32632"),
        "nearest neighbor",
    )
    assert facts.areas_attribute == "name"
    assert facts.pixel_meters == pytest.approx(0.5)
    valid = (truth != 255) & (prediction != 255)
    assert facts.pixels == valid.sum()
    assert facts.ignored["no truth"] == pytest.approx((truth == 255).mean())
    assert (result.protocol.images, result.protocol.unit) == (2, "areas")
    with (tmp_path / "out/scores_by_area.csv").open() as file:
        rows = {row["area"]: row for row in csv.DictReader(file)}
    for name, part in (("north", slice(0, 30)), ("south", slice(30, 60))):
        inside = valid[part]
        right = (truth == prediction)[part][inside].mean()
        assert float(rows[name]["OA"]) == pytest.approx(right)
        assert int(rows[name]["pixels"]) == inside.sum()
    printed = capsys.readouterr().out
    assert "2 areas" in printed
    assert "too few areas for 95 % intervals: 2" in printed


def test_reports(files, tmp_path):
    aoi = quarters(tmp_path / "aoi.gpkg", ("<b>north", "south"))
    out = tmp_path / "out"
    areas = AreaFile(path=aoi, attribute="name")
    truth = LabelFile(path=files[1])
    score_map(MapFile(path=files[0]), truth, out, MAKER, areas_file=areas)
    write_map_report(out, tmp_path / "a.html", None)
    text = (tmp_path / "a.html").read_text()
    assert text.count('class="stage"') == 2
    assert text.count("data:image/webp") == 6  # truth, prediction and errors of both
    assert "&lt;b&gt;north" in text
    assert "<b>north" not in text
    assert read_result(out).protocol.on_earth.truth_sha256 in text
    with files[1].open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InputError, match="has changed since the map was scored"):
        write_map_report(out, tmp_path / "b.html", None)


def test_two_maps_of_one_place(files, tmp_path, truth):
    """They can be compared, since their truth is the same pixel by pixel; other maps cannot."""
    other = write_map(tmp_path / "other.tif", np.where(truth == 255, 0, truth).astype(np.uint8))
    for name, path in (("ours", files[0]), ("theirs", other)):
        score_map(MapFile(path=path), LabelFile(path=files[1]), tmp_path / name, Maker(name=name))
    models = read_models([str(tmp_path / "ours"), str(tmp_path / "theirs")])
    assert {model.name for model in models} == {"ours", "theirs"}
    differences = compare(models, KIND, mixed=True).differences
    assert "labels" in differences  # the map of the first has no data at its right edge
    for name in ("ours", "theirs"):
        score_map(
            MapFile(path=other), LabelFile(path=files[1]), tmp_path / f"{name}2", Maker(name=name)
        )
    digests = {
        read_result(tmp_path / name).protocol.labels_sha256[KIND] for name in ("theirs", "ours2")
    }
    assert len(digests) == 1


def test_other_results_are_kept(files, tmp_path, prediction):
    out = tmp_path / "out"
    map_file, truth = MapFile(path=files[0]), LabelFile(path=files[1])
    score_map(map_file, truth, out, MAKER)
    before = (out / "scores.json").read_bytes()
    score_map(map_file, truth, out, MAKER)  # the same again
    assert (out / "scores.json").read_bytes() == before
    write_map(files[0], (prediction + 1).clip(max=2))
    with pytest.raises(InputError, match=r"holds the scores of other maps .*overwrite=True"):
        score_map(map_file, truth, out, MAKER)
    assert (out / "scores.json").read_bytes() == before
    score_map(map_file, truth, out, MAKER, overwrite=True)
    assert (out / "scores.json").read_bytes() != before


def test_a_file_is_no_folder(files, tmp_path):
    with pytest.raises(InputError, match=r"map.tif: is a file; choose another output"):
        score_map(MapFile(path=files[0]), LabelFile(path=files[1]), files[0], MAKER)


def test_areas_that_are_of_no_use(files, tmp_path, capsys):
    """One is outside the map, one has no truth, and two overlap."""
    places = {"far": (900, 900, 950, 950), "bare": (0, 0, 80, 5), "a": (0, 10, 40, 40)}
    places |= {"b": (30, 30, 60, 60)}
    boxes = []
    for left, top, right, bottom in places.values():
        (x0, y0), (x1, y1) = ORIGIN @ (left, top), ORIGIN @ (right, bottom)
        boxes.append(shapely.box(x0, y1, x1, y0))
    frame = geopandas.GeoDataFrame({"name": list(places)}, geometry=boxes, crs=UTM.to_wkt())
    frame.to_file(tmp_path / "aoi.gpkg")
    areas = AreaFile(path=tmp_path / "aoi.gpkg", attribute="name")
    score_map(
        MapFile(path=files[0]), LabelFile(path=files[1]), tmp_path / "out", MAKER, areas_file=areas
    )
    errors = capsys.readouterr().err
    assert list(read_records(tmp_path / "out")) == ["a", "b"]
    assert "areas without any truth are left out: bare" in errors
    assert "areas overlap, such as a and b" in errors


def label_9(path):
    with rasterio.open(path, "r+") as file:
        labels = file.read(1)
        labels[20, 20:23] = 9
        file.write(labels, 1)


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (
            lambda m, t: label_9(t),
            {},
            r"truth.tif: values that are no class: 9 \(3 pixels\); .*values=VALUE=CLASS",
        ),
        (
            lambda m, t: label_9(m),
            {},
            r"map.tif: values that are no class: 9 \(3 pixels\); .*map_values=VALUE=CLASS",
        ),
        (
            lambda m, t: None,
            {"values": {"1": "haus"}},
            r"values=haus: no such class; did you mean 'house'",
        ),
        (
            lambda m, t: None,
            {"values": {"one": "house"}},
            r"values=one=house: the values of a raster are whole numbers",
        ),
        (lambda m, t: None, {"layer": "x"}, "layer=x: .* is a raster, not polygons"),
        (
            lambda m, t: write_labels(t, blocks(0, 9, 9), transform=from_origin(0, 0, 1, 1)),
            {},
            r"lies elsewhere than the map \(it is in EPSG:32632",
        ),
        (
            lambda m, t: write_labels(t, np.full((9, 9), 255, np.uint8)),
            {},
            "no pixel of .*map.tif has both a class and truth",
        ),
        (lambda m, t: Path(f"{m}.aux.xml").unlink(), {}, "nothing names its classes: there is no"),
        (lambda m, t: Path(f"{m}.aux.xml").write_text("<PAM"), {}, "aux.xml: is damaged"),
        (
            lambda m, t: write_bands(m, np.zeros((9, 9, 1), np.uint8)),
            {},
            "map.tif: does not say where on Earth it lies",
        ),
        (
            lambda m, t: write_bands(t, np.zeros((9, 9, 2), np.uint8), crs=UTM, transform=ORIGIN),
            {},
            "truth.tif: has 2 bands; labels are one band of numbers, or three bands of colors",
        ),
        (lambda m, t: t.unlink(), {}, "truth.tif: no such file"),
        (lambda m, t: m.unlink(), {}, "map.tif: no such file"),
        (lambda m, t: t.write_bytes(b"II*\0"), {}, "truth.tif"),
        (
            lambda m, t: write_map(t, blocks(0, 9, 9), ("street", "hut", "acre")),
            {},
            "names its values street, hut, acre, and no class",
        ),
        (
            lambda m, t: write_map(t, blocks(0, HEIGHT, WIDTH), ("road", "hut", "field")),
            {},
            r"values that are no class: 1 'hut' \(\d+ pixels\)",
        ),
        (
            lambda m, t: write_bands(
                t, np.full((9, 9, 3), 77, np.uint8), crs=UTM, transform=ORIGIN, photometric="RGB"
            ),
            {},
            r"no class: color \(77, 77, 77\) \(81 pixels\); the classes are road",
        ),
    ],
)
def test_wrong_input(files, tmp_path, change, options, words):
    change(*files)
    truth = replace(LabelFile(path=files[1]), **options)
    with pytest.raises(InputError, match=words) as error:
        score_map(MapFile(path=files[0]), truth, tmp_path / "out", MAKER)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {},
            r"its polygons need a class; give attribute=NAME of .* \(of class\), or all",
        ),
        ({"attribute": "class", "all_are": "house"}, "its polygons need a class"),
        ({"attribute": "klass"}, "no attribute 'klass'; did you mean 'class'"),
        ({"all_are": "hut"}, "all_are=hut: no such class"),
        ({"attribute": "class", "values": {"hut": "haus"}}, "values=haus: no such class; did you"),
    ],
)
def test_wrong_polygons(files, tmp_path, truth, options, words):
    path = write_polygons(tmp_path / "truth.gpkg", truth)
    with pytest.raises(InputError, match=words):
        score_map(MapFile(path=files[0]), LabelFile(path=path, **options), tmp_path / "o", MAKER)
    other = write_polygons(tmp_path / "other.gpkg", truth, names=("road", "hut", "field"))
    given = LabelFile(path=other, attribute="class")
    with pytest.raises(InputError, match=r"values without a class.*'hut' \(\d+\)"):
        score_map(MapFile(path=files[0]), given, tmp_path / "o", MAKER)
    given = replace(given, values={"hut": "house"})
    score_map(MapFile(path=files[0]), given, tmp_path / "o", MAKER)


def test_missing_libraries_are_one_line(files, tmp_path, monkeypatch):
    """Rasters need none of them."""
    aoi = quarters(tmp_path / "aoi.gpkg")
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    counts_of(files[0], LabelFile(path=files[1]))
    with pytest.raises(InputError, match=r"areas of interest: needs the library .*\[vectors\]"):
        counts_of(files[0], LabelFile(path=files[1]), AreaFile(path=aoi))
    with pytest.raises(InputError, match="polygons: needs the library"):
        counts_of(files[0], LabelFile(path=aoi, attribute="name"))


@pytest.mark.slow
def test_rasters_are_scored_without_the_extra(tmp_path):
    """Nothing that the command line imports wants a library of the extra."""
    script = tmp_path / "imports.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        f"sys.modules.update(dict.fromkeys({extras.EXTRAS['vectors']}))\n"
        "import network.commands.score_map, network.commands.make_report\nprint('imported')\n"
    )
    assert succeed(script, cwd=tmp_path) == "imported\n"


@pytest.mark.slow
def test_a_map_of_this_project(tmp_path):
    """It needs no config, and tells how it was made; against itself it is perfect."""
    torch.manual_seed(0)
    predictor = Predictor(Local(), VAIHINGEN, ((128,) * 3, (60,) * 3), patch=None, device="cpu")
    pixels = np.maximum(random_image(200, 230), 1)
    pixels[:50, :60] = 0
    write_bands(tmp_path / "in/a.tif", pixels, nodata=0, photometric="RGB", **PLACE)
    options = replace(SMALL, layers=(CONFIDENCE,))
    predict(predictor, tmp_path / "in/a.tif", out=tmp_path / "maps", options=options)
    flags = ["maps/a.tif", "--truth", "maps/a.tif", "-o", "out"]
    assert "OA        │ 100.00" in succeed(TOOL, *flags, cwd=tmp_path)
    result = read_result(tmp_path / "out")
    assert result.protocol.classes == VAIHINGEN.classes
    assert (result.protocol.tta, result.protocol.precision) == ("none", "32-true")
    assert result.protocol.on_earth.pixels == 200 * 230 - 50 * 60
    assert result.scores[KIND].overall["calibration_error"] > 0  # it is not sure, and is right
    draw = ["maps/a.tif", "--draw-sample", "120", "--min-per-class", "9", "-o", "p.csv"]
    assert "120 points in p.csv" in succeed(TOOL, *draw, cwd=tmp_path)


@pytest.mark.slow
def test_command_line(files, tmp_path):
    shutil.copy(files[0], tmp_path / "plain.tif")
    aoi = quarters(tmp_path / "aoi.gpkg")
    flags = ["--truth", files[1], "--aoi", aoi, "--aoi-name", "name", "--name", "mine"]
    printed = succeed(TOOL, files[0], *flags, "-o", "out", cwd=tmp_path)
    assert "scores in out" in printed
    assert read_result(tmp_path / "out").protocol.name == "mine"
    assert "report.html" in succeed("tools/make_report.py", "out", cwd=tmp_path)
    config = str(ROOT / "config/vaihingen/bicor.py")
    plain = ["plain.tif", "--truth", files[1], "-c", config, "-o", "plain"]
    succeed(TOOL, *plain, cwd=tmp_path)
    assert read_result(tmp_path / "plain").protocol.data_set == "vaihingen"
    succeed("tools/make_report.py", "plain", cwd=tmp_path)
    values = ["--map-values", "0=road,1=house", "--map-values", '"2=bare, dry"', "--overwrite"]
    named = ["--truth-values", '0=road,1=house,"2=bare, dry"']
    succeed(TOOL, "plain.tif", "--truth", files[1], *values, *named, "-o", "plain", cwd=tmp_path)
    assert read_result(tmp_path / "plain").protocol.classes == ("road", "house", "bare, dry")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--truth", "truth.tif", "--stratum", "x"], "--stratum: is for --sample; leave it out"),
        (["--truth", "truth.tif", "--aoi-name", "x"], "--aoi-name: needs --aoi FILE"),
        (
            ["--truth", "truth.tif", "--values", "0=road"],
            "--values: truth.tif is a raster; give --truth-values VALUE=CLASS,...",
        ),
        (["--truth", "truth.tif", "--truth-values", "0"], "--truth-values 0: must be like VALUE="),
        (
            ["--truth", "truth.tif", "--truth-values", "0=raod"],
            "--truth-values raod: no such class; did you mean 'road'?",
        ),
        (
            ["--truth", "truth.tif", "--truth-values", "0=road,0=house"],
            "--truth-values 0=house: '0' is road already",
        ),
        (
            ["--truth", "truth.tif", "--background", "road"],
            "--background road: needs areas of interest",
        ),
        (["--truth", "truth.tif", "--boundary-tolerance", "-1"], "must be at least 0"),
        (["--sample", "truth.tif"], "--sample: needs --attribute NAME"),
    ],
)
def test_wrong_command_lines(files, tmp_path, words, message):
    assert message in error_of(TOOL, "map.tif", *words, "-o", "out", cwd=tmp_path)
