"""The service with exported files: its answers are those of predict.py with the same file."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from network.export.options import ExportOptions
from network.export.source import load_source
from network.export.write import export
from network.exported.load import load_exported
from network.maps.options import MapOptions
from network.models.tconv import TransposedConvNet
from tests.export.test_export import checkpoint
from tests.maps.local import PLACE, predict, random_image
from tests.scenes import write_bands
from tests.serving.served import served

pytestmark = pytest.mark.slow


def test_an_exported_file_is_served(tmp_path):
    """Its size is that of the windows, which are filled up; those of two images have one size."""
    model = partial(TransposedConvNet, 6, "test_resnet", weights=None)
    source, file = load_source(checkpoint(tmp_path, model)), tmp_path / "fixed.pt2"
    export(source, file, "torch", ExportOptions(size=(128, 128), batch=1))
    images = []
    for number, size in enumerate(((75, 109), (75, 109), (200, 130))):
        images.append(tmp_path / f"in/{number}.tif")
        write_bands(images[-1], random_image(*size, number), photometric="RGB", **PLACE)
    predictor = load_exported(file).predictor(patch=None)
    options = MapOptions(window=128, halo=32, format="tif")
    predict(predictor, *images, out=tmp_path / "maps", options=options)
    with served(predictor=predictor) as running, ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda image: running.post(image, "image/tiff"), images))
    for image, answer in zip(images, found, strict=True):
        assert answer.body == (tmp_path / "maps" / image.name).read_bytes()
