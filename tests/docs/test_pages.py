"""The pages: short lines, links that lead somewhere, commands and code that work."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from docs.command_lines import help_of, scripts
from tests.conftest import ROOT
from tests.docs.markdown import anchors, commands, inline_commands, links, split_page
from tests.docs.try_pages import Problem, check_command

PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
COLUMNS = 100
README_LINES = 180


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def test_readme_is_short():
    assert len(read("README.md").splitlines()) <= README_LINES


@pytest.mark.parametrize("page", PAGES)
def test_prose_wraps(page):
    prose, _ = split_page(read(page))
    # Tables, headings, pictures and lines of one word that is an address cannot wrap.
    lines = [line for line in prose if " " in line and not line.startswith(("|", "#", "!["))]
    assert [line for line in lines if len(line) > COLUMNS] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    prose, _ = split_page(read(page))
    for link in links(prose):
        name, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_site():
    navigation = read("mkdocs.yml").partition("\nnav:")[2]
    for page in PAGES[1:]:
        assert page.removeprefix("docs/") in navigation, page


@pytest.fixture(scope="module")
def problems(tmp_path_factory) -> dict[str, list[str]]:
    """What does not work, by page; tried in a copy of the repository."""
    copy = tmp_path_factory.mktemp("pages") / "copy"
    copy.mkdir()
    for name in ("network", "config", "tools", "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*ROOT.glob("*.py"), *ROOT.glob("*.txt"), ROOT / "Makefile", ROOT / "README.md"]:
        shutil.copy(path, copy)
    (copy / "tests").symlink_to(ROOT / "tests")
    result = subprocess.run(
        [sys.executable, "-m", "tests.docs.try_pages", "problems.json", *PAGES],
        cwd=copy,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads((copy / "problems.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_commands_and_code_work(problems, page):
    assert problems[page] == []


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("python tools/make_panels.py", "no such script"),
        ("python train.py -c config/demo/bicor.py --devises 2", "--devises"),
        ("python train.py -c config/demo/bicor.py --device 2", "--device"),
        ("python train.py -c config/demo/biocr.py", "no such config"),
        ("python train.py -c config/demo/bicor.py optim.lrr=1", "optim.lrr"),
        ("python train.py -c config/demo/bicor.py optim.epochs=many", "optim.epochs"),
        ("python test_custom.py -c config/demo/bicor.py", "-o/--output"),
        ("python tools/ablate.py layer -c config/demo/bicor.py", "invalid choice"),
        ("python tools/weak/run_chain.py -c config/weak/demo.py --work x cluster.k=2", "cluster.k"),
        ("make demos", "no such target"),
        ("curl http://127.0.0.1:8000/predicts", "no address /predicts"),
        ("pytest tests/models/test_bicor.py -k golder", "golder"),
    ],
)
def test_a_wrong_command_is_found(command, problem, monkeypatch):
    monkeypatch.chdir(ROOT)
    check_command(["python", "train.py", "-c", "config/demo/bicor.py", "--devices", "2"])
    with pytest.raises(Problem, match=problem):
        check_command(command.split())


def test_what_stands_in_a_page_is_found():
    loop = "for x in a b; do\n  python t.py --of $x \\\n    ${x}_images  # why\ndone\n"
    expected = ["python t.py --of a a_images", "python t.py --of b b_images", "make a", "make b"]
    assert [" ".join(words) for words in commands(loop + "make a && make b")] == expected
    prose = ["", "Type `python train.py -c x`, or", "`python SCRIPT --help`."]
    assert inline_commands(prose) == [(2, ["python", "train.py", "-c", "x"])]


def test_every_script_has_a_help():
    """Which the site shows."""
    for script in scripts():
        assert help_of(script).startswith(f"usage: python {script}")
