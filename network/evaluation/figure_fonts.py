"""Writing of figures as PNG, in fonts that have the letters of all their texts."""

import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.font_manager import (
    FontEntry,
    FontPath,
    FontProperties,
    findfont,
    findSystemFonts,
    fontManager,
    get_font,
)
from matplotlib.text import Text

from network.errors import warn
from network.writing import replacing

REMEDY = "apt-get install fonts-noto-core fonts-noto-cjk"
"""Command for Debian and Ubuntu that installs the letters of almost every script."""

LAST_RESORT = "Last Resort"
"""Matplotlib's own font of boxes; it claims to have every letter."""


def save_figure(figure: Figure, output: Path, dpi: float = 110) -> None:
    """Write a figure as PNG; an incomplete file never has the final name.

    Letters that Matplotlib's font lacks, such as those of Chinese or Hindi class names, come from
    other fonts of this machine. Letters that no font has are shown as boxes, with one warning.

    Args:
        figure: the figure.
        output: the file.
        dpi: pixels of an inch of the figure.

    Raises:
        InputError: the file cannot be written.
    """
    with fonts_chosen(figure), replacing(output) as partial:
        figure.savefig(partial, format="png", dpi=dpi)


@contextmanager
def fonts_chosen(figure: Figure) -> Iterator[None]:
    """Give all texts of a figure fonts that have their letters, to draw or measure it in the block.

    Args:
        figure: the figure.
    """
    for axis in figure.get_axes():  # these calls fill in the texts of the labels
        axis.get_xticklabels()
        axis.get_yticklabels()
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    families, missing = _fallbacks(frozenset("".join(text.get_text() for text in texts)))
    for text in texts:
        text.set_fontfamily([*text.get_fontfamily(), *families])
        # A name may contain dollar signs; only the powers of ten at an axis are mathematics.
        text.set_parse_math("\\mathdefault" in text.get_text())
    if missing:
        _tell_once(_scripts(missing))
    with warnings.catch_warnings():
        # Matplotlib warns for each letter and place; the line above warns once.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


@cache
def _fallbacks(letters: frozenset[str]) -> tuple[list[str], set[str]]:
    """Find font families for the letters that the default font lacks.

    Returns:
        The families, and the letters that no font has.
    """
    visible = {letter for letter in letters if unicodedata.category(letter)[0] not in "CZ"}
    missing = visible - _letters_of(findfont(FontProperties()), visible)
    families: list[str] = []
    fonts = fontManager.ttflist if missing else []
    for find_more in (True, False):
        missing = _cover(missing, fonts, families)
        # Matplotlib remembers the fonts that were there when it was first used.
        fonts = _new_fonts() if missing and find_more else []
    return families, missing


def _cover(missing: set[str], fonts: Iterable[FontEntry], families: list[str]) -> set[str]:
    """Add to ``families`` until they cover the missing letters; return those no font has."""
    found: dict[str, set[str]] = {}
    for font in sorted(fonts, key=_rank):
        if font.name not in found and not font.name.startswith(LAST_RESORT):
            found[font.name] = _letters_of(FontPath(font.fname, font.index), missing)
    while missing and found:
        best = max(found, key=lambda name: len(found[name] & missing))  # the first of equals
        if not found[best] & missing:
            break
        families.append(best)
        missing = missing - found[best]
    return missing


def _rank(font: FontEntry) -> tuple:
    """Make a sort key: plain upright fonts without serifs first, and simplified Chinese first."""
    return (
        font.style != "normal" or font.variant != "normal",
        abs(int(font.weight) - 400) if str(font.weight).isdecimal() else 0,
        not any(word in font.name for word in ("Sans", "Hei", "Gothic")),
        any(word in font.name for word in ("Mono", "UI", "Display", "Condensed")),
        "CJK" in font.name and not font.name.endswith("SC"),
        font.name,
    )


def _letters_of(path: str, letters: Iterable[str]) -> set[str]:
    """Find out which of ``letters`` a font has."""
    try:
        font = get_font(path)
        return {letter for letter in letters if font.get_char_index(ord(letter))}
    except (OSError, RuntimeError):  # removed, or only of bitmaps
        return set()


def _new_fonts() -> list[FontEntry]:
    """Find fonts that were installed after Matplotlib made its list, and add them to the list."""
    known = {font.fname for font in fontManager.ttflist}
    before = len(fontManager.ttflist)
    for path in findSystemFonts():
        if path not in known:
            try:
                fontManager.addfont(path)
            except (OSError, RuntimeError, ValueError):  # none that Matplotlib can draw
                continue
    return fontManager.ttflist[before:]


def _scripts(letters: Iterable[str]) -> str:
    """Name the scripts of letters as Unicode does, such as ``CJK and DEVANAGARI``."""
    names = {unicodedata.name(letter, "unnamed").split()[0] for letter in letters}
    return " and ".join(sorted(names))


@cache
def _tell_once(scripts: str) -> None:
    warn(
        f"no font of this machine has {scripts} letters, so figures show boxes; "
        f"install one, as with {REMEDY}"
    )
