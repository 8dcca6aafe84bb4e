"""Provenance of patches and points: a record and checksums that are stored beside them."""

import json
import re
from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np

from network.datasets.files import encode, write_content
from network.errors import InputError
from network.writing import read_json, replacing

PROVENANCE_FILE = "patch_split.json"
CHECKSUMS_FILE = "patch_split.sha256"
"""File of the checksums; the command ``sha256sum -c patch_split.sha256`` checks a folder."""

_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)")
# sha256sum writes these characters so, and marks such a line.
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}


def write_hashed(path: Path, image: np.ndarray) -> str:
    """Write labels (h, w) or RGB (h, w, 3) uint8 and return the SHA-256 of the file.

    Raises:
        InputError: the file cannot be written (disk full, no permission).
    """
    content = encode(image, path.suffix)
    write_content(path, content)
    return sha256(content).hexdigest()


def write_provenance(folder: Path, record: dict[str, Any], checksums: Mapping[str, str]) -> None:
    """Write the record of how the files of a folder were made, and their checksums.

    Args:
        folder: the folder of the files.
        record: the facts to store, as JSON.
        checksums: SHA-256 of each file by its path in ``folder``.

    Raises:
        InputError: the files cannot be written (disk full, no permission).
    """
    text = json.dumps(record, indent=2) + "\n"
    checksums = {**checksums, PROVENANCE_FILE: sha256(text.encode()).hexdigest()}
    lines = "".join(_line(name, checksums[name]) for name in sorted(checksums))
    for name, content in ((PROVENANCE_FILE, text), (CHECKSUMS_FILE, lines)):
        with replacing(folder / name, sweep=False) as partial:
            partial.write_text(content, encoding="utf-8", newline="\n")


def is_provenance(path: Path) -> bool:
    """Tell whether a path has the name of a file that :func:`write_provenance` writes."""
    return path.name in (PROVENANCE_FILE, CHECKSUMS_FILE)


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """Read the record of how the files of a folder were made; None if there is no record.

    GeoSeg's tools write no record. Read the label kind and the padding policy of masks from the
    mask folder, since the image folder may have been written again with other masks.

    Raises:
        InputError: the record is damaged.
    """
    path = folder / PROVENANCE_FILE
    try:
        provenance = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: unreadable ({error}); cut the patches again") from error
    if not isinstance(provenance, dict):
        raise InputError(f"{path}: not a JSON object; cut the patches again")
    return provenance


def changed_files(folder: Path) -> list[Path]:
    """List the files of a folder that are missing or do not match their checksum.

    The list is empty if the folder has no checksums.

    Raises:
        InputError: the checksums are damaged, or a file cannot be read.
    """
    path = folder / CHECKSUMS_FILE
    try:
        lines = path.read_bytes().decode().rstrip("\n").split("\n")
        checksums = dict(map(_parse, lines))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: unreadable ({error}); make the folder again") from error
    return [folder / name for name in checksums if _checksum(folder / name) != checksums[name]]


def _checksum(path: Path) -> str | None:
    """Compute the SHA-256 of a file; None if it is missing."""
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(
            f"{path}: unreadable ({error.strerror}); look after the disk, or make the folder again"
        ) from error


def _line(name: str, checksum: str) -> str:
    escaped = re.sub(r"[\\\n\r]", lambda match: _ESCAPES[match[0]], name)
    mark = "" if escaped == name else "\\"
    return f"{mark}{checksum}  {escaped}\n"


def _parse(line: str) -> tuple[str, str]:
    """Split a line of sha256sum into the file's name and its checksum."""
    match = _LINE.fullmatch(line)
    if not match:
        raise ValueError(f"no line of sha256sum: {line[:50]!r}")
    mark, checksum, name = match.groups()
    if mark:
        originals = {escaped: character for character, escaped in _ESCAPES.items()}
        name = re.sub(r"\\.", lambda match: originals.get(match[0], match[0]), name)
    return name, checksum


# GeoSeg's tools write the same names, without the provenance file.
_PATCH_NAME = re.compile(r"(.+?)_[012]_\d+(_[0-3])?")


def tile_of_patch(name: str) -> str | None:
    """Find the name of the tile from which a patch was cut.

    Args:
        name: name of the patch without suffix.

    Returns:
        The name of the tile; None if it is not the name of a patch.
    """
    match = _PATCH_NAME.fullmatch(name)
    return match[1] if match else None
