"""Paths of vector files as pyogrio takes them.

pyogrio reads a path as a URL: ``!`` ends the name of an archive, and ``;`` in the name of a file
begins parameters. GDAL itself has no such rules.
"""

import hashlib
import os
import re
import shutil
import tempfile
import threading
from contextlib import suppress
from multiprocessing.util import Finalize
from pathlib import Path

from network.errors import InputError
from network.rasters.source import is_remote

_LOCK = threading.Lock()
_LINKS: dict[int, Path] = {}
"""The folder of symbolic links of each process, by its number; a forked process has its own."""


def plain(path: Path) -> Path:
    """Give a path to a file that pyogrio takes for what it is.

    A path with ``!`` or ``;`` is reached by symbolic links, which go when the process ends.

    Args:
        path: a vector file. It may not exist yet if its name has none of these characters.

    Raises:
        InputError: links are needed and cannot be made, or the folder of temporary files has ``!``
            in its own path.
    """
    if is_remote(str(path)):
        return path
    if plain_name(path.name) != path.name:
        return _link_to_file(path.absolute())
    folder = path.absolute().parent
    if "!" not in str(folder):
        return path
    link = _links_to(folder) / "folder"
    _link(link, folder)
    return link / path.name


def plain_name(name: str) -> str:
    """Replace the characters that pyogrio does not take in the name of a file."""
    return re.sub("[;!]", "_", name)


def _link_to_file(path: Path) -> Path:
    folder = _links_to(path)
    for part in path.parent.iterdir():  # a Shapefile has several files, which may come later
        if part.name == path.name or part.name.startswith(f"{path.stem}."):
            _link(folder / plain_name(part.name), part)
    return folder / plain_name(path.name)


def _link(link: Path, target: Path) -> None:
    try:
        with suppress(FileExistsError):
            link.symlink_to(target)
    except OSError as error:
        raise _no_links(error) from error


def _links_to(path: Path) -> Path:
    """Make the folder of the links to a file or a folder."""
    with _LOCK:
        if os.getpid() not in _LINKS:
            try:
                made = Path(tempfile.mkdtemp(prefix="vectors_"))
            except OSError as error:
                raise _no_links(error) from error
            if "!" in str(made):
                made.rmdir()
                raise InputError(
                    made.parent, "has ! in its path, which readers of vectors refuse", "set TMPDIR"
                )
            # Only the process that has made it removes it, also one of multiprocessing.
            Finalize(None, shutil.rmtree, (made, True), exitpriority=0)
            _LINKS[os.getpid()] = made
    folder = _LINKS[os.getpid()] / hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)  # systems clean up temporary files of long runs
    except OSError as error:
        raise _no_links(error) from error
    return folder


def _no_links(error: OSError) -> InputError:
    return InputError(
        "TMPDIR",
        f"no link to a vector file with ! or ; in its path can be made there ({error})",
        "set it to a folder of a disk with space and links, or rename the file",
    )
