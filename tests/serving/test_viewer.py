"""Colors of tiles, answers about pixels, and the description of a map, against the arrays."""

import shutil
from dataclasses import replace

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from rasterio.warp import transform

from network.errors import InputError
from network.maps.layers import LAYERS
from network.maps.read import read_image, read_map
from network.serving.viewer import COLOR_MAPS, MapViewer
from tests.scenes import write_bands
from tests.serving.scene import COLORS, NAMES, PLACE, make_scene


@pytest.fixture(scope="module")
def viewer(scene) -> MapViewer:
    map_ = read_map(scene.map)
    return MapViewer(map_, read_image(scene.image, map_))


def decoded(png: bytes) -> np.ndarray:
    """The RGBA pixels (256, 256, 4) of a tile."""
    bgra = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA)


def below(array: np.ndarray, x: int, y: int) -> np.ndarray:
    return array[256 * y : 256 * (y + 1), 256 * x : 256 * (x + 1)]


@pytest.mark.parametrize("hidden", [[], [1, 3], [0, 1, 2, 3, 77]])
def test_tiles_have_the_colors_of_the_palette(viewer, scene, hidden):
    for x, y in ((0, 0), (2, 1), (3, 2)):
        labels = below(scene.labels, x, y)
        tile = decoded(viewer.tile("classes", 2, x, y, hidden=hidden))
        inside = tile[: labels.shape[0], : labels.shape[1]]
        seen = (labels != 255) & ~np.isin(labels, hidden)
        np.testing.assert_array_equal(inside[..., 3], np.where(seen, 255, 0))
        np.testing.assert_array_equal(inside[..., :3][seen], np.array(COLORS)[labels[seen]])
        tile[: labels.shape[0], : labels.shape[1]] = 0
        assert not tile.any()


def test_tiles_of_the_image(viewer, scene):
    tile = decoded(viewer.tile("image", 2, 1, 0))
    pixels = below(scene.pixels, 1, 0)
    valid = pixels.any(axis=2)
    np.testing.assert_array_equal(tile[..., 3] == 255, valid)
    np.testing.assert_array_equal(tile[..., :3][valid], pixels[valid])


def test_tiles_of_shares(viewer, scene):
    colors = mpl.colormaps["viridis"]
    for name, number, values in (
        ("probabilities", 2, scene.probabilities[..., 2]),
        ("confidence", 0, np.where(scene.labels < 255, scene.probabilities.max(axis=2), 255)),
    ):
        tile = decoded(viewer.tile(name, 2, 1, 1, number=number))
        shares = below(values, 1, 1)
        expected = colors(np.minimum(shares, 250) / 250, bytes=True)
        expected[shares == 255] = 0
        np.testing.assert_array_equal(tile[shares < 255], expected[shares < 255])
        assert (tile[shares == 255, 3] == 0).all()


def test_every_layer_of_predictions_has_colors():
    assert {"", *COLOR_MAPS} == set(LAYERS)


def test_a_layer_of_disagreement(tmp_path):
    scene = make_scene(tmp_path, 300, 400)
    confidence = scene.map.with_name("town_confidence.tif")
    shutil.copy(confidence, scene.map.with_name("town_disagreement.tif"))
    viewer = MapViewer(read_map(scene.map))
    shares = viewer.at(150, 200)["shares"]
    assert shares["disagreement"] == shares["confidence"]
    assert viewer.tile("disagreement", 0, 0, 0)


def test_sixteen_bits_and_chosen_bands(scene, tmp_path):
    """Between the percentiles 2 and 98 of the valid pixels of each band."""
    map_ = read_map(scene.map)
    pixels = scene.pixels.astype(np.uint16) * 100
    pixels = np.dstack([pixels, pixels[..., 0] // 2])
    place = {"crs": PLACE.crs, "transform": PLACE.transform}
    write_bands(tmp_path / "a.tif", pixels, nodata=0, **place)
    viewer = MapViewer(map_, read_image(tmp_path / "a.tif", map_), bands=[4, 2, 1])
    tile = decoded(viewer.tile("image", 2, 1, 1))[..., :3]
    chosen = pixels[..., [3, 1, 0]].astype(float)
    low, high = np.percentile(chosen[pixels.any(axis=2)], (2, 98), axis=0)
    expected = np.clip(255 * (below(chosen, 1, 1) - low) / (high - low), 0, 255)
    # The percentiles are those of a smaller copy.
    np.testing.assert_allclose(tile, expected, atol=3)
    assert viewer.at(400, 500)["image"] == pixels[400, 500, [3, 1, 0]].tolist()


def test_no_such_tile(viewer):
    for wrong in (
        ("photo", 0, 0, 0),
        ("classes", 9, 0, 0),
        ("image", 0, 7, 0),
        ("entropy", 0, 0, 0),
    ):
        assert viewer.tile(*wrong) is None
    assert viewer.tile("probabilities", 0, 0, 0, number=4) is None
    assert viewer.tile("probabilities", 0, 0, 0, number=-1) is None


def test_what_lies_at_a_pixel(viewer, scene):
    found = viewer.at(450, 620)
    label = scene.labels[450, 620]
    shares = scene.probabilities[450, 620] / 250
    assert (found["row"], found["column"], found["label"]) == (450, 620, label)
    assert found["shares"]["probabilities"] == pytest.approx(shares.tolist())
    assert found["shares"]["confidence"] == pytest.approx(shares.max())
    assert found["image"] == scene.pixels[450, 620].tolist()
    x, y = 500_000 + 620.5 * 0.5, 5_400_000 - 450.5 * 0.5
    (longitude,), (latitude,) = transform(PLACE.crs, "EPSG:4326", [x], [y])
    assert found["place"] == pytest.approx(
        {"x": x, "y": y, "longitude": longitude, "latitude": latitude}
    )


def test_a_pixel_without_data(viewer):
    found = viewer.at(3, 4)
    assert (found["label"], found["shares"], found["image"]) == (None, {}, None)


def test_outside_the_map(viewer):
    assert [viewer.at(*at) for at in ((-1, 0), (0, -1), (700, 0), (0, 900))] == [None] * 4


def test_about(viewer, scene):
    about = viewer.about()
    counts = np.bincount(scene.labels[scene.labels < 255], minlength=4)
    assert [entry["name"] for entry in about["classes"]] == list(NAMES)
    assert [entry["pixels"] for entry in about["classes"]] == counts.tolist()
    shares = [entry["share"] for entry in about["classes"]]
    assert shares == pytest.approx((counts / counts.sum()).tolist())
    assert about["classes"][1]["color"] == "#1428e6"
    assert (about["width"], about["height"], about["maxZoom"]) == (900, 700, 2)
    assert [layer["name"] for layer in about["layers"]] == ["confidence", "probabilities"]
    assert about["place"]["name"] == "WGS 84 / UTM zone 32N (EPSG:32632)"
    assert about["place"]["transform"] == list(PLACE.transform)[:6]
    assert about["meters"] == pytest.approx(0.5, rel=1e-3)
    assert about["polygons"] is None


def test_a_map_alone(tmp_path):
    scene = make_scene(tmp_path, 64, 64, layers=False)
    viewer = MapViewer(read_map(scene.map))
    about = viewer.about()
    assert (about["image"], about["layers"], about["maxZoom"]) == (None, [], 0)
    assert viewer.tile("image", 0, 0, 0) is None
    assert viewer.at(60, 60)["image"] is None


def test_a_place_without_a_reference_system(scene, tmp_path):
    """As of a world file: coordinates are known, and nothing else."""
    map_ = read_map(scene.map)
    labels = replace(map_.labels, place=replace(PLACE, crs=None))
    viewer = MapViewer(replace(map_, labels=labels))
    assert viewer.about()["place"]["name"] == "coordinates"
    assert viewer.about()["meters"] is None
    assert viewer.at(0, 0)["place"] == {"x": 500_000.25, "y": 5_399_999.75}


def test_bands_that_the_image_lacks(scene):
    map_ = read_map(scene.map)
    with pytest.raises(InputError, match=r"bands=7: .* has no band 7, only 1 to 3"):
        MapViewer(map_, read_image(scene.image, map_), bands=[7])
