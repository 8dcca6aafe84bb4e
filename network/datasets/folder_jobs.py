"""Safe replacement of folders, for tools that make new folders of images from others.

The inputs are never changed. An output folder is replaced as a whole or not at all. A file that
the tool did not write is never deleted.
"""

import glob
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import combinations
from pathlib import Path

from network.errors import InputError
from network.failures import why_not_written
from network.writing import beside, flush, locked, remove_leftovers, stem_of

_OF_VIEWERS = (".DS_Store", "Thumbs.db", "desktop.ini")
"""Files that file managers put into any folder that somebody has looked at."""


def check_folders(inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Check that the replacement of output folders deletes neither an input nor another output.

    Raises:
        InputError: an output is or contains an input, two outputs overlap, or an output is a file.
    """
    for output in outputs:
        if output.exists() and not output.is_dir():
            raise InputError(output, "is a file", "the output must be a folder")
        for source in inputs:
            if _contains(output, source):
                raise InputError(
                    output,
                    f"the output folder is or contains the input folder {source}, which "
                    "replacing it would delete",
                    "choose another output folder",
                )
    for one, other in combinations(outputs, 2):
        if _contains(one, other) or _contains(other, one):
            raise InputError(
                one,
                f"this output folder overlaps the output folder {other}",
                "give two separate folders",
            )


def _contains(outer: Path, inner: Path) -> bool:
    return inner.resolve().is_relative_to(outer.resolve())


def check_replaceable(folder: Path, is_ours: Callable[[Path], bool]) -> None:
    """Check that a folder, if it exists, holds only entries that the tool may delete.

    Args:
        folder: the folder to replace.
        is_ours: tells whether the tool made an entry of the folder.

    Raises:
        InputError: ``is_ours`` is false for an entry. The error names the first one.
    """
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name not in _OF_VIEWERS and not is_ours(path):
            raise InputError(
                path,
                "not made by this tool, which replaces the whole folder",
                "move it away or choose another output folder",
            )


def check_manifest(folder: Path, name: str, made_anew: Collection[str] = ()) -> None:
    """Check that a folder, if it exists, holds only files that its manifest lists.

    Args:
        folder: the folder to replace.
        name: file name of the manifest.
        made_anew: names of folders in it that may hold any files, since these can be made again.

    Raises:
        InputError: the folder is a file, or holds a file that is not in the manifest.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(folder, "is a file", "choose another output")
    manifest = folder / name
    text = manifest.read_text(encoding="utf-8", errors="replace") if manifest.is_file() else ""
    made = {name, *text.splitlines()}
    for path in folder.rglob("*"):
        is_folder, below = path.is_dir() and not path.is_symlink(), path.relative_to(folder)
        if not is_folder and below.parts[0] not in made_anew and below.as_posix() not in made:
            raise InputError(
                path,
                "not made by this tool, which replaces the whole folder",
                "move it away or choose another output",
            )


def write_manifest(folder: Path, name: str, files: Iterable[str]) -> None:
    """Write the manifest, a list of the files that a tool made, for :func:`check_manifest`.

    Args:
        folder: the folder of the files.
        name: file name of the manifest.
        files: paths in the folder.
    """
    (folder / name).write_text("\n".join(sorted(files)) + "\n", encoding="utf-8")


@contextmanager
def replacing_folders(*folders: Path) -> Iterator[list[Path]]:
    """Yield new, empty folders that together replace ``folders`` when the block succeeds.

    They are flushed to the disk before they are renamed. After an error or an interrupt, they are
    removed and the old folders are untouched. Leftovers of killed processes are removed first.

    Raises:
        InputError: a folder cannot be written (disk full, no permission), or another process is
            writing it.
    """
    # A link to a folder on another disk stays a link, and the folder behind it is replaced.
    folders = tuple(folder.resolve() for folder in folders)
    partials = [beside(folder, "partial") for folder in folders]
    with ExitStack() as locks, _naming(folders, partials):
        for folder in folders:
            locks.enter_context(locked(folder, folder.with_name(f"{stem_of(folder.name)}.lock")))
            _recover(folder)
        try:
            for partial in partials:
                partial.mkdir()
            yield partials
            os.sync()
            _switch(folders, partials)
        finally:
            for partial in partials:
                shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _naming(folders: Sequence[Path], partials: Sequence[Path]) -> Iterator[None]:
    """Turn errors of the disk into errors that name the final folder, not the temporary one."""
    try:
        yield
    except OSError as error:
        path = error.filename2 or error.filename
        if path is None:
            raise InputError(folders[0], f"{why_not_written(error)}") from error
        for folder, partial in zip(folders, partials, strict=True):
            if Path(path).is_relative_to(partial):
                where = folder / Path(path).relative_to(partial)
                raise InputError(where, f"{why_not_written(error)}") from error
            if Path(path) == folder:
                raise InputError(folder, f"{why_not_written(error)}") from error
        raise


def _recover(folder: Path) -> None:
    """Clean up what a killed process has left beside ``folder``, whose lock this process holds.

    If it was killed between its renames, the old folder has another name and gets its own back.
    """
    olds = sorted(folder.parent.glob(f"{glob.escape(stem_of(folder.name))}.old-*"))
    for old in olds:
        if folder.exists():
            _remove(old, folder)
        else:
            old.rename(folder)
    remove_leftovers(folder.parent, stem_of(folder.name), everyone=True)


def _switch(folders: Sequence[Path], partials: Sequence[Path]) -> None:
    """Give every temporary folder its final name; if one rename fails, undo all of them."""
    renamed: list[tuple[Path, Path]] = []
    replaced: list[tuple[Path, Path]] = []
    try:
        for folder, partial in zip(folders, partials, strict=True):
            if folder.is_dir():
                old = beside(folder, "old")
                folder.rename(old)
                renamed.append((old, folder))
                replaced.append((old, folder))
            partial.rename(folder)
            renamed.append((folder, partial))
    except BaseException:
        for now, before in reversed(renamed):
            now.rename(before)
        raise
    for parent in {folder.parent for folder in folders}:
        flush(parent)
    for old, folder in replaced:
        _remove(old, folder)


def _remove(old: Path, folder: Path) -> None:
    """Delete an old folder; it is renamed first, so a half-deleted one is never restored."""
    partial = beside(folder, "partial")
    old.rename(partial)
    shutil.rmtree(partial, ignore_errors=True)
