"""Classes from attributes and layers of polygons."""

import geopandas
import pandas as pd
import pyogrio
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS

from network.datasets.discovery.polygon_classes import (
    find_areas,
    find_layers,
    ground_of,
    propose_from_polygons,
)
from network.errors import InputError
from network.rasters.earth_grid import EarthGrid
from network.rasters.vectors import layers_of
from tests.datasets.on_earth.scenes import write_features
from tests.rasters.earth import UTM

SQUARES = [shapely.box(500_000 + 10 * n, 5_400_000, 500_010 + 10 * n, 5_400_010) for n in range(8)]
CLASSES = ["field", "road", "field", "field", "house", "road", "field", "field"]


def proposed(root, *names, stems=(), attribute=None, ground=None):
    """``ground`` is the area of an image whose corner is that of the squares."""
    layers = find_layers(root, [root / name for name in names], set(stems))
    shape = None
    if ground:
        grid = EarthGrid(10, ground // 10, UTM, Affine(1, 0, 500_000, 0, -1, 5_400_010))
        shape = ground_of([grid])
    proposal, found = propose_from_polygons(layers, attribute, shape)
    return proposal, [(*one.layer.patterns, dict(one.options)) for one in found]


def test_an_attribute_with_few_texts(tmp_path):
    """Not numbers, names of single objects or what a CAD program writes."""
    attributes = {
        "id": range(8),
        "owner": [f"person {n}" for n in range(8)],
        "Linetype": ["Continuous", "Dashed"] * 4,
        "height": [3.5, 4.0] * 4,
        "use": CLASSES,
    }
    write_features(tmp_path / "plots.gpkg", SQUARES, **attributes)
    proposal, found = proposed(tmp_path, "plots.gpkg", ground=800)
    assert found == [("plots.gpkg", {"attribute": "use"})]
    assert [one.name for one in proposal.classes] == ["field", "road", "house"]
    # Squares of 100 m2, measured in an equal-area system.
    areas = [one.amount for one in proposal.classes]
    assert areas == pytest.approx([500, 200, 100], rel=0.01)
    assert (
        "the attribute 'use' has the class (others: id, owner, Linetype, height"
        in (proposal.notes[0])
    )


def test_polygons_that_cover_a_part(tmp_path):
    """The rest is ignored, and it is said how to make it a class."""
    names = [*CLASSES[:7], None]
    write_features(tmp_path / "plots.gpkg", SQUARES, **{"class": names})
    proposal, found = proposed(tmp_path, "plots.gpkg", ground=8000)
    assert found == [("plots.gpkg", {"attribute": "class", "values": {"": "ignore"}})]
    assert proposal.ignored[""].amount == pytest.approx(100, rel=0.01)
    assert "polygons cover 10% of the images; pixels in no polygon are ignored" in proposal.notes[1]


def test_features_without_geometry(tmp_path):
    """They have no area, so a class that has no others is none."""
    nothing = [None, shapely.Polygon(), *SQUARES[:6]]
    names = ["road", "pond", *CLASSES[:6]]
    write_features(tmp_path / "plots.gpkg", nothing, **{"class": names})
    proposal, _ = proposed(tmp_path, "plots.gpkg", ground=800)
    assert [one.name for one in proposal.classes] == ["field", "road", "house"]
    assert proposal.total == pytest.approx(600, rel=0.01)


def test_numbers_without_end_and_lists_are_no_classes(tmp_path):
    columns = {"class": CLASSES, "ratio": [float("inf"), 0.5] * 4, "tags": [["a", "b"], []] * 4}
    write_features(tmp_path / "plots.geojson", SQUARES, **columns)
    _, found = proposed(tmp_path, "plots.geojson", ground=800)
    assert found == [("plots.geojson", {"attribute": "class"})]


def test_a_local_system(tmp_path):
    """Its places on Earth are not known."""
    crs = 'LOCAL_CS["Site grid",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
    frame = geopandas.GeoDataFrame({"class": CLASSES}, geometry=SQUARES, crs=crs)
    frame.to_file(tmp_path / "plots.gpkg")
    with pytest.raises(InputError, match=r"plots\.gpkg: no transform is known from Site grid"):
        proposed(tmp_path, "plots.gpkg")


def test_classes_that_are_almost_numbers(tmp_path):
    """Numbers are sorted as such, and digits in the air are none."""
    write_features(tmp_path / "a.gpkg", SQUARES, **{"class": ["10", "9", "9", "10"] * 2})
    proposal, _ = proposed(tmp_path, "a.gpkg", ground=800)
    assert [one.source for one in proposal.classes] == ["9", "10"]
    write_features(tmp_path / "b.gpkg", SQUARES, **{"class": ["1", "²", "1", "1"] * 2})
    proposal, _ = proposed(tmp_path, "b.gpkg", ground=800)
    assert [one.source for one in proposal.classes] == ["1", "²"]


def test_a_share_that_is_not_known(tmp_path):
    """For example, that of images across the date line."""
    write_features(tmp_path / "a.gpkg", SQUARES, **{"class": CLASSES})
    proposal, _ = proposed(tmp_path, "a.gpkg")
    (note,) = [note for note in proposal.notes if "in no polygon" in note]
    assert note.startswith("pixels in no polygon are ignored")


def test_a_file_of_an_image_with_a_table_alone(tmp_path):
    """It belongs to those of the other images, which have one layer each."""
    for name in ("a", "b"):
        write_features(tmp_path / f"{name}.gpkg", SQUARES, **{"class": CLASSES})
    pyogrio.write_dataframe(pd.DataFrame({"class": ["field"]}), tmp_path / "c.gpkg")
    assert layers_of(tmp_path / "c.gpkg") == []
    names = ("a.gpkg", "b.gpkg", "c.gpkg")
    _, found = proposed(tmp_path, *names, stems=("a", "b", "c"), ground=800)
    assert found == [("*.gpkg", {"attribute": "class"})]


def test_one_class(tmp_path):
    """Named by the file, or by the folder if there is a file for each image."""
    write_features(tmp_path / "houses.gpkg", SQUARES, name=[f"house {n}" for n in range(8)])
    proposal, found = proposed(tmp_path, "houses.gpkg", ground=1600)
    assert found == [("houses.gpkg", {"all_are": "houses", "background": "background"})]
    assert [one.name for one in proposal.classes] == ["background", "houses"]
    assert [one.amount for one in proposal.classes] == pytest.approx([800, 800], rel=0.01)
    for name in ("1", "2"):
        write_features(tmp_path / f"trees/{name}.geojson", SQUARES[:2], Layer=["Level 10"] * 2)
    _, found = proposed(tmp_path, "trees/1.geojson", "trees/2.geojson", stems=("1", "2"))
    assert found == [("trees/*.geojson", {"all_are": "trees", "background": "background"})]


def test_a_layer_for_each_class(tmp_path):
    write_features(tmp_path / "houses.shp", SQUARES[:2], code=[1, 2])
    write_features(tmp_path / "more.gpkg", SQUARES[:2], code=[1, 2])
    frame = geopandas.GeoDataFrame(geometry=SQUARES[4:7], crs=UTM.to_wkt())
    frame.to_file(tmp_path / "more.gpkg", layer="roads")
    proposal, found = proposed(tmp_path, "houses.shp", "more.gpkg", ground=10_000)
    assert found[0] == ("houses.shp", {"all_are": "houses", "background": "background"})
    assert found[1:] == [
        ("more.gpkg", {"all_are": name, "layer": name}) for name in ("more", "roads")
    ]
    assert [one.name for one in proposal.classes][:2] == ["background", "roads"]


def test_the_attribute_that_the_user_names(tmp_path):
    codes = [30, 4, 4, 4, 30, 5, 5, 5]
    write_features(tmp_path / "plots.gpkg", SQUARES, use=CLASSES, code=codes)
    proposal, found = proposed(tmp_path, "plots.gpkg", attribute="code", ground=800)
    assert found == [("plots.gpkg", {"attribute": "code"})]
    assert [one.name for one in proposal.classes] == ["4", "5", "30"]
    with pytest.raises(InputError, match="no attribute 'cod'; did you mean 'code'"):
        proposed(tmp_path, "plots.gpkg", attribute="cod")


def test_an_attribute_with_thousands_of_values(tmp_path):
    many = [shapely.box(n, 0, n + 1, 1) for n in range(2000)]
    write_features(
        tmp_path / "plots.gpkg", many, plot=[f"p{n}" for n in range(2000)], use=["a"] * 2000
    )
    with pytest.raises(
        InputError, match=r"attribute=plot: has 2000 values.*another one: plot, use"
    ):
        proposed(tmp_path, "plots.gpkg", attribute="plot")


def test_areas_of_splits(tmp_path):
    write_features(tmp_path / "a.gpkg", SQUARES, use=CLASSES)
    write_features(
        tmp_path / "b.gpkg", SQUARES[:3], name=["x", "y", "z"], part=["train", "val", "test"]
    )
    assert find_areas([tmp_path / "a.gpkg", tmp_path / "b.gpkg"]) == (tmp_path / "b.gpkg", "part")
    assert find_areas([tmp_path / "a.gpkg"]) is None


def test_points_are_no_labels(tmp_path):
    write_features(tmp_path / "points.gpkg", [shapely.Point(500_000, 5_400_000)])
    with pytest.raises(InputError, match=r"points\.gpkg: has no layer of polygons"):
        proposed(tmp_path, "points.gpkg")
    (tmp_path / "broken.gpkg").write_text("no")
    with pytest.raises(InputError, match=r"broken\.gpkg: unreadable vector file"):
        proposed(tmp_path, "broken.gpkg")


def test_polygons_beyond_the_images_do_not_count(tmp_path):
    """Layers of a whole town over an image of 100 m2, which they cover by half."""
    write_features(
        tmp_path / "houses.gpkg",
        [*SQUARES[2:], shapely.box(500_000, 5_400_000, 500_003, 5_400_010)],
        n=range(7),
    )
    write_features(
        tmp_path / "trees.gpkg",
        [*SQUARES[2:], shapely.box(500_008, 5_400_000, 500_010, 5_400_010)],
        n=range(7),
    )
    proposal, found = proposed(tmp_path, "houses.gpkg", "trees.gpkg", ground=100)
    assert [one.name for one in proposal.classes] == ["background", "houses", "trees"]
    assert found[0][1]["background"] == "background"
    areas = [one.amount for one in proposal.classes]
    assert areas == pytest.approx([50, 30, 20], rel=0.01)


def test_overlapping_polygons_cover_once(tmp_path):
    write_features(tmp_path / "plots.gpkg", [SQUARES[0]] * 8, **{"class": CLASSES})
    proposal, _ = proposed(tmp_path, "plots.gpkg", ground=200)
    assert any("polygons cover 50% of the images" in note for note in proposal.notes)


def test_a_file_without_polygons_has_no_attributes(tmp_path):
    for n in range(2):
        write_features(tmp_path / f"l/s{n}.geojson", SQUARES, **{"class": CLASSES})
    (tmp_path / "l/s2.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    names = [f"l/s{n}.geojson" for n in range(3)]
    proposal, found = proposed(tmp_path, *names, stems=("s0", "s1", "s2"), ground=1600)
    assert found == [("l/*.geojson", {"attribute": "class"})]
    assert [one.name for one in proposal.classes] == ["field", "road", "house"]


@pytest.mark.parametrize(
    ("crs", "left", "top"),
    [("EPSG:32760", 818_700, 8_099_700), ("EPSG:3031", -500, 500)],
)
def test_ground_across_the_date_line_or_at_a_pole(crs, left, top):
    """Its corners enclose a strip around the world, or nothing; so all polygons count."""
    grid = EarthGrid(1000, 1000, CRS.from_string(crs), Affine(1, 0, left, 0, -1, top))
    assert ground_of([grid]) is None
