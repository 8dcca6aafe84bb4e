"""Names in every script stand in the figures, in fonts of the machine."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from network.evaluation.figure_fonts import save_figure
from tests.conftest import ROOT

DRAW = """
import sys
from pathlib import Path
from matplotlib.figure import Figure
from network.evaluation.figure_fonts import save_figure

for output in sys.argv[1:]:
    figure = Figure(figsize=(2, 2))
    figure.text(0.2, 0.2, "水", fontsize=72)
    figure.subplots().set_xticks([0], ["地"])
    save_figure(figure, Path(output))
"""


def draw(folder: Path, *outputs: str, **environment: str) -> str:
    """Draw water and ground in a process of its own; what it warns of."""
    own = {"MPLCONFIGDIR": str(folder / "mpl"), "XDG_DATA_HOME": str(folder / "share")}
    (folder / "mpl").mkdir(exist_ok=True)
    paths = [folder / output for output in outputs]
    command = [sys.executable, "-W", "error", "-c", DRAW, *paths]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | own | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert all(path.is_file() for path in paths)
    return "".join(line for line in done.stderr.splitlines(True) if "warning" in line.lower())


def build_font(path: Path) -> None:
    """A font in which water and ground are black squares, and nothing else is."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 1000), (1000, 1000), (1000, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square, empty = pen.glyph(), TTGlyphPen(None).glyph()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", "square"])
    font.setupCharacterMap({ord("水"): "square", ord("地"): "square"})
    font.setupGlyf({".notdef": empty, "square": square})
    font.setupHorizontalMetrics({".notdef": (500, 0), "square": (1000, 0)})
    font.setupHorizontalHeader(ascent=1000, descent=0)
    font.setupNameTable({"familyName": "Squares Sans", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    path.parent.mkdir(parents=True)
    font.save(path)


def ink(path: Path) -> int:
    return int((cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) < 128).sum())


@pytest.mark.slow
def test_letters_that_no_font_has_are_told_once(tmp_path):
    """Of two figures, and of all places in them, in one line."""
    told = draw(tmp_path, "a.png", "b.png", MPL_IGNORE_SYSTEM_FONTS="1")
    assert told == (
        "warning: no font of this machine has CJK letters, so figures show boxes; install one, as "
        "with apt-get install fonts-noto-core fonts-noto-cjk\n"
    )


@pytest.mark.slow
def test_a_font_that_was_installed_since(tmp_path):
    """Matplotlib has listed the machine's fonts before; nobody has to empty its cache."""
    draw(tmp_path, "boxes.png", MPL_IGNORE_SYSTEM_FONTS="1")
    build_font(tmp_path / "share/fonts/squares.ttf")
    assert draw(tmp_path, "letters.png") == ""
    assert ink(tmp_path / "letters.png") != ink(tmp_path / "boxes.png")


@pytest.mark.parametrize("name", ["US$ and A$_x", "$\\frac$", "$x$", "a^b"])
def test_dollars_are_no_mathematics(tmp_path, name):
    """They are drawn as they are; TeX that is none would end with an error."""
    sizes = []
    for written in (name, name.replace("$", "S").replace("\\", "/")):
        figure = Figure(figsize=(4, 2))
        axis = figure.subplots()
        axis.set_xticks([0], [written])
        axis.set_title(written)
        figure.legend(handles=[Patch(label=written)])
        save_figure(figure, tmp_path / "figure.png")
        sizes.append(axis.title.get_window_extent().width)
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_powers_of_ten_stay_powers(tmp_path):
    figure = Figure()
    axis = figure.subplots()
    axis.plot([1, 1e6])
    axis.set_yscale("log")
    save_figure(figure, tmp_path / "figure.png")
    labels = [label for label in axis.get_yticklabels() if label.get_text()]
    assert labels
    assert all(label.get_parse_math() for label in labels)
