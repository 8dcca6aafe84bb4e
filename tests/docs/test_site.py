"""The site builds strictly, and its pages fetch nothing from the network."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytest.importorskip("mkdocs", reason="pip install -e '.[docs]'")
FETCHED = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?https?://")

pytestmark = pytest.mark.slow


def test_site(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    pages = list(tmp_path.glob("*.html"))
    assert len(pages) > 15
    assert [page.name for page in pages if FETCHED.search(page.read_text(encoding="utf-8"))] == []
    commands = (tmp_path / "commands.html").read_text(encoding="utf-8")
    assert commands.count("usage: python ") > 20
    # The site has neither the modules that build its pages, nor their compiled files.
    assert not [path for path in tmp_path.rglob("*") if ".py" in path.suffix or "__" in path.name]
    assert "BiCoRSeg" in (tmp_path / "api.html").read_text(encoding="utf-8")
