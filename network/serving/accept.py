"""Content negotiation: which of the offered types a request wants most."""

from collections.abc import Sequence


def choose(accept: str, offered: Sequence[str]) -> str | None:
    """Choose the type of an answer (RFC 9110, section 12.5.1).

    Of several types with the same quality, the one that is offered first is taken.

    Args:
        accept: the header ``Accept``; empty if the request has none.
        offered: media types that can be given, the usual one first.

    Returns:
        The chosen type; None if none of them is wanted.

    Examples:
        >>> choose("image/tiff;q=0.5, application/*", ["image/png", "application/geo+json"])
        'application/geo+json'
        >>> choose("text/html", ["image/png"]) is None
        True
    """
    ranges = [_parsed(part) for part in accept.split(",") if part.strip()] or [("*/*", 1.0)]
    found = [(_quality(kind, ranges), -number, kind) for number, kind in enumerate(offered)]
    quality, _, kind = max(found)
    return kind if quality > 0 else None


def _parsed(part: str) -> tuple[str, float]:
    """Split ``image/png;q=0.5`` into the range and its quality, which is 0 if it is no number."""
    kind, *parameters = (word.strip().lower() for word in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return kind, quality


def _quality(kind: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Find the quality of a type: the most exact range that covers it counts."""
    family = f"{kind.partition('/')[0]}/*"
    for pattern in (kind, family, "*/*"):
        fitting = [quality for name, quality in ranges if name == pattern]
        if fitting:
            return max(fitting)
    return 0.0
