"""Polygons of maps: equal to those of the whole raster, whatever the tiles; small ones eliminated.

What is compared with: rasterio's polygons of the whole raster, an elimination that does one region
at a time on the raster itself, NumPy and pyproj.
"""

from collections import defaultdict
from pathlib import Path

import cv2
import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from geopandas.testing import assert_geodataframe_equal
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyproj import Geod
from rasterio.crs import CRS
from rasterio.features import rasterize, shapes
from rasterio.transform import from_origin
from scipy import ndimage

from network.errors import InputError
from network.maps.borders import Borders
from network.maps.options import PolygonOptions
from network.maps.polygons import LabeledMap, write_polygons
from network.rasters.ground import Ground
from network.rasters.place import Place
from tests.disks import mounted
from tests.scenes import write_bands

CLASSES = ("bare", "wheat", "maize", "water")
SQUARE = from_origin(500_000, 5_400_000, 2, 2)
FLAT = from_origin(500_000, 5_400_000, 3, 2)
TURNED = Affine.translation(500_000, 5_400_000) @ Affine.rotation(20) @ Affine.scale(3, -2)
FOUR = ndimage.generate_binary_structure(2, 1)


@st.composite
def labels(draw) -> np.ndarray:
    """Small labels with fields of one or of several pixels."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    values = draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 255])))
    zoom = draw(st.integers(1, 3))
    return np.kron(values, np.ones((zoom, zoom), np.uint8))


def confidence(labels: np.ndarray) -> np.ndarray:
    shares = np.random.default_rng(0).integers(0, 251, labels.shape, dtype=np.uint8)
    return np.where(labels == 255, 255, shares).astype(np.uint8)


def polygons(
    folder: Path,
    labels: np.ndarray,
    *,
    transform: Affine = SQUARE,
    crs: str = "EPSG:32632",
    side: int = 1024,
    **options,
) -> geopandas.GeoDataFrame:
    """Write the polygons of labels, and read them again."""
    write_bands(folder / "labels.tif", labels[..., None])
    write_bands(folder / "confidence.tif", confidence(labels)[..., None])
    place = Place(CRS.from_user_input(crs), transform)
    ground = Ground("a.tif", place, *labels.shape)
    map_ = LabeledMap("a", folder / "labels.tif", folder / "confidence.tif", CLASSES, ground)
    chosen = PolygonOptions(**options)
    path = folder / f"a.{chosen.format}"
    count = write_polygons(path, map_, chosen, folder, side)
    is_table = chosen.format == "parquet"
    found = geopandas.read_parquet(path) if is_table else geopandas.read_file(path)
    assert len(found) == count
    assert found.crs == crs
    assert list(found.columns) == ["class", "name", "area_m2", "confidence", "geometry"]
    assert [CLASSES[n] for n in found["class"]] == list(found["name"])
    assert shapely.is_valid(found.geometry.values).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(found.geometry.values)).all()
    return found


def normalized(geometries, classes) -> list[tuple[int, str]]:
    shown = shapely.to_wkt(shapely.normalize(geometries), rounding_precision=-1)
    return sorted(zip(map(int, classes), shown, strict=True))


def outlines(labels: np.ndarray, transform: Affine) -> list[tuple[int, str]]:
    """The polygons of the whole raster at once, as GDAL finds them."""
    found = list(shapes(labels, mask=labels != 255, connectivity=4, transform=transform))
    geometries = [shapely.geometry.shape(outline) for outline, _ in found]
    return normalized(np.array(geometries, object), [label for _, label in found])


def regions(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the regions from 1 on, by scipy."""
    numbers, count = np.zeros(labels.shape, int), 0
    for label in np.unique(labels[labels != 255]):
        found, more = ndimage.label(labels == label, FOUR)
        numbers[found > 0] = found[found > 0] + count
        count += more
    return numbers, count


def eliminated(labels: np.ndarray, smallest: float, sides: tuple[float, float]) -> np.ndarray:
    """Eliminate one region after the other on the raster itself.

    Args:
        smallest: number of pixels from which on a region is kept.
        sides: length of the sides between a left and a right pixel, and of the others.
    """
    labels = labels.copy()
    while True:
        numbers, count = regions(labels)
        sizes = np.bincount(numbers.ravel(), minlength=count + 1)
        first = [int((numbers.ravel() == n).argmax()) for n in range(count + 1)]
        small = [n for n in range(1, count + 1) if sizes[n] < smallest]
        if not small:
            return labels
        chosen = min(small, key=lambda n: (sizes[n], first[n]))
        borders: defaultdict[int, float] = defaultdict(float)
        for one, other, length in (
            (numbers[:, 1:], numbers[:, :-1], sides[0]),
            (numbers[1:], numbers[:-1], sides[1]),
        ):
            for a, b in ((one, other), (other, one)):
                for neighbor in b[(a == chosen) & (b != chosen) & (b > 0)].tolist():
                    borders[neighbor] += length
        label = 255
        if borders:
            to = max(borders, key=lambda n: (borders[n], sizes[n], -first[n]))
            label = labels[numbers == to][0]
        labels[numbers == chosen] = label


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(labels=labels(), side=st.integers(1, 20), transform=st.sampled_from([SQUARE, TURNED]))
def test_polygons_are_those_of_the_whole_raster(tmp_path_factory, labels, side, transform):
    found = polygons(tmp_path_factory.mktemp("a"), labels, side=side, transform=transform)
    geometries = found.geometry.values
    if transform == SQUARE:  # else the last digit differs, since GDAL adds in another order
        assert normalized(geometries, found["class"]) == outlines(labels, transform)
    # Each polygon, drawn again, has the pixels of its region, and their mean confidence.
    numbers, count = regions(labels)
    assert len(found) == count
    if not count:
        return
    burnt = zip(geometries, range(1, count + 1), strict=True)
    drawn = rasterize(burnt, labels.shape, transform=transform, dtype="int32")
    pairs = np.unique(np.stack([drawn.ravel(), numbers.ravel()]), axis=1)
    assert len(pairs[0]) == count + (labels == 255).any()
    pixels = np.bincount(drawn.ravel(), minlength=count + 1)[1:]
    area = abs(transform.determinant)
    np.testing.assert_allclose(found["area_m2"], pixels * area, rtol=1e-9)
    shares = ndimage.mean(confidence(labels) / 250, drawn, range(1, count + 1))
    np.testing.assert_allclose(found["confidence"], shares, rtol=1e-12)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    labels=labels(),
    side=st.integers(1, 20),
    smallest=st.sampled_from([2, 3, 5, 12, 40]),
    transform=st.sampled_from([SQUARE, FLAT]),
)
def test_small_regions_join_a_neighbor(tmp_path_factory, labels, side, smallest, transform):
    folder, area = tmp_path_factory.mktemp("a"), abs(transform.determinant)
    found = polygons(folder, labels, side=side, transform=transform, min_area=smallest * area)
    expected = eliminated(labels, smallest, (transform.e / -transform.a, 1.0))
    assert normalized(found.geometry.values, found["class"]) == outlines(expected, transform)
    assert (found["area_m2"] >= smallest * area * (1 - 1e-9)).all()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 0, 1, 2, 2, 2], [(0, 2), (2, 4)]),  # the larger one of two
        ([0, 0, 1, 2, 2], [(0, 3), (2, 2)]),  # the first one of two that are as large
        ([0, 0, 1, 0, 0], [(0, 5)]),  # both of one class, which touch then
        ([0, 1, 2, 2], [(1, 2), (2, 2)]),  # the second one has grown, and stays
        ([0, 255, 1, 1], [(1, 2)]),  # it has no neighbor
        ([0], []),
    ],
)
@pytest.mark.parametrize("side", [1, 9])
def test_which_neighbor_is_joined(tmp_path, labels, expected, side):
    for row in (np.array([labels], np.uint8), np.array([labels], np.uint8).T):
        found = polygons(tmp_path, row, side=side, min_area=8)
        assert sorted(zip(found["class"], found["area_m2"] / 4, strict=True)) == expected


def test_the_longest_border_counts_in_meters(tmp_path):
    """Two level sides, and an upright one, which is as long as three others if pixels are high."""
    labels = np.full((4, 4), 255, np.uint8)
    labels[0], labels[1:, 0], labels[1, 1:3] = 1, 2, 0
    for transform, label in ((SQUARE, 1), (from_origin(0, 0, 1, 3), 2)):
        area = 3 * abs(transform.determinant)
        found = polygons(tmp_path, labels, transform=transform, min_area=area)
        around = found[found.contains(shapely.Point(transform @ (1.5, 1.5)))]
        assert around["class"].tolist() == [label]


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    labels=labels(),
    side=st.integers(1, 20),
    tolerance=st.sampled_from([1.0, 3.0, 8.0, 50.0]),
    transform=st.sampled_from([SQUARE, FLAT]),
)
def test_simpler_outlines_stay_shared(tmp_path_factory, labels, side, tolerance, transform):
    """There are neither gaps nor overlaps; pixels without data count as one more class there."""
    folder = tmp_path_factory.mktemp("a")
    given_ = {"side": side, "transform": transform, "simplify": tolerance}
    no_gap = np.where(labels == 255, 3, labels).astype(np.uint8)
    filled = polygons(folder, no_gap, **given_)
    assert len(filled) == regions(no_gap)[1]
    assert shapely.coverage_is_valid(filled.geometry.values)
    whole = labels.size * abs(transform.determinant)
    assert filled["area_m2"].sum() == pytest.approx(whole, rel=1e-9)
    united = shapely.coverage_union_all(filled.geometry.values)
    assert united.area == pytest.approx(whole, rel=1e-9)
    found, filled = polygons(folder, labels, **given_), filled[filled["class"] < 3]
    expected = normalized(filled.geometry.values, filled["class"])
    assert normalized(found.geometry.values, found["class"]) == expected


def town(side: int = 160) -> np.ndarray:
    """Smooth fields, and a corner without data."""
    rng = np.random.default_rng(3)
    noise = [cv2.GaussianBlur(rng.standard_normal((side, side)), (0, 0), 6) for _ in range(3)]
    labels = np.argmax(noise, axis=0).astype(np.uint8)
    labels[:40, :50] = 255
    return labels


def test_a_tolerance_is_in_meters(tmp_path):
    """It makes outlines simpler, and moves them by about as much, whatever the pixels are."""
    labels, exact = town(), {}
    for name, transform in (("square", SQUARE), ("turned", TURNED)):
        exact[name] = polygons(tmp_path, labels, transform=transform)
    sizes = shapely.get_num_coordinates(exact["square"].geometry.values).sum()
    for tolerance, share in ((4.0, 0.5), (12.0, 0.15)):
        for name, transform in (("square", SQUARE), ("turned", TURNED)):
            tolerance_ = tolerance * (abs(transform.determinant) / 4) ** 0.5
            found = polygons(tmp_path, labels, transform=transform, simplify=tolerance_)
            assert shapely.get_num_coordinates(found.geometry.values).sum() < share * sizes
            moved = (
                exact[name].geometry.union_all().symmetric_difference(found.geometry.union_all())
            )
            assert moved.area < 40 * tolerance_**2


@pytest.mark.parametrize("simplify", [0.0, 40.0])
def test_longitude_and_latitude(tmp_path, simplify):
    """Areas on the ellipsoid; the tolerance is in meters too."""
    labels, transform = town(), from_origin(11, 60, 0.0002, 0.0001)
    given_ = {"transform": transform, "crs": "EPSG:4326", "side": 64, "simplify": simplify}
    found = polygons(tmp_path, labels, min_area=5000, **given_)
    geod = Geod(ellps="WGS84")
    areas = [abs(geod.geometry_area_perimeter(polygon)[0]) for polygon in found.geometry]
    np.testing.assert_allclose(found["area_m2"], areas, rtol=1e-6)
    pixel = areas[0] / found.geometry[0].area * 2e-8
    expected = eliminated(labels, 5000 / pixel, (1.0, 1.0))
    assert len(found) == len(outlines(expected, transform))
    if simplify:
        small = polygons(tmp_path, labels, min_area=5000, **given_ | {"simplify": 1.0})
        assert shapely.coverage_is_valid(found.geometry.values)
        corners = [shapely.get_num_coordinates(t.geometry.values).sum() for t in (found, small)]
        assert corners[0] < 0.4 * corners[1]
    else:
        assert (found["area_m2"] > 5000 * (1 - 1e-6)).all()


def test_both_formats_say_the_same(tmp_path):
    one, other = (polygons(tmp_path, town(), format=f, side=64) for f in ("gpkg", "parquet"))
    assert_geodataframe_equal(one, other, check_dtype=False)


@pytest.mark.parametrize("ending", ["gpkg", "parquet"])
def test_the_same_bytes_with_any_number_of_threads(tmp_path, ending):
    found, before = [], cv2.getNumThreads()
    try:
        for threads in (1, 2, 4):
            cv2.setNumThreads(threads)
            polygons(tmp_path, town(400), format=ending, side=200, min_area=100, simplify=3)
            found.append((tmp_path / f"a.{ending}").read_bytes())
    finally:
        cv2.setNumThreads(before)
    assert found[0] == found[1] == found[2]


def test_a_map_without_data(tmp_path):
    assert len(polygons(tmp_path, np.full((30, 40), 255, np.uint8), side=16, min_area=9)) == 0


def test_a_ring_through_all_tiles(tmp_path):
    """Its hole has regions that are complete earlier, and one that waits too."""
    labels = np.zeros((60, 60), np.uint8)
    labels[5:55, 5:55] = 1
    labels[25:35, 10:50] = 2
    labels[8:12, 8:12] = 0
    found = polygons(tmp_path, labels, side=16)
    holes = {
        row.area_m2: shapely.get_num_interior_rings(row.geometry) for row in found.itertuples()
    }
    assert holes == {64: 0, 1600: 0, 4400: 1, 8336: 2}


def test_borders_of_many_regions():
    """Numbers beyond 2 ** 26, of which two do not fit into a float together."""
    numbers = np.array([[1, 2, 2], [3, 3, 2]], np.int32) + 2**26
    parts = [
        Borders.between(numbers[:, :-1], numbers[:, 1:], upright=True),
        Borders.between(numbers[:-1], numbers[1:], upright=False),
    ]
    found = Borders.sum(parts)
    assert (found.pairs - 2**26).tolist() == [[1, 2], [1, 3], [2, 3]]
    assert (found.upright.tolist(), found.level.tolist()) == ([1, 0, 1], [0, 1, 1])
    joined = np.zeros(2**26 + 4, np.int32)
    joined[-3:] = 1, 2, 1
    again = found.renumbered(joined)
    assert (again.pairs.tolist(), again.upright.tolist(), again.level.tolist()) == (
        [[1, 2]],
        [2],
        [1],
    )


def test_a_full_disk(tmp_path):
    """Beside a larger disk for the file: pieces that wait do not fit."""
    labels = tmp_path / "labels.tif"
    write_bands(labels, town(600)[..., None])
    ground = Ground("a.tif", Place(CRS.from_epsg(32632), SQUARE), 600, 600)
    map_ = LabeledMap("a", labels, labels, CLASSES, ground)
    full = pytest.raises(InputError, match="cannot be written")
    with mounted(tmp_path / "disk", "64k") as disk, full:
        write_polygons(tmp_path / "a.gpkg", map_, PolygonOptions(), disk, side=64)
    assert not (tmp_path / "a.gpkg").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "shp"}, "polygons=shp: must be gpkg or parquet"),
        ({"format": "shp", "file": Path("a/b.shp")}, "polygons=a/b.shp: must be gpkg or parquet"),
        ({"min_area": -1}, "min_area=-1: must be at least 0"),
        ({"simplify": float("nan")}, "simplify=nan: must be at least 0"),
    ],
)
def test_options_out_of_range(options, words):
    with pytest.raises(InputError, match=words):
        PolygonOptions(**options)
