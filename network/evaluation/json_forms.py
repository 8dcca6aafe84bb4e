"""Conversion of JSON documents to checked objects."""

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError


def checked(form: Any, document: Any, where: str = "") -> Any:
    """Make an object of the type ``form`` from a JSON document; unknown entries are left out.

    Args:
        form: a dataclass, a pydantic model, or another type that pydantic knows.
        document: the content of a JSON file.
        where: name of the document in an error.

    Raises:
        ValueError: an entry is missing or has another type; the error names it.
    """
    try:
        # From JSON text, a strict check accepts a list for a tuple, but no text for a number.
        return TypeAdapter(form).validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, [*([where] if where else []), *first["loc"]]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from error
