"""Labels of a raster: of values that only wide types have, and of files compressed with loss."""

import numpy as np
import pytest
import rasterio.shutil
from rasterio.enums import Resampling

from network.datasets.on_earth.classes import ValueLabels
from network.datasets.on_earth.labels import UNKNOWN, RasterLabels
from network.errors import InputError
from network.rasters.source import Source, is_lossy_raster
from network.rasters.warped import WarpedSource
from tests.datasets.on_earth.scenes import dataset
from tests.rasters.earth import blocks, grid_of, write_labels

HEIGHT, WIDTH = 40, 60


def values_of(labels: dict[int, int]) -> ValueLabels:
    return ValueLabels(labels, {}, "map_values")


@pytest.mark.parametrize(
    ("dtype", "marker"),
    [
        ("float32", int(np.finfo(np.float32).min)),  # as ESRI's programs write it
        ("float64", int(-1.797e308)),
        ("float64", 2**64 - 1),
        ("uint64", 2**64 - 1),
        ("int64", -(2**63)),
        ("uint16", 65535),
        ("uint8", 77),
    ],
)
def test_a_value_that_means_no_label(tmp_path, dtype, marker):
    labels = blocks(0, HEIGHT, WIDTH)
    stored = labels.astype(dtype)
    stored[:3] = marker
    path = write_labels(tmp_path / "a.tif", stored, nodata=None)
    means = values_of({0: 2, 1: 1, marker: 255})
    expected = np.array([2, 1, UNKNOWN], np.uint8)[labels]
    expected[:3] = 255
    with Source(path) as source:
        found = RasterLabels(path, source, dataset(), means).read(slice(0, HEIGHT), slice(0, WIDTH))
    np.testing.assert_array_equal(found, expected)


def test_values_that_the_pixels_cannot_have(tmp_path):
    path = write_labels(tmp_path / "a.tif", blocks(0, HEIGHT, WIDTH).astype("uint16"))
    with Source(path) as source:
        labels = RasterLabels(path, source, dataset(), values_of({-1: 0}))
        assert (labels.read(slice(0, HEIGHT), slice(0, WIDTH)) == UNKNOWN).all()


def test_overviews_with_loss(tmp_path):
    """Labels are never read from them."""
    path = write_labels(tmp_path / "a.tif", blocks(0, HEIGHT, WIDTH))
    with (
        rasterio.Env(TIFF_USE_OVR="YES", COMPRESS_OVERVIEW="JPEG"),
        rasterio.open(path, "r+") as file,
    ):
        file.build_overviews([2], Resampling.nearest)
    assert (tmp_path / "a.tif.ovr").is_file()
    rasterio.shutil.copy(path, tmp_path / "a.vrt", driver="VRT")
    for source in (Source(path), Source(tmp_path / "a.vrt"), WarpedSource(path, grid_of(9, 9))):
        with source:
            assert not is_lossy_raster(source)


@pytest.mark.parametrize(
    ("options", "is_lossy"),
    [
        ({"compress": "jpeg"}, True),
        ({"compress": "lerc", "MAX_Z_ERROR": 1}, True),
        ({"compress": "lerc", "MAX_Z_ERROR": 0}, False),
        ({"compress": "deflate"}, False),
    ],
)
def test_loss_behind_a_vrt(tmp_path, options, is_lossy):
    """The VRT itself does not say how its sources were compressed."""
    write_labels(tmp_path / "a.tif", blocks(0, HEIGHT, WIDTH), **options)
    (tmp_path / "a.vrt").write_text(
        f'<VRTDataset rasterXSize="{WIDTH}" rasterYSize="{HEIGHT}"><SRS>EPSG:32632</SRS>'
        "<GeoTransform>500000, 0.5, 0, 5400000, 0, -0.5</GeoTransform>"
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">a.tif</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    rasterio.shutil.copy(tmp_path / "a.vrt", tmp_path / "b.vrt", driver="VRT")  # of a VRT
    for name in ("a.tif", "a.vrt", "b.vrt"):
        path = tmp_path / name
        with Source(path) as source:
            if not is_lossy:
                RasterLabels(path, source, dataset(), values_of({0: 0}))
                continue
            with pytest.raises(InputError, match="compressed with loss"):
                RasterLabels(path, source, dataset(), values_of({0: 0}))
