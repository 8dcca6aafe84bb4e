"""Fixtures of the tests of the page on a map."""

import pytest

from tests.serving.scene import Scene, make_scene


@pytest.fixture(scope="package")
def scene(tmp_path_factory) -> Scene:
    """A map that no test changes."""
    return make_scene(tmp_path_factory.mktemp("scene"))
