"""Figures as PNG, in fonts that have the letters of every name in them."""

import unicodedata
import warnings
from collections.abc import Iterable
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
"""What has the letters of almost every script, on Debian and Ubuntu."""

LAST_RESORT = "Last Resort"
"""Matplotlib's own font of boxes; it claims to have every letter."""


def save_figure(figure: Figure, output: Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Letters that Matplotlib's font lacks, such as those of Chinese or Hindi class names, come from
    other fonts of this machine. Where there is none they are boxes, and a warning says so once.

    Raises:
        InputError: the file cannot be written.
    """
    for axis in figure.get_axes():  # their labels have no text before that
        axis.get_xticklabels()
        axis.get_yticklabels()
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    families, missing = _fallbacks(frozenset("".join(text.get_text() for text in texts)))
    for text in texts:
        text.set_fontfamily([*text.get_fontfamily(), *families])
        # A name may have dollars in it; only the powers of ten at an axis are mathematics.
        text.set_parse_math("\\mathdefault" in text.get_text())
    if missing:
        _tell_once(_scripts(missing))
    with replacing(output) as partial, warnings.catch_warnings():
        # Of each letter and each place it is drawn at; the line above says it once.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(partial, format="png", dpi=110)


@cache
def _fallbacks(letters: frozenset[str]) -> tuple[list[str], set[str]]:
    """The families that have the letters which the default font lacks, and those that none has."""
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
    """Add families of ``fonts`` until they have all letters, or all that any has; the rest."""
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
    """Plain upright letters without serifs first; of the Han fonts, those of simplified Chinese."""
    return (
        font.style != "normal" or font.variant != "normal",
        abs(int(font.weight) - 400) if str(font.weight).isdigit() else 0,
        not any(word in font.name for word in ("Sans", "Hei", "Gothic")),
        any(word in font.name for word in ("Mono", "UI", "Display", "Condensed")),
        "CJK" in font.name and not font.name.endswith("SC"),
        font.name,
    )


def _letters_of(path: str, letters: Iterable[str]) -> set[str]:
    """Those of ``letters`` that a font has."""
    try:
        font = get_font(path)
        return {letter for letter in letters if font.get_char_index(ord(letter))}
    except (OSError, RuntimeError):  # removed, or only of bitmaps
        return set()


def _new_fonts() -> list[FontEntry]:
    """Fonts that were installed after Matplotlib listed them, made known to it."""
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
    """What Unicode calls their scripts, such as ``CJK and DEVANAGARI``."""
    names = {unicodedata.name(letter, "unnamed").split()[0] for letter in letters}
    return " and ".join(sorted(names))


@cache
def _tell_once(scripts: str) -> None:
    warn(
        f"no font of this machine has {scripts} letters, so figures show boxes; "
        f"install one, as with {REMEDY}"
    )
