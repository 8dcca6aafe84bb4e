"""What a contributor and a hosting site read: workflow, templates, hooks, pages of the folders."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

FOLDERS = {
    "data": ["vaihingen/", "potsdam/", "LoveDA/", "uavid/", "cloud/", "drone/", "demo/"],
    "model_weights": ["version_<n>/", "best.ckpt", "last.ckpt", "experiment.txt", "pretrained/"],
    "fig_results": ["weak/", "ablation/", "padding_study/", "demo/", "scores.json", "images.jsonl"],
    "lightning_logs": ["version_<n>/", "metrics.csv", "curves.png", "panel.png", "_resumed_<k>/"],
}


def load(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text())


def git(*args: str) -> list[str]:
    """Lines of git's output; the test is left out where the code is no clone."""
    done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True)
    if done.returncode > 1:
        pytest.skip("not a clone")
    return done.stdout.splitlines()


def test_the_workflow_runs_what_ci_runs():
    workflow = load(".github/workflows/tests.yml")
    steps = workflow["jobs"]["tests"]["steps"]
    assert ".ci/run" in [step.get("run") for step in steps]
    # YAML reads the key "on" as true.
    assert {"push", "pull_request"} <= workflow[True].keys()
    python = next(step["with"]["python-version"] for step in steps if "python" in step["uses"])
    assert f'requires-python = ">={python}"' in (ROOT / "pyproject.toml").read_text()


def test_ci_runs_the_tests():
    assert "make test" in (ROOT / ".ci/run").read_text().splitlines()


@pytest.mark.parametrize("name", ["bug", "question", "feature"])
def test_issue_forms(name):
    form = load(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert {"name", "description", "body"} <= form.keys()
    questions = [entry for entry in form["body"] if entry["type"] != "markdown"]
    assert all(entry["type"] in ("textarea", "input") for entry in questions)
    identifiers = [entry["id"] for entry in questions]
    assert len(set(identifiers)) == len(identifiers)
    assert all(entry["attributes"]["label"] for entry in questions)
    assert any(entry.get("validations", {}).get("required") for entry in questions)


def test_the_line_for_versions_works():
    """It is pasted into a shell as it stands in the form."""
    body = load(".github/ISSUE_TEMPLATE/bug.yml")["body"]
    about = next(e["attributes"]["description"] for e in body if e.get("id") == "versions")
    words = shlex.split(about.partition(": ")[2].partition("; git")[0])
    assert words[:2] == ["python", "-c"]
    done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=True)
    assert re.search(r"torch=\d.* timm=\d", done.stdout)


def test_hooks_use_the_pinned_ruff():
    """The version stands in pyproject.toml alone, and the hooks take what that installs."""
    hooks = {h["id"]: h for repo in load(".pre-commit-config.yaml")["repos"] for h in repo["hooks"]}
    for name in ("ruff-check", "ruff-format"):
        assert hooks[name]["entry"].startswith(".venv/bin/ruff ")
        assert hooks[name]["language"] == "system"
    assert {"end-of-file-fixer", "trailing-whitespace", "large-files"} <= hooks.keys()
    pins = re.findall(r"\bruff==[\d.]+", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert len(pins) == 1
    assert not re.search(r"ruff\S*\d+\.\d+", (ROOT / ".pre-commit-config.yaml").read_text())


@pytest.mark.parametrize("folder", FOLDERS)
def test_pages_of_the_folders(folder):
    """The page is tracked and names what lies there; nothing else in the folder is tracked."""
    page = (ROOT / folder / "README.md").read_text()
    assert [name for name in FOLDERS[folder] if name not in page] == []
    assert git("ls-files", folder) == [f"{folder}/README.md"]
    assert git("check-ignore", f"{folder}/README.md") == []
    others = [f"{folder}/x", f"{folder}/x/README.md"]
    assert git("check-ignore", *others) == others


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md"])
def test_targets_in_the_pages_exist(name):
    page, makefile = (ROOT / name).read_text(), (ROOT / "Makefile").read_text()
    targets = re.findall(r"make (test[-a-z]*|env|demo)\b", page)
    assert targets
    assert [t for t in targets if f"\n{t}:" not in makefile] == []
    paths = re.findall(r"`((?:tests|network)/[\w/.]+)`", page)
    assert [path for path in paths if not Path(ROOT, path).exists()] == []
