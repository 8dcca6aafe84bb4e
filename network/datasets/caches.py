"""Where files lie that are made from a data set and can be made again at any time."""

import hashlib
import os
from pathlib import Path

CACHE = ".bicor-seg"
"""Folder in a data set; its name is hidden, so nobody takes it for data."""


def cache_folder(root: Path, name: str = CACHE) -> Path:
    """Find the folder of such files: below the user's caches if the data are read-only.

    Args:
        root: root folder of the data.
        name: name of the folder in the root.
    """
    folder = root / name
    if os.access(folder if folder.is_dir() else root, os.W_OK):
        return folder
    digest = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return user_caches() / f"{root.resolve().name}-{digest}"


def user_caches() -> Path:
    """Return the folder of this project below the user's caches."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return caches / "bicor-seg"
