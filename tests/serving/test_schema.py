"""Requests that schemathesis makes up from the description of the service, right and wrong ones."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from network.datasets.files import encode
from network.serving.earth_tiles import EarthTiles, ImageLabels
from network.serving.limits import Limits
from tests.maps.local import PLACE, random_image
from tests.scenes import write_bands
from tests.serving.served import served

pytestmark = pytest.mark.slow

IMAGE = encode(random_image(8, 8), ".png")
OF_THE_BODY = [positive_data_acceptance, negative_data_rejection]


def test_all_operations_answer_as_they_are_described(tmp_path):
    """Each answer has a status, a type and a content that the description names."""
    write_bands(tmp_path / "town.tif", random_image(40, 60), photometric="RGB", **PLACE)
    limits = Limits(max_megabytes=1, max_megapixels=1, body_seconds=2)
    asked = set()

    def tiles(service) -> EarthTiles:
        return EarthTiles(ImageLabels(tmp_path / "town.tif", service.info, service.folder))

    with served(limits, tiles=tiles) as running:
        schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{running.port}/openapi.json")
        for found in schema.get_all_operations():
            operation = found.ok()

            # A description cannot say which bytes are an image.
            @settings(
                max_examples=8,
                deadline=None,
                database=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy())
            def check(case):
                asked.add(case.operation.label)
                case.call_and_validate(excluded_checks=[positive_data_acceptance])
                if case.operation.label == "POST /predict":
                    case.body = IMAGE
                    case.call_and_validate(excluded_checks=OF_THE_BODY)

            check()
    assert {"POST /predict", "GET /tiles/{z}/{x}/{y}", "GET /health", "GET /metrics"} <= asked
