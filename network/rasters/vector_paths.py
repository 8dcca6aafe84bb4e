"""Paths of vector files as pyogrio takes them.

pyogrio reads a path as a URL: ``!`` ends the name of an archive, and ``;`` in the name of a file
begins parameters. GDAL itself has no such rules.
"""

import re
import tempfile
from functools import cache
from pathlib import Path

from network.rasters.source import is_remote


def plain(path: Path) -> Path:
    """Give a path to a file that pyogrio takes for what it is.

    A path with ``!`` or ``;`` is reached by symbolic links, which go when the process ends.

    Args:
        path: a vector file. It may not exist yet if its name has none of these characters.
    """
    if is_remote(str(path)):
        return path
    if plain_name(path.name) != path.name:
        return _link_to_file(path.absolute())
    if "!" in str(path.absolute().parent):
        return _link_to_folder(path.absolute().parent) / path.name
    return path


def plain_name(name: str) -> str:
    """Replace the characters that pyogrio does not take in the name of a file."""
    return re.sub("[;!]", "_", name)


@cache
def _links() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="vectors_")


@cache
def _link_to_folder(folder: Path) -> Path:
    link = Path(tempfile.mkdtemp(dir=_links().name)) / "folder"
    link.symlink_to(folder, target_is_directory=True)
    return link


@cache
def _link_to_file(path: Path) -> Path:
    folder = Path(tempfile.mkdtemp(dir=_links().name))
    for part in path.parent.iterdir():  # a Shapefile has several files
        if part.name == path.name or part.name.startswith(f"{path.stem}."):
            (folder / plain_name(part.name)).symlink_to(part)
    return folder / plain_name(path.name)
