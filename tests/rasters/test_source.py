"""Windows of a raster are parts of the whole, however it is stored."""

import sqlite3
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from network.datasets.files import read_valid_image
from network.datasets.schema import DatasetInfo
from network.errors import InputError
from network.rasters import source as source_module
from network.rasters.source import Source, UnreadableImage, content_hash, file_version
from tests.datasets.on_earth.scenes import box, write_features
from tests.scenes import write_bands

HEIGHT, WIDTH = 70, 90


def pixels(bands: int = 3, dtype: str = "uint8") -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(1, 250, (HEIGHT, WIDTH, bands)).astype(dtype)


def turned_info(orientation: str) -> DatasetInfo:
    return DatasetInfo(
        name="photos",
        root="",
        classes=("a", "b"),
        palette=((0, 0, 0), (255, 255, 255)),
        ignore_index=255,
        splits={},
        exif_orientation=orientation,
    )


@settings(max_examples=60, deadline=None)
@given(
    orientation=st.integers(1, 8),
    turn=st.booleans(),
    corners=st.tuples(*(st.floats(0, 1) for _ in range(4))),
)
def test_turned_photos(tmp_path_factory, orientation, turn, corners):
    """Each window is that part of the whole image, as the rest of the project reads it."""
    path = tmp_path_factory.mktemp("photo") / "a.tif"
    image = pixels()
    image[:30, :40] = 0
    write_bands(path, image, nodata=0, photometric="RGB", tiled=True, blockxsize=32, blockysize=16)
    set_orientation(path, orientation)
    whole, whole_valid = read_valid_image(path, turned_info("shown" if turn else "stored"))
    with Source(path, turn=turn) as source:
        assert source.size == whole.shape[:2]
        rows, columns = (
            slice(*sorted((int(a * (n - 1)), int(b * (n - 1)) + 1)))
            for a, b, n in zip(corners[:2], corners[2:], source.size, strict=True)
        )
        if rows.start == rows.stop or columns.start == columns.stop:
            return
        values, valid = source.read(rows, columns)
    np.testing.assert_array_equal(values, whole[rows, columns])
    everywhere = np.ones(values.shape[:2], bool)
    np.testing.assert_array_equal(
        everywhere if valid is None else valid, whole_valid[rows, columns]
    )


def set_orientation(path: Path, number: int) -> None:
    """Change the tag 274, which write_bands leaves out, in place of a tag that nobody reads."""
    with rasterio.open(path, "r+") as file:
        file.update_tags(TIFFTAG_MINSAMPLEVALUE="1")
    content = bytearray(path.read_bytes())
    offset = int.from_bytes(content[4:8], "little")
    for n in range(int.from_bytes(content[offset : offset + 2], "little")):
        at = offset + 2 + 12 * n
        if int.from_bytes(content[at : at + 2], "little") == 280:
            content[at : at + 12] = b"".join(
                v.to_bytes(size, "little") for v, size in ((274, 2), (3, 2), (1, 4), (number, 4))
            )
            path.write_bytes(bytes(content))
            return
    raise AssertionError("no such tag")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int32"])
@pytest.mark.parametrize("bands", [None, (3, 1), (5,)])
def test_bands_and_types(tmp_path, dtype, bands):
    image = pixels(5, dtype)
    write_bands(tmp_path / "a.tif", image)
    with Source(tmp_path / "a.tif", bands) as source:
        values, valid = source.read(slice(3, 50), slice(7, 20))
    chosen = [n - 1 for n in bands or range(1, 6)]
    np.testing.assert_array_equal(values, image[3:50, 7:20, chosen])
    assert values.dtype == dtype
    assert valid is None


def test_any_format_that_gdal_opens(tmp_path):
    """A VRT, JPEG 2000, and a file in an archive."""
    image = pixels()
    write_bands(tmp_path / "a.tif", image, photometric="RGB")
    for name, driver in (("b.vrt", "VRT"), ("c.jp2", "JP2OpenJPEG")):
        options = {"QUALITY": "100", "REVERSIBLE": "YES"} if driver == "JP2OpenJPEG" else {}
        rasterio.shutil.copy(tmp_path / "a.tif", tmp_path / name, driver=driver, **options)
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.write(tmp_path / "a.tif", "deep/a.tif")
    for path in ("b.vrt", "c.jp2", f"/vsizip/{tmp_path}/d.zip/deep/a.tif"):
        with Source(path if path.startswith("/vsi") else tmp_path / path) as source:
            values, valid = source.read(slice(10, 60), slice(0, 90))
        np.testing.assert_array_equal(values, image[10:60])
        assert valid is None


def test_a_mask_in_the_file(tmp_path):
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            tmp_path / "a.tif", "w", driver="GTiff", height=8, width=9, count=3, dtype="uint8"
        ) as file,
    ):
        file.write(np.ones((3, 8, 9), np.uint8))
        file.write_mask(np.arange(72).reshape(8, 9) % 5 > 0)
    with Source(tmp_path / "a.tif") as source:
        _, valid = source.read(slice(2, 8), slice(1, 5))
    np.testing.assert_array_equal(valid, (np.arange(72).reshape(8, 9) % 5 > 0)[2:8, 1:5])


def test_damage_is_told_with_its_place(tmp_path):
    path = tmp_path / "a.tif"
    options = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "lzw"}
    write_bands(path, pixels(), photometric="RGB", **options)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(bytes(content))
    with (
        pytest.raises(UnreadableImage, match=r"a.tif: unreadable at rows 0 to 70, columns 0 to 90"),
        Source(path) as source,
    ):
        source.read(slice(0, 70), slice(0, 90))


def test_what_is_no_raster(tmp_path):
    (tmp_path / "a.vrt").write_text("nothing")
    for name, words in (("a.vrt", "unreadable image"), ("b.tif", "no such file")):
        with pytest.raises(InputError, match=rf"{name}: {words}"):
            Source(tmp_path / name)
    write_bands(tmp_path / "c.tif", pixels())
    with pytest.raises(InputError, match="has no band 4, only 1 to 3"):
        Source(tmp_path / "c.tif", (1, 4))
    for bands in ((0, 1), (2, -1)):
        with pytest.raises(InputError, match=f"has no band {min(bands)}, only 1 to 3"):
            Source(tmp_path / "c.tif", bands)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_webp_is_turned_as_pillow_does(tmp_path, orientation):
    """GDAL does not tell the orientation of a WebP file."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.webp", lossless=True, exif=exif)
    with Image.open(tmp_path / "a.webp") as file:
        expected = np.array(ImageOps.exif_transpose(file))
    with Source(tmp_path / "a.webp", turn=True) as source:
        assert source.header.orientation == orientation
        assert source.size == expected.shape[:2]
        values, _ = source.read(*(slice(0, side) for side in source.size))
    np.testing.assert_array_equal(values, expected)


def test_the_version_sees_edits_that_a_geopackage_keeps_beside_itself(tmp_path):
    """As QGIS does, a program holds the file open and has committed an edit."""
    path = tmp_path / "labels.gpkg"
    write_features(path, [box(np.s_[0:2], np.s_[0:2])], name=["road"])
    plain, version, digest = path.read_bytes(), file_version(path), content_hash(path)
    edit = sqlite3.connect(path)
    edit.execute("PRAGMA journal_mode=WAL")
    size, time = path.stat().st_size, path.stat().st_mtime_ns
    versions = {version, file_version(path)}
    for name in ("house", "water"):
        edit.execute(f'UPDATE gpkg_contents SET description = "{name}"')
        edit.commit()
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (size, time)
        assert file_version(path) not in versions
        versions.add(file_version(path))
        assert content_hash(path) != digest
    edit.close()
    path.write_bytes(plain)
    assert content_hash(path) == digest


def test_the_version_sees_sources_and_class_names_of_a_raster(tmp_path):
    values = np.zeros((8, 8, 1), np.uint8)
    for name in ("a", "b"):
        write_bands(tmp_path / f"{name}.tif", values)
    inner, outer = vrt_of("a.tif", tmp_path / "inner.vrt"), vrt_of("inner.vrt", tmp_path / "o.vrt")
    files = (inner, outer, vrt_of("o.vrt", tmp_path / "p.vrt"))
    known = {path: (file_version(path), version_of(path), content_hash(path)) for path in files}
    write_bands(tmp_path / "b.tif", values + 1)
    assert all((file_version(p), version_of(p), content_hash(p)) == known[p] for p in known)
    write_bands(tmp_path / "a.tif", values + 1)
    for path, (version, read_version, digest) in known.items():
        assert file_version(path) != version
        assert version_of(path) != read_version
        assert content_hash(path) != digest

    path = tmp_path / "b.tif"
    version, digest = file_version(path), content_hash(path)
    Path(f"{path}.aux.xml").write_text("<PAMDataset/>")
    assert file_version(path) != version
    assert content_hash(path) == digest  # QGIS writes statistics there when it shows a map


def version_of(path: Path | str) -> str:
    with Source(path) as source:
        return source.version()


def vrt_of(source: str, path: Path) -> Path:
    """Write a VRT of one band of 8 x 8 pixels by hand, since GDAL would look through other VRTs."""
    path.write_text(
        '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1">'
        f'<SimpleSource><SourceFilename relativeToVRT="1">{source}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return path


@pytest.mark.parametrize(
    "name",
    [
        "/vsizip/{folder}/tiles.zip/in/a.tif",
        "/vsizip/{{{folder}/tiles.zip}}/in/a.tif",
        "/vsizip/tiles.zip/in/a.tif",
        "/vsizip/{{tiles.zip}}/in/a.tif",
        "/vsitar/vsigzip/a.tar.gz/a.tif",
        "/vsitar//vsigzip/{folder}/a.tar.gz/a.tif",
        "/vsitar/{{/vsigzip/a.tar.gz}}/a.tif",
        "/vsisubfile/0,plain.tif",
    ],
)
def test_the_version_sees_a_changed_archive(tmp_path, monkeypatch, name):
    """Also if its path begins at the working folder, or is in another archive."""
    monkeypatch.chdir(tmp_path)

    def write(value: int) -> None:
        write_bands(tmp_path / "plain.tif", np.full((8, 8, 1), value, np.uint8))
        with zipfile.ZipFile("tiles.zip", "w") as archive:
            archive.write("plain.tif", "in/a.tif")
        with tarfile.open("a.tar.gz", "w:gz") as tar:
            tar.add("plain.tif", "a.tif")

    path, versions = name.format(folder=tmp_path), []
    for value in (1, 2):
        write(value)
        versions += [version_of(path), version_of(path)]
    assert versions[0] == versions[1] != versions[2] == versions[3]


def test_a_path_elsewhere_is_not_taken_for_a_file_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bucket").write_text("a file of the same name")
    for path in (
        "/vsis3/bucket/a.tif",
        "/vsimem/bucket",
        "/vsizip//vsicurl/https://bucket/a.zip/b",
    ):
        assert source_module._stat(path) is None


STATISTICS = """<PAMDataset><PAMRasterBand band="1"><Metadata>
<MDI key="STATISTICS_MAXIMUM">9</MDI></Metadata></PAMRasterBand></PAMDataset>"""
NO_DATA = (
    '<PAMDataset><PAMRasterBand band="1"><NoDataValue>3</NoDataValue></PAMRasterBand></PAMDataset>'
)
MOVED = "<PAMDataset><GeoTransform>7, 1, 0, 9, 0, -1</GeoTransform></PAMDataset>"


@pytest.mark.parametrize("ending", ["tif", "png"])
def test_what_viewers_write_beside_an_image_does_not_count(tmp_path, ending):
    """Statistics and overviews. But a new place, or another value for no data, does."""
    path = tmp_path / f"a.{ending}"
    Image.fromarray(np.zeros((300, 300), np.uint8)).save(path)
    plain, side = version_of(path), Path(f"{path}.aux.xml")
    side.write_text(STATISTICS)
    assert version_of(path) == plain
    Image.fromarray(np.zeros((150, 150), np.uint8)).save(f"{path}.ovr", format="TIFF")
    with Source(path) as source:
        assert source._file.overviews(1) == [2]
        assert source.version() == plain
        assert source.version(with_side_files=True) != plain
    found = [plain]
    for text in (NO_DATA, MOVED):
        side.write_text(text)
        assert version_of(path) not in found
        found.append(version_of(path))
        side.write_text(text.replace("</PAMDataset>", STATISTICS.removeprefix("<PAMDataset>")))
        assert version_of(path) == found[-1]
    side.unlink()
    assert version_of(path) == plain


def test_a_mask_beside_an_image_counts(tmp_path):
    path = tmp_path / "a.tif"
    write_bands(path, np.zeros((8, 8, 1), np.uint8))
    plain = version_of(path)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        file.write_mask(np.zeros((8, 8), bool))
    assert Path(f"{path}.msk").is_file()
    assert version_of(path) != plain
