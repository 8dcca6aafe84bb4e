"""Files of suggested windows, and the layer that corrections are drawn into."""

from dataclasses import replace
from xml.etree import ElementTree

import geopandas
import numpy as np
import pyproj
import pytest
import shapely
from PIL import Image

from network.datasets.segmentation import find_samples
from network.errors import InputError
from network.maps.read import read_map
from network.maps.search import Search
from network.maps.suggest import suggest_windows
from network.maps.suggestion_files import prepare_corrections, write_windows
from network.reporting import suggestion_picture
from network.reporting.suggestion_picture import write_suggestion_picture
from tests.datasets.on_earth.scenes import by_class, dataset, write_scene
from tests.maps.test_suggest import noise, write_layers
from tests.rasters.earth import CLASSES

UTM32 = pyproj.CRS.from_epsg(32632)


@pytest.fixture
def found(tmp_path):
    paths = [
        write_layers(tmp_path / "maps", name, entropy=noise(n, 50, 60))
        for n, name in enumerate(("a", "b"))
    ]
    # Both lie at the same place, so the windows of one exclude those of the other.
    return suggest_windows(paths, Search(size=6, number=5))


def test_windows(found, tmp_path):
    write_windows(tmp_path / "next.gpkg", found)
    frame = geopandas.read_file(tmp_path / "next.gpkg", layer="windows")
    assert frame.crs.to_epsg() == 32632
    assert frame["rank"].tolist() == [1, 2, 3, 4, 5]
    assert frame["map"].tolist() == [window.map.name for window in found.windows]
    np.testing.assert_allclose(frame["score"], [w.score for w in found.windows], atol=1e-6)
    for shape, window in zip(frame.geometry, found.windows, strict=True):
        assert shape.equals(window.polygon)
    root = ElementTree.parse(tmp_path / "next.qml").getroot()
    assert root.find("renderer-v2").get("type") == "singleSymbol"
    before = (tmp_path / "next.gpkg").read_bytes()
    write_windows(tmp_path / "next.gpkg", found)
    assert (tmp_path / "next.gpkg").read_bytes() == before


def test_a_layer_to_draw_into(found, tmp_path):
    """Empty, with the classes to choose from; what is drawn in it becomes labels."""
    path = tmp_path / "corrections.gpkg"
    assert prepare_corrections(path, found.crs, found.classes)
    frame = geopandas.read_file(path)
    assert (len(frame), frame.crs.to_epsg(), list(frame)) == (0, 32632, ["class", "geometry"])
    root = ElementTree.parse(path.with_suffix(".qml")).getroot()
    choices = root.findall(".//field[@name='class']//Option[@type='QString']")
    assert [choice.get("value") for choice in choices] == list(CLASSES)
    categories = root.findall(".//category")
    assert [category.get("value") for category in categories] == [*CLASSES, ""]
    symbols = {symbol.get("name"): symbol for symbol in root.iter("symbol")}
    for category, entry in zip(categories, found.classes, strict=False):
        color = symbols[category.get("symbol")].find(".//prop[@k='color']").get("v")
        assert color.split(",")[:3] == [str(value) for value in entry.color]
    # As QGIS adds a polygon.
    drawn = geopandas.GeoDataFrame(
        {"class": ["house"]}, geometry=[found.windows[0].polygon], crs="EPSG:32632"
    )
    drawn.to_file(path, mode="a")
    before = path.read_bytes()
    assert not prepare_corrections(path, found.crs, found.classes)
    assert path.read_bytes() == before
    write_scene(tmp_path / "image.tif", np.zeros((50, 60), np.uint8))
    info = dataset(train={"images": ("image.tif",), "labels": (by_class("corrections.gpkg"),)})
    (sample,) = find_samples(info, tmp_path, "train")
    assert sample.scene.labels.pixels.tolist() == [0, 144, 0]


def test_another_file_is_no_layer_to_draw_into(found, tmp_path):
    write_windows(tmp_path / "next.gpkg", found)
    with pytest.raises(InputError, match="has no attribute 'class'"):
        prepare_corrections(tmp_path / "next.gpkg", found.crs, found.classes)


def test_the_picture(found, tmp_path, monkeypatch):
    """All maps with windows, or as many as fit; outlines are black."""
    write_suggestion_picture(found, tmp_path / "next.png", "five windows")
    with Image.open(tmp_path / "next.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[1] == 1080
    assert (pixels.max(axis=2) < 40).sum() > 1000
    monkeypatch.setattr(suggestion_picture, "MOST_MAPS", 1)
    few = replace(found, windows=found.windows[:1])
    write_suggestion_picture(few, tmp_path / "few.png", "one window")
    assert (tmp_path / "few.png").is_file()


def test_classes_with_names_of_any_kind(tmp_path):
    """Names in XML: quotes, ampersands, letters of other scripts."""
    path = write_layers(tmp_path / "maps", entropy=noise(0, 30, 30))
    classes = [
        replace(entry, name=name)
        for entry, name in zip(read_map(path).classes, ('<a & "b">', "水体", "forêt"), strict=True)
    ]
    prepare_corrections(tmp_path / "c.gpkg", UTM32, classes)
    root = ElementTree.parse(tmp_path / "c.qml").getroot()
    values = [category.get("value") for category in root.iter("category")]
    assert values == ['<a & "b">', "水体", "forêt", ""]


def test_polygons_turn_counterclockwise(found):
    assert all(window.polygon.exterior.is_ccw for window in found.windows)
    shapes = [window.polygon for window in found.windows]
    assert shapely.union_all(shapes).area == pytest.approx(shapely.area(shapes).sum())
