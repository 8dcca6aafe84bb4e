"""Extras: what the code says of them is what ``pip`` installs, and nothing else imports them."""

import re
import tomllib

import pytest

from network import extras
from network.errors import InputError
from network.extras import EXTRAS, require_extra
from tests.conftest import ROOT

OPTIONAL = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

NAMES = {"scikit_learn": "sklearn", "mlflow_skinny": "mlflow"}
"""Modules that are not named as their packages."""


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_installs_the_modules_that_it_is_named_for(extra):
    installed = {re.split(r"[=\[]", line)[0].replace("-", "_") for line in OPTIONAL[extra]}
    modules = {NAMES.get(package, package) for package in installed}
    assert set(EXTRAS[extra]) <= modules


def test_a_missing_library_is_one_line(monkeypatch):
    require_extra("vectors", "polygons")
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    with pytest.raises(InputError, match=r"needs the library rio-tiler.*pip install -e '.\[viewer"):
        require_extra("viewer", "view_map")
