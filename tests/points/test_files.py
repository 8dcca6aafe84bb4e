"""Points as Excel, pandas and QGIS write them: what can be read is, and the rest is told."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio.warp
from PIL import Image
from rasterio.crs import CRS
from rasterio.transform import from_origin

from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample
from network.errors import InputError
from network.points.files import read_points
from network.rasters.place import Place, write_place
from network.text_encoding import possible_texts
from tests.points.test_labels import INFO
from tests.scenes import write_bands

CHINESE = replace(INFO, classes=("地面", "建筑", "水体"))
FRENCH = replace(INFO, classes=("blé", "forêt", "eau"))

EXPECTED = {"a0": {(20, 10): 0, (7, 3): 2}, "b 1": {(0, 63): 1}}
"""Labels by image and pixel of the tables below."""


@pytest.fixture
def samples(tmp_path) -> list[Sample]:
    (tmp_path / "images").mkdir()
    image = np.zeros((48, 64, 3), np.uint8)
    for name in ("a0", "b 1"):
        write_bands(tmp_path / f"images/{name}.tif", image)
    return [sample(tmp_path / f"images/{name}.tif") for name in ("a0", "b 1")]


def sample(path: Path) -> Sample:
    return Sample(name=path.stem, image=path, size=(48, 64))


def read(path: Path, samples: Sequence[Sample], info: DatasetInfo = INFO) -> dict:
    found = read_points(path, samples, info)
    return {
        name: dict(zip(map(tuple, points.places.tolist()), points.labels.tolist(), strict=True))
        for name, points in found.items()
    }


TABLES = {
    "comma": "image,row,column,class\na0,20,10,{0}\na0,7,3,{2}\nb 1,0,63,{1}\n",
    "semicolon": "image;row;column;class\na0;20;10;{0}\na0;7;3;{2}\nb 1;0;63;{1}\n",
    "tab": "image\trow\tcolumn\tclass\na0\t20\t10\t{0}\na0\t7\t3\t{2}\nb 1\t0\t63\t{1}\n",
    "decimal commas": "image;row;column;class\na0;20,5;10,25;{0}\na0;7,125;3;{2}\nb 1;0;63,9;{1}",
    "quoted": '"image","row","column","class"\n"a0","20,5","10","{0}"\n"a0",7,3,"{2}"\n'
    '"b 1",0.0,63,"{1}"\n',
    "decimal commas and tabs": "image\trow\tcolumn\tclass\na0\t20,5\t10\t{0}\na0\t7\t3,25\t{2}\n"
    "b 1\t0\t63\t{1}\n",
    "spaces": " image , row , column , class \n a0 , 20 , 10 , {0} \na0, 7, 3, {2}\n"
    '"b 1" , 0 , 63 , "{1}" \n',
    "upper case, other columns, another order": "ID,CLASS,Column,Row,Image\n1,{0},10,20,a0.tif\n"
    "2,{2},3,7,A/a0.png\n3,{1},63,0,C:\\tiles\\b 1.tif\n",
    "empty lines": "\n\nimage;row;column;class\n\na0;20;10;{0};\n;;;\n"
    "a0;7;3;{2}\n\nb 1;0;63;{1}\n;;;\n",
    "labels of pandas": "image,row,column,class\na0,20.0,10.0,0.0\na0,7.0,3.0,2.0\n"
    "b 1,0.0,63.0,1\n",
    "labels with decimal commas": "image;row;column;class\na0;20;10;0,0\na0;7;3;2,0\nb 1;0;63;1\n",
    "stated separator": "sep=;\nimage;row;column;class\na0;20;10;{0}\na0;7;3;{2}\nb 1;0;63;{1}\n",
}


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
def test_tables(samples, tmp_path, text, ending):
    if text.startswith("sep") and ending == "\r":
        pytest.skip("Excel for Windows alone writes that line")
    path = tmp_path / "points.csv"
    path.write_bytes(text.format(*INFO.classes).replace("\n", ending).encode())
    assert read(path, samples) == EXPECTED


UNICODE = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@pytest.mark.parametrize(
    ("info", "encodings"),
    [
        (INFO, ["ascii", *UNICODE]),
        (CHINESE, [*UNICODE, "gbk", "gb18030", "big5"]),
        (FRENCH, [*UNICODE, "cp1252", "latin-1"]),
        (replace(INFO, classes=("земля", "дом", "вода")), [*UNICODE, "cp1251"]),
        (replace(INFO, classes=("أرض", "مبنى", "ماء")), [*UNICODE, "cp1256"]),
        (replace(INFO, classes=("地面", "建物", "水")), [*UNICODE, "shift_jis"]),
        (replace(INFO, classes=("땅", "건물", "물")), [*UNICODE, "euc_kr"]),
    ],
)
@pytest.mark.parametrize("separator", ["comma", "semicolon", "tab"])
def test_encodings(samples, tmp_path, info, encodings, separator):
    if "建筑" in info.classes:
        big5 = replace(info, classes=("地面", "建築", "水體"))
    for encoding in encodings:
        own = big5 if encoding == "big5" else info
        path = tmp_path / "points.csv"
        path.write_bytes(TABLES[separator].format(*own.classes).encode(encoding))
        assert read(path, samples, own) == EXPECTED, encoding


def test_an_encoding_that_nobody_knows(samples, tmp_path):
    """Names decide; a name that is known in no encoding is not guessed at."""
    path = tmp_path / "gbk.csv"
    path.write_bytes(TABLES["comma"].format(*CHINESE.classes).encode("gbk"))
    with pytest.raises(InputError, match=r"gbk\.csv: is not UTF-8, .*; save it as UTF-8"):
        read(path, samples, INFO)
    # The bytes of 'é' in one encoding are 'й' in another: both are classes, so neither is taken.
    both = replace(INFO, classes=("é", "й", "eau"))
    path.write_bytes(b"image,row,column,class\na0,1,1,\xe9\n")
    with pytest.raises(InputError, match="save it as UTF-8"):
        read(path, samples, both)


def test_errors_do_not_depend_on_the_encoding_of_a_remark(samples, tmp_path):
    path = tmp_path / "points.csv"
    text = "image,row,column,class,remark\na0,{},1,0,地面\n"
    path.write_bytes(text.format(5).encode("gbk"))
    assert read(path, samples) == {"a0": {(5, 1): 0}}
    path.write_bytes(text.format(99).encode("gbk"))
    with pytest.raises(InputError, match="line 2: row 99, column 1 is outside a0"):
        read(path, samples)


def test_accents_as_macos_writes_them(samples, tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("image,row,column,class\na0,1,2,ble\N{COMBINING ACUTE ACCENT}\n")
    assert read(path, samples, FRENCH) == {"a0": {(1, 2): 0}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,row,column,class\na0,20,5,10,0\n", "line 2: 5 fields, the first line has 4"),
        ('image,row,column,class\na0,"1,234",1,0\n', "line 2: row '1,234'.*no numbers"),
        ("image\trow\tcolumn\tclass\na0\t1,234\t1\t0\n", "line 2: row '1,234'.*no numbers"),
        ("image;row;column;class\na0;1.234,5;1;0\n", "line 2: row '1.234,5'.*no numbers"),
        ("image,row,column,class,Class\na0,1,1,0,1\n", "2 columns 'class'"),
        ("image;x;y;class\n", "no column 'row'"),
        ("", "no column 'image'"),
        ("sep=;\nimage;row;column;class\na0;99;1;0\n", "line 3: row 99"),
        ('image,row,column,class\na0,1,1,"0\na0,2,2,0\n' + 99 * "a0,3,3,0\n", r"no class '0\\na0"),
    ],
)
def test_tables_that_cannot_be_read(samples, tmp_path, text, words):
    path = tmp_path / "points.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as error:
        read(path, samples)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def collection(*features: tuple, **document) -> str:
    """GeoJSON of (geometry, properties)."""
    listed = [{"type": "Feature", "geometry": g, "properties": p} for g, p in features]
    return json.dumps({"type": "FeatureCollection", "features": listed, **document})


def multi(*places: Sequence) -> dict:
    return {"type": "MultiPoint", "coordinates": places}


def test_every_point_counts(samples, tmp_path, capsys):
    """Several in one feature, heights, capitals; features without geometry are told once."""
    path = tmp_path / "points.geojson"
    path.write_text(
        collection(
            (multi([10, 20], [3.7, 7.2, 118.5]), {"Class": "bare", "IMAGE": "a0"}),
            (None, {"class": "bare", "image": "a0"}),
            (multi(), {"class": None}),
            ({"type": "Point", "coordinates": []}, {}),
            (
                {
                    "type": "GeometryCollection",
                    "geometries": [multi([1, 1]), {"type": "Point", "coordinates": [2, 2, 0]}],
                },
                {"class": 2.0, "image": "b 1.tif"},
            ),
        )
    )
    assert read(path, samples) == {
        "a0": {(20, 10): 0, (7, 3): 0},
        "b 1": {(1, 1): 2, (2, 2): 2},
    }
    told = capsys.readouterr().err
    assert told == f"warning: {path}: 3 features have no geometry and give no point\n"
    path.write_text(collection((None, {"class": "bare", "image": "a0"})))
    with pytest.raises(InputError, match="no point in it; 1 feature has no geometry"):
        read(path, samples)


@pytest.mark.parametrize("encoding", [*UNICODE, "gbk"])
def test_geojson_encodings(samples, tmp_path, encoding):
    path = tmp_path / "points.geojson"
    text = collection((multi([10, 20]), {"class": "水体", "image": "a0"}))
    text = text.encode().decode("unicode_escape")
    path.write_bytes(text.encode(encoding))
    assert read(path, samples, CHINESE) == {"a0": {(20, 10): 2}}


@pytest.mark.parametrize(
    ("geometry", "properties", "words"),
    [
        ({"type": "Point", "coordinates": "12"}, {"class": 0}, "feature 0: not a Point"),
        ({"type": "Point", "coordinates": [1]}, {"class": 0}, "feature 0: not a Point"),
        ({"type": "Point", "coordinates": [True, 1]}, {"class": 0}, "feature 0: not a Point"),
        ({"type": "Point", "coordinates": [10**400, 1]}, {"class": 0}, "feature 0: not a Point"),
        ({"type": "Point", "coordinates": [[1, 2], [3, 4]]}, {"class": 0}, "not a Point"),
        ({"type": "Polygon", "coordinates": []}, {"class": 0}, "is a 'Polygon'; only Points"),
        ({"type": "Point", "coordinates": [1, 1]}, None, "no.* property 'class'|not a Point"),
        (multi([1, 1]), {"class": 0, "Class": 1, "image": "a0"}, "several properties 'Class'"),
        (multi([1, 1], [99, 1]), {"class": 0, "image": "a0"}, "row 1, column 99 is outside"),
        (multi([1, 1]), {"class": {"a": 0}, "image": "a0"}, "no class"),
        ("Point", {"class": 0}, "feature 0: not a Point"),
    ],
)
def test_geojson_that_cannot_be_read(samples, tmp_path, geometry, properties, words):
    path = tmp_path / "points.geojson"
    path.write_text(collection((geometry, properties)))
    with pytest.raises(InputError, match=words):
        read(path, samples)


def test_nested_a_thousand_deep(samples, tmp_path):
    path = tmp_path / "points.geojson"
    for text in (5000 * "[" + 5000 * "]", collection().replace("[]", 5000 * "[" + 5000 * "]")):
        path.write_text(text)
        with pytest.raises(InputError, match=r"points\.geojson: (unreadable|not a)"):
            read(path, samples)


def test_places_in_an_image_that_viewers_turn(tmp_path):
    """Its georeference is that of the stored pixels."""
    path, exif = tmp_path / "a0.jpg", Image.Exif()
    exif[274] = 6
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(path, exif=exif)
    write_place(Place(CRS.from_epsg(32633), from_origin(500_000, 5_400_000, 0.1, 0.1)), path)
    points = tmp_path / "points.geojson"
    points.write_text(
        json.dumps(
            {
                "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}},
                "type": "FeatureCollection",
                "features": [
                    {
                        "type": "Feature",
                        "properties": {"class": INFO.classes[0]},
                        "geometry": {"type": "Point", "coordinates": [500_001.05, 5_399_998.95]},
                    }
                ],
            }
        )
    )
    stored = replace(INFO, exif_orientation="stored")
    assert read(points, [sample(path)], stored) == {"a0": {(10, 10): 0}}
    with pytest.raises(InputError, match=r"a0.jpg: viewers turn this image by its EXIF"):
        read(points, [sample(path)], replace(INFO, exif_orientation="shown"))


@pytest.mark.parametrize(
    "crs", [None, "urn:ogc:def:crs:OGC:1.3:CRS84", "urn:ogc:def:crs:EPSG::32633"]
)
def test_places_on_earth(tmp_path, crs):
    """Every point of a MultiPoint, with heights, in the system that the file names."""
    transform = from_origin(500_000, 5_400_000, 0.1, 0.1)
    path = tmp_path / "a0.tif"
    write_bands(path, np.zeros((48, 64, 3), np.uint8), crs="EPSG:32633", transform=transform)
    samples = [sample(path)]
    pixels = {(7, 25): 1, (40, 3): 1}
    places = [transform @ (column + 0.5, row + 0.5) for row, column in pixels]
    system = rasterio.CRS.from_user_input(crs or "EPSG:4326")
    xs, ys = rasterio.warp.transform("EPSG:32633", system, *zip(*places, strict=True))
    geometry = multi(*([x, y, 300.0] for x, y in zip(xs, ys, strict=True)))
    document = {"crs": {"type": "name", "properties": {"name": crs}}} if crs else {}
    points = tmp_path / "points.geojson"
    points.write_text(collection((geometry, {"class": "wheat"}), **document))
    assert read(points, samples) == {"a0": pixels}
    # With the image's name they would be columns and rows: 15 degrees east is no column.
    points.write_text(collection((geometry, {"class": "wheat", "image": "a0"}), **document))
    with pytest.raises(InputError, match="is a place on Earth in a0, not column and row"):
        read(points, samples)
    points.write_text(collection((multi([25, 7]), {"class": 1, "image": "a0"}), **document))
    assert read(points, samples) == {"a0": {(7, 25): 1}}


def test_many_points_on_many_images(tmp_path, monkeypatch):
    """A place is brought to each reference system once, and not to each image."""
    samples, expected, places = [], {}, []
    for number in range(24):
        crs, east = ("EPSG:32633", 500_000) if number % 2 else ("EPSG:32632", 900_000)
        transform = from_origin(east + 100 * number, 5_400_000, 0.1, 0.1)
        path = tmp_path / f"a{number}.tif"
        write_bands(path, np.zeros((48, 64, 3), np.uint8), crs=crs, transform=transform)
        samples.append(sample(path))
        row, column = 2 * number, 63 - number
        x, y = transform @ (column + 0.5, row + 0.5)
        places.append([v[0] for v in rasterio.warp.transform(crs, "EPSG:4326", [x], [y])])
        expected[path.stem] = {(row, column): 1}
    points = tmp_path / "points.geojson"
    points.write_text(collection(*((multi(place), {"class": "wheat"}) for place in places)))
    calls, transform_places = [], rasterio.warp.transform

    def counted(*arguments):
        calls.append(arguments)
        return transform_places(*arguments)

    monkeypatch.setattr(rasterio.warp, "transform", counted)
    assert read(points, samples) == expected
    assert len(calls) == 3 * len(places)


def test_columns_and_rows_that_could_be_degrees(tmp_path):
    """A table always has columns and rows, also if they are a place inside of the image."""
    path = tmp_path / "a0.tif"
    place = {"crs": "EPSG:4326", "transform": from_origin(0, 60, 1, 1)}
    write_bands(path, np.zeros((48, 64, 3), np.uint8), **place)
    points = tmp_path / "points.csv"
    points.write_text("image,row,column,class\na0,40,11,1\n")
    assert read(points, [sample(path)]) == {"a0": {(40, 11): 1}}


@pytest.mark.parametrize(
    ("crs", "words"),
    [
        ({"type": "name", "properties": {"name": "nowhere"}}, "coordinate system 'nowhere'"),
        ({"type": "link", "properties": {"href": "x"}}, "'crs' names no coordinate system"),
        ("EPSG:4326", "'crs' names no coordinate system"),
    ],
)
def test_unknown_coordinate_systems(tmp_path, crs, words):
    transform = from_origin(500_000, 5_400_000, 0.1, 0.1)
    path = tmp_path / "a0.tif"
    write_bands(path, np.zeros((48, 64, 3), np.uint8), crs="EPSG:32633", transform=transform)
    points = tmp_path / "points.geojson"
    points.write_text(collection((multi([1, 1]), {"class": 0}), crs=crs))
    with pytest.raises(InputError, match=words):
        read(points, [sample(path)])


def test_text_of_no_encoding():
    assert possible_texts("a,é".encode("utf-16-be")) == ["a,é"]
    with pytest.raises(UnicodeDecodeError):
        possible_texts("a".encode("utf-16") + b"\0")
