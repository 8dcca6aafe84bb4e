"""Parsing of the ``key=value`` words that change settings."""

import ast
import typing
from collections.abc import Sequence
from types import UnionType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from network.errors import InputError, nearest
from network.settings import fits, name_of_type, shortened

_NONE_IS_A_WORD_FOR = ("data.", "log.", "model.weights")
"""Settings for which people write ``none``; for others, such as ``loss.weights``, it is a value."""


def parse_overrides(overrides: Sequence[str], types: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Parse ``key=value`` words into values by section and name.

    A key without a dot is in the section ``""``.

    Args:
        overrides: the words.
        types: type of every key that can be overridden.

    Raises:
        InputError: an override is misspelled or has a value of the wrong type.

    Examples:
        >>> parse_overrides(["optim.lr=1e-4", "seed=7"], {"optim.lr": float, "seed": int})
        {'optim': {'lr': 0.0001}, '': {'seed': 7}}
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
    """Parse ``text`` as a value of the expected type."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text  # among what literal_eval raises: {[1]: 2}, and texts that are nested deeply
    kinds = typing.get_args(expected) if _is_union(expected) else (expected,)
    if value == "none" and type(None) in kinds and key.startswith(_NONE_IS_A_WORD_FOR):
        value = None
    takes_tuple = any(typing.get_origin(kind) is tuple for kind in kinds)
    if isinstance(value, int | float) and takes_tuple and not fits(value, expected):
        value = (value,)
    # Where a str is expected, the text stays as it is: root=0123 is a name, not a number.
    others = [kind for kind in kinds if kind is not str]
    if expected is str or (str in kinds and not isinstance(value, str)):
        value = value if any(fits(value, kind) for kind in others) else text
    try:
        return TypeAdapter(expected).validate_python(value)
    except ValidationError as error:
        raise InputError(
            f"override '{key}={shortened(text)}'", f"expected {name_of_type(expected)}"
        ) from error


def _is_union(expected: Any) -> bool:
    return typing.get_origin(expected) in (UnionType, typing.Union)
