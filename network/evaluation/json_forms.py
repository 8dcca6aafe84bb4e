"""From what a JSON file holds to a checked object."""

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError


def checked(form: Any, document: Any, where: str = "") -> Any:
    """An object of the type ``form`` with the facts of a JSON document; other facts are left out.

    Args:
        form: a dataclass, a model of pydantic, or another type that it knows.
        document: what a JSON file holds.
        where: what to call the document in an error.

    Raises:
        ValueError: a fact is missing or of another type; it says which.
    """
    try:
        # As JSON again: lists then are tuples where the form says so, and still no text a number.
        return TypeAdapter(form).validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, [*([where] if where else []), *first["loc"]]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from error
