"""Explanations of failures outside this project: full disks, full memory, killed workers.

Only known failures are explained. Any other error is most likely a bug of this project, so its
traceback is kept for a bug report.
"""

import errno
import os
import re
import zipfile
import zlib
from collections.abc import Iterator

DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
"""Errors that Python raises for a damaged zip file; an ``.npz`` file is one. A wrong byte may claim
a password (RuntimeError) or an unknown version (NotImplementedError, a kind of it)."""

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or ask for a larger quota",
    errno.EROFS: "choose a folder on a disk that is not read-only",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.ENAMETOOLONG: "choose a shorter name",
}
_OF_READING = {
    errno.EACCES: "get permission for it, or choose another place",
    errno.EPERM: "get permission for it, or choose another place",
    errno.EMFILE: "raise the limit with 'ulimit -n 65536', or give fewer data.workers",
    errno.ENFILE: "raise the machine's limit of open files, or give fewer data.workers",
    errno.EIO: "the disk or the network is failing; check it, then try again",
    errno.ESTALE: "the network disk was lost; mount it again",
    errno.EPIPE: "the program that read the output has ended",
}
_MISTAKES = (errno.EBADF, errno.ESRCH, errno.ECHILD)
"""Errors of a wrong descriptor or process: these are bugs, not failures of the machine."""

LESS_MEMORY = (
    "give a smaller data.batch_size or data.crop, fewer data.workers, smaller images, or predict "
    "in smaller patches (-p)"
)
LOST_PEER = (
    "another process of this training has ended, or cannot be reached (its own output says why, "
    "unless it was killed); go on with --resume"
)
LESS_SHARED = "give data.workers=0, or more shared memory (docker run --shm-size=8g)"


def explain(error: BaseException) -> str | None:
    """Explain a known failure of the machine in one line; return None for any other error.

    Errors that a library has wrapped are unwrapped first: the cause of an exception, and an error
    of a DataLoader worker.
    """
    for one in _causes(error):
        for rule in (_lost_peer, _workers, _memory, _compiler, _system):
            line = rule(one)
            if line:
                return " ".join(line.split())
    return None


def is_lost_peer(error: BaseException) -> bool:
    """Tell whether an error only says that another process of the training has ended."""
    return any(_lost_peer(one) for one in _causes(error))


def is_terminated_worker(error: BaseException) -> bool:
    """Tell whether a DataLoader worker may have been ended together with its whole job."""
    # torch writes one of the two, depending on what it notices first.
    ways = ("killed by signal: Terminated", "exited unexpectedly")
    return any(way in str(one) for one in _causes(error) for way in ways)


def why_not_written(error: OSError) -> str:
    """Say why a disk refused to write, and what the user can do."""
    remedy = None if error.errno is None else _REMEDIES.get(error.errno)
    return f"cannot be written ({error.strerror or error})" + (f"; {remedy}" if remedy else "")


def _causes(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__


def _name_and_text(error: BaseException) -> tuple[str, str]:
    """Return class name and message of an error; a DataLoader worker's traceback is cut off."""
    name, text = type(error).__name__, str(error)
    if re.match(r"Caught \w+ in DataLoader worker", text):
        last = re.split(r"^ .*\n", text, flags=re.MULTILINE)[-1].strip()  # frames are indented
        qualified, _, text = last.partition(": ")
        name = qualified.rpartition(".")[2]
    return name, text


def _lost_peer(error: BaseException) -> str | None:
    """Explain that another process has ended.

    gloo, NCCL and torch's key-value store report this in different words.
    """
    name, text = _name_and_text(error)
    is_gloo = "gloo" in text and any(
        words in text.lower()
        for words in ("closed by peer", "reset by peer", "broken pipe", "timed out", "connect")
    )
    is_nccl = name == "DistBackendError" and any(
        words in text for words in ("ncclRemoteError", "ncclSystemError", "remote process exited")
    )
    is_store = name in ("DistNetworkError", "DistStoreError")
    if is_gloo or is_nccl or is_store:
        return LOST_PEER
    return None


def _workers(error: BaseException) -> str | None:
    """Explain failures of DataLoader workers, which send their results through /dev/shm."""
    _, text = _name_and_text(error)
    is_shared = "shared memory" in text or "/torch_" in text
    if "items of ancdata" in text or (is_shared and "Too many open files" in text):
        return f"too many open files; {_OF_READING[errno.EMFILE]}"
    if "killed by signal: Bus error" in text or (
        is_shared and re.search(r"unable to|No space left|Cannot allocate", text)
    ):
        return f"the data workers are out of shared memory (/dev/shm); {LESS_SHARED}"
    if re.search(r"DataLoader worker .*(killed by signal|exited unexpectedly)", text):
        return (
            "a data worker was killed, most likely for lack of memory; give fewer "
            "data.workers (0 for none), or a smaller data.batch_size or data.crop"
        )
    return None


def _memory(error: BaseException) -> str | None:
    name, text = _name_and_text(error)
    first = text.splitlines()[0] if text else ""
    wanted = re.search(
        r"(?:tried|unable|failed) to allocate ([\d.]+ ?(?:bytes|[KMGTP]iB))", text, re.IGNORECASE
    )
    amount = f" ({_in_gib(wanted[1])} more were wanted)" if wanted else ""
    if name == "OutOfMemoryError" or "CUDA out of memory" in text or "ALLOC_FAILED" in text:
        return f"the memory of the GPU is full{amount}; {LESS_MEMORY}"
    is_full = (
        name.endswith("MemoryError")
        or "can't allocate memory" in text
        or "Insufficient memory" in first  # OpenCV
        or "std::bad_alloc" in text
        or _errno(error) == errno.ENOMEM
    )
    return f"the memory of this machine is full{amount}; {LESS_MEMORY}" if is_full else None


def _in_gib(amount: str) -> str:
    """Write an amount of memory in GiB if it is given in bytes, as torch does on CPUs."""
    number, _, unit = amount.partition(" ")
    return f"{int(number) / 2**30:.3g} GiB" if unit == "bytes" else amount


def _compiler(error: BaseException) -> str | None:
    _, text = _name_and_text(error)
    if "InvalidCxxCompiler" in text or "No working C++ compiler" in text:
        return (
            "compute.compile=True needs a C++ compiler; install one (apt-get install g++), or "
            "leave it out"
        )
    if "Failed to find C compiler" in text:  # Triton, on GPUs
        return (
            "compute.compile=True needs a C compiler; install one (apt-get install gcc), or "
            "leave it out"
        )
    if "CppCompileError" in text:
        return (
            "compute.compile=True: the C++ compiler failed, for example because Python's headers "
            "are missing (apt-get install g++ python3-dev); install them, or leave it out"
        )
    return None


def _errno(error: BaseException) -> int | None:
    if not isinstance(error, OSError):
        return None
    if error.errno is not None:
        return error.errno
    found = re.search(r"\[Errno (\d+)\]", _name_and_text(error)[1])  # of a DataLoader worker
    return int(found[1]) if found else None


def _system(error: BaseException) -> str | None:
    """Explain what the operating system refuses because of disks, permissions or limits."""
    number = _errno(error)
    if number is None or number in _MISTAKES or not isinstance(error, OSError):
        return None
    named = re.search(r"\[Errno \d+\] [^:']*: '([^']+)'", _name_and_text(error)[1])
    where = error.filename2 or error.filename or (named[1] if named else None)
    if isinstance(where, bytes):
        where = os.fsdecode(where)
    reason = os.strerror(number)
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG):
        place = where or "a file of this command"
        return f"{place}: {why_not_written(OSError(number, reason))}"
    remedy = f"; {_OF_READING[number]}" if number in _OF_READING else ""
    return f"{where or 'the system refuses'}: {reason}{remedy}"
