"""Each script starts, from any folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import succeed
from tests.conftest import ROOT

SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (".", "tools", "tools/weak")
    for path in (ROOT / folder).glob("*.py")
    if path.name != "_project.py"
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("script", SCRIPTS)
def test_help(tmp_path, script):
    """It begins with the docstring of the script."""
    told = succeed(script, "--help", cwd=tmp_path)
    assert told.startswith(f"usage: {Path(script).name} ")
    assert (ROOT / script).read_text().splitlines()[0].strip('"') in told


@pytest.mark.parametrize("script", ["predict.py", "tools/benchmark.py", "tools/prepare_data.py"])
def test_real_start(tmp_path, script):
    """Without anything that is imported already; other tests start train.py and more so."""
    command = [sys.executable, str(ROOT / script), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")
    assert done.stderr == ""
