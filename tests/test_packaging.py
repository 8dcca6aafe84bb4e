"""The wheel holds what the library needs, and works without the repository around it."""

import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_wheel(tmp_path):
    # From a copy: setuptools leaves its folders beside the sources.
    source = tmp_path / "source"
    files = ["pyproject.toml", "requirements.txt", "README.md", "LICENSE", "network"]
    subprocess.run(["mkdir", source], check=True)
    subprocess.run(["cp", "-r", *(ROOT / name for name in files), source], check=True)
    # The environment's own setuptools: isolated, pip would fetch the same from the internet.
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", tmp_path]
    build = [sys.executable, "-m", "pip", "wheel", *options, source]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("bicor_seg-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "installed")
        (metadata,) = [archive.read(n).decode() for n in names if n.endswith("METADATA")]
    assert "network/py.typed" in names
    assert "network/reporting/templates/report.html" in names
    assert "network/datasets/checks/templates/contact_sheet.html" in names
    assert "network/export/templates/BicorPixelClassifier.py" in names
    assert "network/export/schemas/mlm-v1.5.2.json" in names
    static = ROOT / "network/serving/static"
    page = {path.relative_to(ROOT).as_posix() for path in static.rglob("*") if path.is_file()}
    assert "network/serving/static/leaflet/LICENSE" in page
    assert page <= set(names)
    assert not [name for name in names if not name.startswith(("network/", "bicor_seg-"))]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = [line.split()[0] for line in lines if line and line[0] != "#"]
    assert [pin for pin in pins if f"Requires-Dist: {pin}" not in metadata] == []
    code = "from network.predictor import Predictor; import network; print(network.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(str(tmp_path / "installed"))
