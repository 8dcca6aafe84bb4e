"""Files and folders that are whole or not there, and folders that one process writes at a time.

A temporary file or folder lies beside its target and is called ``.NAME.partial-HOST-PID``. So it is
on the same disk, renaming it is atomic, and what a killed process left can be told from what a
living one is writing.
"""

import errno
import fcntl
import json
import os
import shutil
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from network.errors import InputError, warn
from network.failures import why_not_written

LOCK = ".lock"
_PARTIAL = ".partial-"
_HOST = socket.gethostname().replace("-", "_")
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


@contextmanager
def replacing(path: Path, *, sweep: bool = True) -> Iterator[Path]:
    """A temporary path beside the file ``path`` that takes its name when the block succeeds.

    It is on the disk before it takes the name. After an error, what bore the name is untouched and
    nothing is left behind.

    Args:
        sweep: first remove what killed processes have left of this file. A folder of many files
            is better swept once, see :func:`owned`.

    Raises:
        InputError: the file cannot be written (disk full, read-only, no permission).
    """
    if _is_in_partial(path):  # the folder takes its name as a whole
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield path
        return
    partial = beside(path, "partial")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if sweep:
                remove_leftovers(path.parent, stem_of(path.name))
            yield partial
            flush(partial)
            partial.replace(path)
            flush(path.parent)
    finally:
        with suppress(OSError):  # a read-only disk has nothing to remove
            partial.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what a disk refuses in this block into an :class:`InputError` that names ``path``."""
    try:
        yield
    except OSError as error:
        raise InputError(path, f"{why_not_written(error)}") from error


def beside(path: Path, role: str) -> Path:
    """A name beside ``path`` that tells this process: ``.NAME.ROLE-HOST-PID``."""
    return path.with_name(f"{stem_of(path.name)}.{role}-{_HOST}-{os.getpid()}")


def stem_of(name: str) -> str:
    """How names beside ``name`` begin: ``.NAME``, or so much that another ending still fits."""
    if len(os.fsencode(name)) <= 150:
        return f".{name}"
    return f".{name[:30]}-{zlib.crc32(os.fsencode(name)):08x}"


def _is_in_partial(path: Path) -> bool:
    return any(_PARTIAL in part and part.startswith(".") for part in path.parent.parts)


def remove_leftovers(folder: Path, stem: str = ".", *, everyone: bool = False) -> None:
    """Remove the temporary files and folders in ``folder`` whose processes are dead.

    Args:
        stem: of their names.
        everyone: also those of other hosts and of living processes: for the owner of the folder.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(stem):
                continue
            name, found, owner = entry.name.partition(_PARTIAL)
            if not found or (stem != "." and name != stem):
                continue
            if everyone or _is_dead(owner):
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def _is_dead(owner: str) -> bool:
    """Whether ``HOST-PID``, or ``PID`` as it once was, is a process of this machine that ended."""
    host, _, number = owner.rpartition("-")
    if host not in ("", _HOST) or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not known on every file system
            raise
    finally:
        os.close(descriptor)


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Let no other process write into ``folder``, which is made, while the block runs.

    The owner holds a lock of the system on ``.lock`` in it, which ends with its process, however
    that ends. What dead processes have left in the folder is removed. A folder that was made for
    nothing goes again.

    Raises:
        InputError: another process is writing there, or nobody can.
    """
    with locked(folder, folder / LOCK) as is_sure:
        for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
            remove_leftovers(path, everyone=is_sure)
        yield


@contextmanager
def locked(folder: Path, lock: Path) -> Iterator[bool]:
    """Let no other process that asks for ``lock``, a file, write ``folder`` while the block runs.

    The block is told whether that is sure: some disks know no locks.

    Raises:
        InputError: another process is writing there, or nobody can.
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
        with suppress(OSError):  # something was written
            for path in made:
                path.rmdir()


def is_unused(folder: Path) -> bool:
    """Whether a folder is not there, or holds nothing but what a killed owner has left."""
    names = os.listdir(folder) if folder.exists() else ()
    return all(name == LOCK or (name[0] == "." and _PARTIAL in name) for name in names)


def _acquire(lock: Path, folder: Path) -> tuple[int, bool]:
    """The descriptor of the file, in which its owner stands, and whether it could be locked."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            # Locks of this kind belong to the process: children that outlive it do not keep them.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                warn(f"{folder}: this disk knows no locks; start no second process that writes it")
                return descriptor, False
            owner = os.read(descriptor, 1000).decode(errors="replace").strip()
            os.close(descriptor)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise InputError(
                folder,
                f"{owner or 'another process'} is writing there",
                "wait until it has ended, or choose another folder",
            ) from error
        # The last owner may have removed the file between our opening and locking it.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                os.truncate(descriptor, 0)
                with suppress(OSError):  # on a full disk: who it is need not be known
                    name = f"process {os.getpid()} on {socket.gethostname()}\n"
                    os.write(descriptor, name.encode())
                return descriptor, True
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: it is no JSON, or nested deeper than anything that is written here.
        OSError: it cannot be read.
    """
    return parse_json(path.read_bytes())


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says; see :func:`read_json`."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
