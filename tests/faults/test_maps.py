"""Maps whose prediction is killed at any moment."""

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from tests.faults.test_kills import ENDS, KILLS, campaign

pytestmark = pytest.mark.slow


def test_mapping(launcher, project, tmp_path, trials, count):
    """Prediction of a map in blocks, killed and given again: the same bytes."""
    for name in ("fields.py", "weights.ckpt"):
        (tmp_path / name).symlink_to(project / name)
    pixels = np.random.default_rng(0).integers(1, 256, (3, 900, 700), dtype=np.uint8)
    pixels[:, :200, :200] = 0
    place = {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_400_000, 0.1, 0.1)}
    size = {"height": 900, "width": 700, "count": 3, "dtype": "uint8", "nodata": 0}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", tiled=True, **size, **place
    ) as file:
        file.write(pixels)
    argv = ["predict.py", "-c", "fields.py", "-o", "OUT", "--checkpoint", "weights.ckpt"]
    argv += ["--device", "cpu", "-i", "a.tif", "-p", "96", "--halo", "32", "--confidence"]
    campaign(launcher, tmp_path, argv, count, trials(KILLS), trials(ENDS), 3)
