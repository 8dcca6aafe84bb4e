"""Writing of files and folders that are complete or absent, by one process at a time.

A temporary file or folder lies beside its target and is called ``.NAME.partial-HOST-PID``. It is on
the same disk, so renaming it is atomic. Its name tells whether its process still runs or was
killed.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from network.errors import InputError, warn
from network.failures import why_not_written

LOCK = ".lock"
_PARTIAL = ".partial-"
_HOST = socket.gethostname().replace("-", "_")
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


class Unwritable(InputError):
    """The error for a file or folder that the disk refuses to take."""


class Busy(InputError):
    """The error for a folder into which another process is writing."""


@contextmanager
def replacing(path: Path, *, sweep: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside a file, and rename it to the file when the block succeeds.

    The temporary file is flushed to the disk before it is renamed. After an error it is removed,
    and an older file of the name is untouched.

    Args:
        path: the file to write.
        sweep: whether to remove first what killed processes have left of this file. In a folder of
            many files, :func:`owned` does this once for all.

    Raises:
        InputError: the file cannot be written (disk full, read-only, no permission).
    """
    with replacing_together(path, (), sweep=sweep) as (partial, _):
        yield partial


@contextmanager
def replacing_together(
    path: Path, companions: Sequence[Path], *, sweep: bool = True
) -> Iterator[tuple[Path, list[Path]]]:
    """Yield temporary paths of a file and of those that belong to it, see :func:`replacing`.

    No two files can be renamed at once. So an older file is removed before the first companion gets
    its name, and the new one gets its name last. A process that is killed between leaves no file,
    rather than one without its companions or with those of another.

    Args:
        path: the file.
        companions: what it needs, or what tells of it.
        sweep: see :func:`replacing`.

    Raises:
        InputError: a file cannot be written.
    """
    targets = [*companions, path]
    if _is_in_partial(path):  # the whole folder is renamed later
        with writing(path):
            for target in targets:
                target.parent.mkdir(parents=True, exist_ok=True)
            yield path, list(companions)
        return
    partials = [beside(target, "partial") for target in targets]
    try:
        with writing(path):
            for target in targets:
                target.parent.mkdir(parents=True, exist_ok=True)
                if sweep:
                    remove_leftovers(target.parent, stem_of(target.name))
            yield partials[-1], partials[:-1]
            for partial in partials:
                flush(partial)
            if companions:
                path.unlink(missing_ok=True)
                flush(path.parent)
            for partial, target in zip(partials, targets, strict=True):
                partial.replace(target)
                flush(target.parent)
    finally:
        for partial in partials:
            with suppress(OSError):  # a read-only disk has nothing to remove
                partial.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the disk in this block into :class:`Unwritable`, which names ``path``."""
    try:
        yield
    except OSError as error:
        raise Unwritable(path, f"{why_not_written(error)}") from error


def unwritable(path: Path, reason: object) -> Unwritable:
    """Make the error for a file that a library could not write, which seldom says why.

    Args:
        path: the file.
        reason: what the library says.
    """
    disk = os.statvfs(path.parent)
    return Unwritable(
        path,
        f"cannot be written ({reason}); {disk.f_bavail * disk.f_frsize / 1e6:.0f} MB are free on "
        "its disk",
        "free some space, or choose another output",
    )


def beside(path: Path, role: str) -> Path:
    """Make a path beside ``path`` that names this process: ``.NAME.ROLE-HOST-PID``."""
    return path.with_name(f"{stem_of(path.name)}.{role}-{_HOST}-{os.getpid()}")


def stem_of(name: str) -> str:
    """Return ``.NAME``, with which temporary names begin; a long name is cut and gets a hash."""
    if len(os.fsencode(name)) <= 150:
        return f".{name}"
    return f".{name[:30]}-{zlib.crc32(os.fsencode(name)):08x}"


def _is_in_partial(path: Path) -> bool:
    return any(_PARTIAL in part and part.startswith(".") for part in path.parent.parts)


def remove_leftovers(
    folder: Path, stem: str = ".", *, everyone: bool = False, role: str = "partial"
) -> None:
    """Remove the temporary files and folders in ``folder`` whose processes are dead.

    Args:
        folder: where to look; its subfolders are not searched.
        stem: how their names begin, see :func:`stem_of`; by default all of them are removed.
        everyone: whether to remove also those of other hosts and of living processes. Only the
            owner of the folder may do this.
        role: the role in their names, see :func:`beside`.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(stem):
                continue
            name, found, owner = entry.name.partition(f".{role}-")
            if not found or (stem != "." and name != stem):
                continue
            if everyone or _is_dead(owner):
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def _is_dead(owner: str) -> bool:
    """Tell whether an owner is a process of this machine that has ended.

    The owner has the form ``HOST-PID``, or the form ``PID`` of older code.
    """
    host, _, number = owner.rpartition("-")
    number = number.partition(".")[0]  # GDAL adds endings for files of its own
    if host not in ("", _HOST) or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def flush(path: Path) -> None:
    """Wait until the content of a file, or the list of names in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems lack fsync
            raise
    finally:
        os.close(descriptor)


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Make a folder and let no other process write into it while the block runs.

    The owner holds a lock of the system on the file ``.lock`` in it. The lock ends with its
    process, even if that is killed. Temporary files of dead processes are removed. If the block
    writes nothing, a new folder is removed again.

    Raises:
        InputError: another process is writing there, or the disk refuses to write.
    """
    with locked(folder, folder / LOCK) as is_sure:
        for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
            remove_leftovers(path, everyone=is_sure)
        yield


@contextmanager
def locked(folder: Path, lock: Path) -> Iterator[bool]:
    """Hold a lock on a folder while the block runs, so no other process writes into it.

    Yields whether the lock is held for sure, since some disks know no locks.

    Args:
        folder: the folder to protect, for the error.
        lock: the file to lock. It is made, with its folders, and removed at the end.

    Raises:
        Busy: another process is writing there.
        InputError: the disk refuses to write.
    """
    made = [path for path in lock.parents if not path.exists()]
    with writing(folder):
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor, is_sure = _acquire(lock, folder)
    try:
        yield is_sure
    finally:
        with suppress(OSError):  # its folder may be gone
            lock.unlink()
        os.close(descriptor)
        with suppress(OSError):  # the folder is not empty, so it stays
            for path in made:
                path.rmdir()


def is_unused(folder: Path) -> bool:
    """Tell whether a folder is absent, or holds only what a killed process has left."""
    names = os.listdir(folder) if folder.exists() else ()
    return all(name == LOCK or (name[0] == "." and _PARTIAL in name) for name in names)


def _acquire(lock: Path, folder: Path) -> tuple[int, bool]:
    """Open and lock a file and write the owner into it; return its descriptor and success."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            # Such a lock belongs to this process alone; children that outlive it do not keep it.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                warn(f"{folder}: this disk has no locks; start no second process that writes there")
                return descriptor, False
            owner = os.read(descriptor, 1000).decode(errors="replace").strip()
            os.close(descriptor)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise Busy(
                folder,
                f"{owner or 'another process'} is writing there",
                "wait until it has ended, or choose another folder",
            ) from error
        # The last owner may have removed the file between our opening and locking it.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                os.truncate(descriptor, 0)
                with suppress(OSError):  # a full disk: the lock works without the owner's name
                    name = f"process {os.getpid()} on {socket.gethostname()}\n"
                    os.write(descriptor, name.encode())
                return descriptor, True
        os.close(descriptor)


def file_hash(*paths: Path) -> str:
    """Compute the SHA-256 of a file, or of several files in a row, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: the text is no JSON, or is nested too deep.
        OSError: the file cannot be read.
    """
    return parse_json(path.read_bytes())


def parse_json(text: str | bytes) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: the text is no JSON, or is nested too deep.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
