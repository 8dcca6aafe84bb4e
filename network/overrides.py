"""Settings that are changed by ``key=value`` words."""

import ast
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from network.errors import InputError, nearest
from network.settings import shortened


def parse_overrides(overrides: Sequence[str], types: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """``key=value`` words as values by section and name; the section of a plain key is ``""``.

    Args:
        types: of every key that can be overridden.

    Raises:
        InputError: an override is misspelt or has a value of the wrong type.
    """
    values: dict[str, dict[str, Any]] = {}
    for word in overrides:
        key, equals, text = word.partition("=")
        if not equals:
            raise InputError(
                f"override '{shortened(word)}'", "expected key=value, e.g. data.batch_size=4"
            )
        if key not in types:
            known = nearest(key, types)
            raise InputError(
                f"override '{shortened(word)}'", f"unknown key '{shortened(key)}'{known}"
            )
        section, _, name = key.rpartition(".")
        values.setdefault(section, {})[name] = _parse(key, text, types[key])
    return values


def _parse(key: str, text: str, expected: Any) -> Any:
    """``text`` as a value of the type that ``key`` has."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if isinstance(value, int | float) and typing.get_origin(expected) is tuple:
        value = (value,)
    try:
        # A word stays a word: root=0123 is no number.
        adapter = TypeAdapter(expected)
        return adapter.validate_python(text if expected is str else value)
    except ValidationError as error:
        name = (
            getattr(expected, "__name__", str(expected)) if isinstance(expected, type) else expected
        )
        raise InputError(f"override '{key}={shortened(text)}'", f"expected {name}") from error
