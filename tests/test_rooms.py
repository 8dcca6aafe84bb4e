"""The plan of the rooms: imports go down, never up and never in a circle."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from PIL import Image

from docs.rooms import FLOORS, PICTURE, plan
from tests.conftest import ROOT

# What stands below a room and is still none of its business.
APART = {"models": {"datasets", "rasters"}, "losses": {"datasets", "rasters"}}

FILES = sorted((ROOT / "network").rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imports(path: Path) -> Iterator[str]:
    """Modules of the project that a file imports, in functions and for types alone too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name for name in inner if name in MODULES]
            yield from found
            if len(found) < len(inner):
                yield node.module


GRAPH = {name: sorted(set(imports(path)) - {name}) for name, path in MODULES.items()}


def room(module: str) -> str:
    return module.split(".")[1]


def test_every_room_has_its_floor():
    rooms = {room(name) for name in MODULES if name != "network"}
    # A floor that is named ahead of its room would hide a misspelled one.
    assert {name for floor in FLOORS for name in floor} == rooms


def test_the_picture_shows_the_floors():
    with Image.open(PICTURE) as picture:
        assert picture.info["Description"] == plan()


def test_no_circle():
    tuple(TopologicalSorter(GRAPH).static_order())


@pytest.mark.parametrize("module", [name for name in MODULES if name != "network"])
def test_imports_go_down(module):
    height = {name: number for number, floor in enumerate(FLOORS) for name in floor}
    own = room(module)
    for imported in GRAPH[module]:
        other = room(imported)
        assert other == own or height[other] < height[own], f"{module} imports {imported}"
        assert other not in APART.get(own, ()), f"{module} imports {imported}"


def test_only_command_lines_parse_arguments():
    users = {room(name) for name, path in MODULES.items() if "argparse" in path.read_text()}
    assert users == {"commands"}


def test_data_sets_do_not_know_the_trainer():
    for name, path in MODULES.items():
        if room(f"{name}.") in ("datasets", "rasters", "models", "losses", "points"):
            assert not re.search(r"^\s*(import|from) (pytorch_)?lightning", path.read_text(), re.M)


def test_tests_mirror_the_rooms():
    """A folder of tests is that of a room; files on the ground floor have their test beside it."""
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    known = {ROOT / "tests" / path.parent.relative_to(ROOT / "network") for path in FILES}
    # Tests of whole commands, of damage to files and processes, and of pages in a browser.
    known |= {ROOT / "tests" / name for name in ("browser", "docs", "faults", "tools")}
    assert folders <= known
