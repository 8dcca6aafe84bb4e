"""Decoded patches in memory or on a disk, for the epochs after the first.

All patches of a training lie one after another in one memory map, in which every process finds them
by the same numbers. In front of them is a table with the state of the files that each patch comes
from, and a checksum of its bytes. So a patch that is half written, damaged, or of files that have
changed since is decoded again. Processes that write the same patch at once write the same bytes.
"""

import fcntl
import hashlib
import mmap
import os
import shutil
import weakref
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from network.datasets.schema import DatasetInfo
from network.errors import warn
from network.failures import why_not_written
from network.rasters.pixels import is_measured
from network.writing import Unwritable

LAYOUT = 1
"""Number of the layout of a cache; another one is not read."""

ENDING = ".cache"
_GB = 10**9

_LEFT_FREE = 2**30
"""Bytes that a cache leaves free on its disk."""

_SHARE_OF_MEMORY = 0.8
"""Largest share of the free memory that a cache takes."""

_ALIGNED = 64
"""Patches begin at multiples of this number of bytes."""

_ROW = 16
"""Bytes of a row of the table: state of the files, checksum, and what is there."""

_WRITTEN, _HAS_VALID = 1 << 32, 1 << 33


@dataclass(frozen=True)
class Decoded:
    """A patch as datasets use it.

    Attributes:
        image: (h, w, bands), see :func:`network.rasters.pixels.network_values`.
        valid: (h, w) bool, true where the image has data; None if it has data everywhere.
        labels: (h, w) uint8 by kind, ignored where the image has no data.
    """

    image: np.ndarray
    valid: np.ndarray | None
    labels: dict[str, np.ndarray]


@dataclass(frozen=True)
class Files:
    """The files of a patch.

    Attributes:
        image: the image file.
        masks: the mask files that are used, by kind.
        size: height and width in pixels.
        states: state of the image file and of each of its masks, (1 + masks, 5), as
            :class:`network.datasets.known_files.FolderFacts` has it.
    """

    image: Path
    masks: dict[str, Path]
    size: tuple[int, int]
    states: np.ndarray


class _Place(NamedTuple):
    """Where a patch lies in the map, and how its files looked when the training began."""

    row: int
    at: int
    end: int
    identity: int
    times: tuple[tuple[Path, int, int], ...]


class PatchCache:
    """A cache of decoded patches in a memory map.

    Args:
        files: the files of each patch; None for a patch that is not cached, such as a large image.
        info: description of the data set.
        folder: folder of the map on a disk; None for a map in the memory of this process and of
            processes that are forked from it. The system frees that memory when they end, whatever
            ends them.
        gigabytes: largest size in gigabytes (10**9 bytes): of this map in memory, or of all maps in
            the folder together. Older maps that no process uses are removed to make room. Patches
            at the end of the list that have no room are not cached, and one line says so.

    Raises:
        InputError: the disk refuses to write.
    """

    def __init__(
        self,
        files: Sequence[Files | None],
        info: DatasetInfo,
        folder: Path | None,
        gigabytes: float,
    ):
        self.info = info
        self._dtype = np.dtype(np.float32 if is_measured(info.dtype) else info.dtype)
        self._files = files
        table = _aligned(_ROW * len(files))
        self._places: list[_Place | None] = []
        end = table
        for row, one in enumerate(files):
            if one is None:
                self._places.append(None)
                continue
            size = self._bytes(one)
            used = [one.image, *one.masks.values()]
            times = tuple(
                (path, int(state[0]), int(state[1]))
                for path, state in zip(used, one.states, strict=False)
            )
            self._places.append(_Place(row, end, end + size, _number(one.states.tobytes()), times))
            end += _aligned(size)
        self.total, self._table = end, table
        self._is_checked = bytearray(len(files))
        self._was_told = mmap.mmap(-1, 1)  # shared by forked workers, so only one of them tells it
        self._is_stopped = False
        self.path: Path | None = None
        self._descriptor = -1
        limit = int(gigabytes * _GB)
        if folder is None:
            self.end = self._in_memory(limit)
        else:
            self.path = folder / f"patches-{self._key()}{ENDING}"
            self.end = self._on_disk(self.path, limit)
        if self.end < self.total:
            share = max(0, self.end - table) / max(1, self.total - table)
            warn(
                f"data.cache: the decoded patches take {self.total / _GB:.3g} GB, and there is "
                f"room for {share:.0%} of them; the others are decoded in every epoch"
            )

    def read(self, number: int) -> Decoded | None:
        """Read a patch; None if it has to be decoded. Its arrays cannot be written to.

        Args:
            number: its number in the list of files.
        """
        place, files = self._places[number], self._files[number]
        if place is None or files is None or place.end > self.end:
            return None
        identity, state = self._rows[number].tolist()
        if identity != place.identity or not state & _WRITTEN or not _are_unchanged(place):
            return None
        if not self._is_checked[number]:
            content = memoryview(self._map)[place.at : place.end]
            if zlib.crc32(content, bool(state & _HAS_VALID)) != state & 0xFFFFFFFF:
                return None
            self._is_checked[number] = 1
        height, width = files.size
        at, shape = place.at, (height, width, self.info.bands)
        image = self._array(at, shape, self._dtype)
        at += image.nbytes
        labels = {}
        for kind in files.masks:
            labels[kind] = self._array(at, files.size, np.dtype(np.uint8))
            at += height * width
        valid = None
        if state & _HAS_VALID:
            bits = self._array(at, (-(-height * width // 8),), np.dtype(np.uint8))
            valid = np.unpackbits(bits, count=height * width).view(bool).reshape(files.size)
        return Decoded(image, valid, labels)

    def write(self, number: int, decoded: Decoded) -> None:
        """Keep a decoded patch; a disk that is full ends the caching with one line.

        Args:
            number: its number in the list of files.
            decoded: the patch.
        """
        place = self._places[number]
        if place is None or place.end > self.end or self._is_stopped or not _are_unchanged(place):
            return
        parts = [decoded.image, *decoded.labels.values()]
        pixels = decoded.labels and next(iter(decoded.labels.values())).size
        pixels = pixels or decoded.image.shape[0] * decoded.image.shape[1]
        valid = decoded.valid
        bits = np.zeros(-(-pixels // 8), np.uint8) if valid is None else np.packbits(valid)
        content = b"".join(np.ascontiguousarray(part).data.cast("B") for part in (*parts, bits))
        if len(content) != place.end - place.at:
            return  # the file has become another one
        state = zlib.crc32(content, valid is not None) | _WRITTEN
        state |= 0 if valid is None else _HAS_VALID
        row = np.array([place.identity, state], np.uint64).tobytes()
        try:
            self._put(content, place.at)
            self._put(row, _ROW * number)
        except OSError as error:
            self._is_stopped = True
            if not self._was_told[0]:
                self._was_told[0] = 1
                reason = why_not_written(error)
                warn(f"{self.path}: {reason}; patches that are not in it are decoded every time")

    def part(self, start: int) -> "CachePart":
        """Make a view of the patches from a number on, for the dataset whose first one it is."""
        return CachePart(self, start)

    def _bytes(self, files: Files) -> int:
        pixels = files.size[0] * files.size[1]
        image = pixels * self.info.bands * self._dtype.itemsize
        return image + pixels * len(files.masks) + -(-pixels // 8)

    def _array(self, at: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        array = np.ndarray(shape, dtype, self._map, at)
        array.flags.writeable = False
        return array

    def _put(self, content: bytes, at: int) -> None:
        if self.path is None:
            self._map[at : at + len(content)] = content
            return
        # Writing to a map of a full disk would kill the process.
        view = memoryview(content)
        while view:
            count = os.pwrite(self._descriptor, view, at)
            view, at = view[count:], at + count

    def _key(self) -> str:
        """Name everything that the places and bytes of all patches depend on."""
        info = self.info
        facts = (LAYOUT, info.bands, info.dtype, info.exif_orientation, info.mask_coding)
        digest = hashlib.sha256(repr((*facts, info.num_classes, info.palette)).encode())
        digest.update(repr(info.ignore_index).encode())
        for one in self._files:
            paths = one and [one.image, *one.masks.values()]
            text = paths and repr((one and one.size, [os.path.abspath(path) for path in paths]))
            digest.update(f"{text}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()[:20]

    # Where the map is ---------------------------------------------------------------------------

    def _in_memory(self, limit: int) -> int:
        """Make a map in memory that forked processes share; return where it ends."""
        free = int(_SHARE_OF_MEMORY * psutil.virtual_memory().available)
        end = max(self._table, min(self.total, limit, free), 1)
        self._use(mmap.mmap(-1, end))
        return end

    def _on_disk(self, path: Path, limit: int) -> int:
        """Open the map on the disk, or make it; return up to where it is used."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open(path)
            own = os.fstat(self._descriptor).st_blocks * 512
            others = _make_room(path, limit - self.total)
            free = shutil.disk_usage(path.parent).free - _LEFT_FREE
            room = min(self.total, limit - others, own + max(0, free))
            end = max(self._table, room, 1)
            self._map_file(end)
        except OSError as error:
            raise Unwritable(path, f"{why_not_written(error)}") from error
        return end

    def _open(self, path: Path) -> None:
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            with suppress(OSError):  # a disk without locks: the map may be removed while in use
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            with suppress(FileNotFoundError):
                # Another training may have removed the file before it was locked.
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    break
            os.close(descriptor)
        weakref.finalize(self, os.close, descriptor)
        os.utime(descriptor)  # the map that was used least recently is removed first
        self._descriptor = descriptor

    def _map_file(self, end: int) -> None:
        # The size tells others how much of the disk this map may come to take.
        if os.fstat(self._descriptor).st_size < end:
            os.ftruncate(self._descriptor, end)
        self._use(mmap.mmap(self._descriptor, end, access=mmap.ACCESS_READ))

    def _use(self, found: mmap.mmap) -> None:
        self._map = found
        self._rows: np.ndarray = np.ndarray((len(self._files), 2), np.uint64, found)

    def __getstate__(self) -> dict[str, Any]:
        """Copy to a process that is not forked, in which the map on the disk is opened anew."""
        left_out = ("_map", "_rows", "_was_told", "_descriptor")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._was_told = mmap.mmap(-1, 1)
        if self.path is None:  # memory that is not shared: nothing is cached
            self._descriptor, self.end = -1, 0
        else:
            self._open(self.path)
            self._map_file(self.end)


class CachePart(NamedTuple):
    """The patches of a cache from a number on.

    Attributes:
        cache: the cache.
        start: number of the first patch.
    """

    cache: PatchCache
    start: int

    def read(self, index: int) -> Decoded | None:
        """Read a patch, see :meth:`PatchCache.read`."""
        return self.cache.read(self.start + index)

    def write(self, index: int, decoded: Decoded) -> None:
        """Keep a patch, see :meth:`PatchCache.write`."""
        self.cache.write(self.start + index, decoded)


def _make_room(own: Path, most: int) -> int:
    """Remove the oldest maps that no process uses until the others take at most ``most`` bytes.

    Returns:
        Bytes that the maps which remain take, or may come to take if they are in use.
    """
    taken, unused = 0, []
    for path in own.parent.glob(f"patches-*{ENDING}"):
        with suppress(OSError):
            about = path.stat()
            if path == own:
                continue
            is_used = not _removed(path, only_try=True)
            size = about.st_size if is_used else about.st_blocks * 512
            taken += size
            if not is_used:
                unused.append((about.st_mtime_ns, path, size))
    for _, path, size in sorted(unused):
        if taken <= max(0, most):
            break
        with suppress(OSError):
            taken -= size if _removed(path) else 0
    return taken


def _removed(path: Path, *, only_try: bool = False) -> bool:
    """Remove a map unless a process uses it; tell whether none does."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not only_try:
            path.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _are_unchanged(place: _Place) -> bool:
    """Tell whether the files of a patch are those that the training has found."""
    try:
        for path, size, time in place.times:
            about = os.stat(path)
            if about.st_size != size or about.st_mtime_ns != time:
                return False
    except OSError:
        return False
    return True


def _number(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())


def _aligned(count: int) -> int:
    return -(-count // _ALIGNED) * _ALIGNED
