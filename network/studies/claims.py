"""The output folder of a study: it stores which study it holds, and refuses any other."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from network.errors import InputError
from network.writing import is_unused, read_json, replacing


def claim(output: Path, record: str, facts: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Reserve a folder for a study, or check that it belongs to this one.

    Args:
        output: the folder.
        record: name of the file in it that stores the facts, such as ``ablation.json``.
        facts: what makes the study; two studies with other facts cannot share a folder.
        defaults: facts of older folders that do not store them.

    Raises:
        InputError: the folder belongs to another study, or holds other files.
    """
    path, kind = output / record, Path(record).stem.replace("_", " ")
    own = json.loads(json.dumps(facts, default=str))  # the form that a reader of the file gets
    known = json.loads(json.dumps(defaults, default=str))
    if path.is_file():
        try:
            found = read_json(path)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise InputError(path, f"not the record of this {kind}", "choose another output")
        found = {key: default for key, default in known.items() if key in own} | found
        others = [key for key in (own | found) if own.get(key) != found.get(key)]
        if others:
            told = " and ".join(f"{key} {found.get(key)}, not {own.get(key)}" for key in others)
            raise InputError(
                output,
                f"holds another {kind} ({told})",
                "choose another output, or remove this one",
            )
        return
    if not is_unused(output):
        raise InputError(output, "holds other files", "choose another output")
    with replacing(path) as partial:
        partial.write_text(json.dumps(own, indent=2) + "\n")
