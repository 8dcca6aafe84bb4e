"""The files of the page: vendored ones are unchanged, and none names another machine."""

import hashlib
import json
import re

import pytest

from tests.conftest import ROOT

STATIC = ROOT / "network/serving/static"
LEAFLET = STATIC / "leaflet"
OWN = sorted(path.name for path in STATIC.iterdir() if path.is_file())


def test_leaflet_is_what_its_package_holds():
    """The record names the version, and what npm says of the package that it is from."""
    record = json.loads((LEAFLET / "vendored.json").read_text())
    assert (record["name"], record["license"]) == ("leaflet", "BSD-2-Clause")
    assert re.fullmatch(r"sha512-[\w+/]{86}==", record["integrity"])
    files = {path.name: path.read_bytes() for path in LEAFLET.iterdir()}
    del files["vendored.json"]
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert hashes == record["files"]
    assert f"Leaflet {record['version']}," in files["leaflet.js"].decode()[:200]
    assert files["LICENSE"].startswith(b"BSD 2-Clause License")


@pytest.mark.parametrize("name", OWN)
def test_no_other_machine_is_named(name):
    text = (STATIC / name).read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"(https?|wss?):|//[\w.]+\.\w+/", text)


@pytest.mark.parametrize("name", [name for name in OWN if name.endswith(".js")])
def test_scripts_are_documented(name):
    """Each file begins with what it is for, and each function with what it does."""
    text = (STATIC / name).read_text()
    assert text.startswith("/**")
    for match in re.finditer(r"^(export )?(async )?function (\w+)", text, re.MULTILINE):
        assert text[: match.start()].rstrip().endswith("*/"), match[3]
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("page", [name for name in OWN if name.endswith(".html")])
def test_the_page_has_no_code_of_its_own(page):
    """Else its Content-Security-Policy would have to allow such."""
    text = (STATIC / page).read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]+src=)", text)
