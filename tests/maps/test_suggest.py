"""Windows to label next: which are chosen, and which never are."""

from pathlib import Path

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from rasterio.transform import from_origin

from network.datasets.on_earth.files import AreaFile
from network.errors import InputError
from network.maps import suggest
from network.maps.search import Search, find_maps
from network.maps.suggest import suggest_windows
from tests.datasets.on_earth.scenes import box, write_features
from tests.rasters.earth import ORIGIN, blocks, write_labels, write_map


def write_layers(folder: Path, name: str = "a", place=ORIGIN, crs="EPSG:32632", **layers) -> Path:
    """A map with layers (h, w), 0 to 250 or 255 without data."""
    first = next(iter(layers.values()))
    labels = np.where(first == 255, 255, blocks(0, *first.shape)).astype(np.uint8)
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.tif"
    write_map(path, labels, transform=place, crs=crs)
    for layer, values in layers.items():
        file = folder / f"{name}_{layer}.tif"
        write_labels(file, values.astype(np.uint8), transform=place, crs=crs)
        with rasterio.open(file, "r+") as written:
            written.scales = (1 / 250,)
    return path


def noise(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 251, (height, width))


Place = tuple[int, int, int, int]


def windows_of(found) -> list[Place]:
    return [
        (rows.start, columns.start, rows.stop, columns.stop)
        for rows, columns in (window.window for window in found.windows)
    ]


def free_windows(layer: np.ndarray, free: np.ndarray, side: int, step: int) -> dict[Place, float]:
    """Scores of all windows that may be chosen, by looking at each."""
    height, width = layer.shape
    found = {}
    for row in range(0, height, step):
        for column in range(0, width, step):
            if row + side >= height + step or column + side >= width + step:
                continue
            window = np.s_[row : row + side, column : column + side]
            part = layer[window]
            if free[window].all() and (part < 255).sum() >= side**2 / 2:
                rows, columns = part.shape
                score = part[part < 255].mean() / 250
                found[row, column, row + rows, column + columns] = score
    return found


def greedy(layer: np.ndarray, side: int, step: int, number: int) -> list[Place]:
    """The best windows one after the other."""
    free, found = np.ones(layer.shape, bool), []
    for _ in range(number):
        scores = free_windows(layer, free, side, step)
        found.append(max(scores, key=scores.__getitem__))
        take(free, found[-1])
    return found


def take(free: np.ndarray, window: Place) -> None:
    top, left, bottom, right = window
    free[top:bottom, left:right] = False


@pytest.mark.slow
@settings(deadline=None, max_examples=12)
@given(
    height=st.integers(30, 70),
    width=st.integers(30, 70),
    size=st.sampled_from([4, 5.9, 8, 0.9]),
    number=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_the_best_windows_one_after_the_other(tmp_path_factory, height, width, size, number, seed):
    """Free of labels, in the areas, with data in half of it, and without overlap."""
    root, layer = tmp_path_factory.mktemp("maps"), noise(seed, height, width)
    rng = np.random.default_rng(seed)
    row, column = rng.integers(0, 25, 2)
    layer[row : row + 9, column : column + 7] = 255
    path = write_layers(root, entropy=layer)
    labeled, area = (slice(12, 17), slice(3, 20)), (slice(0, height - 3), slice(2, width))
    write_features(root / "labeled.gpkg", [box(*labeled)])
    write_features(
        root / "areas.gpkg", [box(*area), box(slice(0, 9), slice(0, 9))], split=["a", "b"]
    )
    free = np.zeros((height, width), bool)
    free[area] = True
    free[labeled] = False
    side, step = {4: (8, 2), 5.9: (12, 3), 8: (16, 4), 0.9: (2, 2)}[size]
    areas = AreaFile(path=root / "areas.gpkg", attribute="split", only=("a",))
    search = Search(size=size, number=number, labeled=(root / "labeled.gpkg",), areas=areas)
    if not free_windows(layer, free, side, step):
        with pytest.raises(InputError, match="no window of this size"):
            suggest_windows([path], search)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suggest, "_SIDE", 20)  # so that a map is read in parts
        found = suggest_windows([path], search)
    for window, place in zip(found.windows, windows_of(found), strict=True):
        # Several windows may have the best score, and any of them may be the next one.
        scores = free_windows(layer, free, side, step)
        np.testing.assert_allclose([scores[place], window.score], max(scores.values()))
        take(free, place)
        top, left, bottom, right = place
        shape = box(slice(top, bottom), slice(left, right))
        assert window.polygon.symmetric_difference(shape).area < 1e-6
        assert window.map == path
    assert len(found.windows) == number or not free_windows(layer, free, side, step)


def test_what_windows_are_chosen_by(tmp_path):
    """The lowest confidence, the highest disagreement; and at random, with a seed."""
    sure, apart = noise(1, 64, 64), noise(2, 64, 64)
    path = write_layers(tmp_path / "maps", confidence=sure, disagreement=apart)
    for by, layer in (("confidence", 250 - sure), ("disagreement", apart)):
        found = suggest_windows([path], Search(size=8, number=4, by=by))
        assert windows_of(found) == greedy(layer, 16, 4, 4)
    with pytest.raises(InputError, match="has no layer entropy; predict it again"):
        suggest_windows([path], Search(size=8, number=4))
    chance = [
        windows_of(suggest_windows([path], Search(size=8, number=4, by="random", seed=seed)))
        for seed in (0, 0, 1)
    ]
    assert chance[0] == chance[1] != chance[2]


def test_random_windows_are_anywhere(tmp_path):
    path = write_layers(tmp_path / "maps", entropy=noise(0, 40, 40))
    counts = np.zeros((2, 2), int)
    for seed in range(80):
        search = Search(size=10, number=1, by="random", seed=seed)
        ((top, left, *_),) = windows_of(suggest_windows([path], search))
        counts[top // 15, left // 15] += 1
    assert counts.min() > 5  # 20 on the average, within four deviations


def test_ties_are_broken_by_the_seed(tmp_path):
    path = write_layers(tmp_path / "maps", entropy=np.full((80, 80), 100))
    found = [
        windows_of(suggest_windows([path], Search(size=8, number=3, seed=seed)))
        for seed in (1, 1, 2)
    ]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3857", "EPSG:4326"])
def test_windows_of_two_maps_do_not_overlap(tmp_path, crs, is_reversed):
    """Also if the maps have several reference systems: the second one shows the same ground."""
    one = write_layers(tmp_path / "maps", "a", entropy=noise(0, 60, 60))
    bounds = rasterio.warp.transform_bounds("EPSG:32632", crs, *_bounds(one))
    left, bottom, right, top = bounds
    place = from_origin(left, top, (right - left) / 60, (top - bottom) / 60)
    other = write_layers(tmp_path / "maps", "b", place, crs, entropy=noise(1, 60, 60))
    maps = [other, one] if is_reversed else [one, other]
    found = suggest_windows(maps, Search(size=6, number=9))
    assert {window.map for window in found.windows} == {one, other}
    assert found.crs == (crs if is_reversed else "EPSG:32632")
    scores = [window.score for window in found.windows]
    assert scores == sorted(scores, reverse=True)
    to_meters = pyproj.Transformer.from_crs(found.crs, "EPSG:32632", always_xy=True)
    shapes = [
        shapely.transform(window.polygon, to_meters.transform, interleaved=False)
        for window in found.windows
    ]
    for number, shape in enumerate(shapes):
        assert abs(shape.area - 36) < 4
        others = shapely.union_all(shapes[:number] + shapes[number + 1 :])
        assert shape.intersection(others).area < 0.3


def _bounds(path: Path) -> tuple[float, float, float, float]:
    with rasterio.open(path) as file:
        return file.bounds


def test_size_in_degrees(tmp_path):
    """At 60 degrees north, a degree of longitude is half as long as one of latitude."""
    place = from_origin(10, 60, 1e-5, 1e-5)
    path = write_layers(tmp_path / "maps", "a", place, "EPSG:4326", entropy=noise(0, 200, 300))
    found = suggest_windows([path], Search(size=40, number=1))
    left, bottom, right, top = found.windows[0].polygon.bounds
    geod = Geod(ellps="WGS84")
    (_, _, across), (_, _, up) = geod.inv(left, top, right, top), geod.inv(left, bottom, left, top)
    assert abs(across - 40) < 2
    assert abs(up - 40) < 2


def test_rasters_say_what_is_labeled(tmp_path):
    """Where they have data; also if they have other pixels, or lie elsewhere."""
    path = write_layers(tmp_path / "maps", entropy=np.full((80, 80), 100))
    coarse = np.full((20, 40), 255, np.uint8)
    coarse[:, :12] = 0  # 48 of the 80 columns of the map
    write_labels(tmp_path / "l.tif", coarse, transform=ORIGIN @ ORIGIN.scale(4, 4))
    far = write_labels(tmp_path / "far.tif", coarse, transform=from_origin(9e5, 9e5, 1, 1))
    search = Search(size=8, number=99, labeled=(tmp_path / "l.tif", far))
    found = windows_of(suggest_windows([path], search))
    assert min(left for _, left, _, _ in found) >= 48
    assert len(found) >= 5  # wherever the first ones are


def test_fewer_windows_than_wanted(tmp_path, capfd):
    path = write_layers(tmp_path / "maps", entropy=np.full((33, 16), 100))
    found = suggest_windows([path], Search(size=8, number=9))
    count = len(found.windows)
    assert count in (1, 2)
    assert f"warning: only {count} of 9 windows: all others are labeled" in capfd.readouterr().err


def test_coarser_steps_on_large_maps(tmp_path, monkeypatch):
    """So that the memory has a bound; windows still have their size."""
    path = write_layers(tmp_path / "maps", entropy=noise(3, 64, 64))
    for most, step in ((64**2 // 16, 4), (255, 8), (63, 16)):
        monkeypatch.setattr(suggest, "_MOST", most)
        found = windows_of(suggest_windows([path], Search(size=8, number=5)))
        expected = greedy(noise(3, 64, 64), 16, step, 5)
        assert found == expected


def test_files_of_maps(tmp_path):
    """A folder stands for its maps, without their layers."""
    folder = tmp_path / "maps"
    layers = {"entropy": noise(0, 40, 40), "confidence": noise(1, 40, 40)}
    paths = [write_layers(folder, name, **layers) for name in ("b", "a_entropy2", "a")]
    (folder / "town_entropy.tif").write_bytes((folder / "a.tif").read_bytes())
    (folder / "a.png").write_bytes(b"")
    found = [folder / f"{name}.tif" for name in ("a", "a_entropy2", "b", "town_entropy")]
    assert find_maps([folder]) == found
    assert find_maps([paths[0], folder]) == [found[2], found[0], found[1], found[3]]
    with pytest.raises(InputError, match=r"has no map \(\.tif\)"):
        find_maps([tmp_path])
    with pytest.raises(InputError, match="no such file or folder"):
        find_maps([tmp_path / "b"])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"size": 0}, "size=0: must be a length in meters above 0"),
        ({"size": float("nan")}, "size=nan: must be"),
        ({"number": 0}, "number=0: must be at least 1"),
        ({"by": "margin"}, "by=margin: must be one of entropy, confidence"),
        ({"seed": -1}, "seed=-1: must be at least 0"),
        ({"size": 0.2}, r"size=0\.2: is less than a pixel of"),
        ({"size": 900}, "size=900: no window of this size has data"),
        ({"labeled": (Path("no.gpkg"),)}, "no.gpkg: no such file"),
    ],
)
def test_wrong_searches(tmp_path, changed, words):
    path = write_layers(tmp_path / "maps", entropy=noise(0, 40, 40))
    with pytest.raises(InputError, match=words):
        suggest_windows([path], Search(**{"size": 4, "number": 1, **changed}))


def test_maps_without_a_place(tmp_path):
    write_map(tmp_path / "a.tif", blocks(0, 40, 40), crs=None, transform=None)
    with pytest.raises(InputError, match="does not say where on Earth it lies"):
        suggest_windows([tmp_path / "a.tif"], Search(size=4, number=1, by="random"))


def test_areas_that_are_not_there(tmp_path):
    path = write_layers(tmp_path / "maps", entropy=noise(0, 40, 40))
    far = shapely.box(0, 4e6, 9, 4e6 + 9)
    write_features(tmp_path / "areas.gpkg", [far], split=["train"])
    for only, words in ((("tran",), "has no area 'tran'"), (("train",), "no window of this size")):
        areas = AreaFile(path=tmp_path / "areas.gpkg", attribute="split", only=only)
        with pytest.raises(InputError, match=words):
            suggest_windows([path], Search(size=4, number=1, areas=areas))


def test_an_empty_layer_labels_nothing(tmp_path):
    path = write_layers(tmp_path / "maps", entropy=noise(0, 40, 40))
    empty = geopandas.GeoDataFrame({"class": []}, geometry=[], crs="EPSG:32632")
    empty.to_file(tmp_path / "corrections.gpkg", geometry_type="Polygon")
    search = Search(size=4, number=3)
    with_it = Search(size=4, number=3, labeled=(tmp_path / "corrections.gpkg",))
    assert windows_of(suggest_windows([path], with_it)) == windows_of(
        suggest_windows([path], search)
    )
