"""Facts about unchanged image and mask files, kept from one command to the next.

Before a training or a test, the header of every file is checked and every mask is read. With many
thousands of patches this takes minutes, and mostly nothing has changed since the last time. So for
trainings, the facts are kept in a file, with the state of each file that they come from. Tests read
all files, see :func:`network.evaluation.evaluate.evaluate`.
"""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np

from network.datasets.caches import cache_folder
from network.datasets.file_checks import LabelFacts
from network.datasets.files import NO_STATE, Listing
from network.datasets.schema import DatasetInfo, normal
from network.errors import InputError
from network.failures import DAMAGED_ZIP
from network.writing import replacing

LAYOUT = 2
"""Number of the layout of the file; another one is not read. Raise it, too, when files are checked
in another way, so that those that were accepted before are checked again."""

WORTH_KEEPING = 2.0
"""Seconds of work that are worth a file."""

_FRESH = 2_000_000_000
"""Nanoseconds in which a file may change again without another time in its state."""

_DAMAGED = (OSError, ValueError, LookupError, MemoryError, OverflowError, *DAMAGED_ZIP)


class FolderFacts:
    """Facts about the images of a folder and about their masks, in the order of the images.

    Args:
        images: the folder of the images.
        masks: the folders of the masks, by kind of labels.
        file: the file that the facts are kept in.
        about: text of all that the facts depend on, besides the files.
        classes: number of classes.

    Attributes:
        files: names of the image files.
        names: their stems.
        states: state of each image and of its masks, (n, 1 + kinds, 5) int64: the numbers of
            :class:`network.datasets.files.Listing`, and one for the states of all files beside it
            that GDAL may read with it (0 if there are none).
        sizes: used height and width of each image, (n, 2) int64; 0 if they are not known.
        labels: facts about the masks.
    """

    def __init__(
        self, images: Listing, masks: Mapping[str, Listing], file: Path, about: str, classes: int
    ):
        self.file, self.about = file, about
        self.kinds = list(masks)
        self.seconds = 0.0
        self.files, self.names = images.images, images.stems
        folders = (images, *masks.values())
        self.states = np.stack([_states(self.names, folder) for folder in folders], axis=1)
        self.sizes = np.zeros((len(self.names), 2), np.int64)
        self.labels = LabelFacts.empty(len(self.names), len(masks), classes)
        self._take()

    def _take(self) -> None:
        """Take the facts of those files that are in the same state as when these were found."""
        labels = self.labels
        try:
            with np.load(self.file) as kept:
                if kept["about"].item() != self.about:
                    return
                names = kept["names"].tobytes().decode().split("\n")
                states, sizes = kept["states"], kept["sizes"]
                found = LabelFacts(kept["has_labels"], kept["digests"], kept["counts"])
            own = [self.states, self.sizes, labels.known, labels.digests, labels.counts]
            theirs = [states, sizes, found.known, found.digests, found.counts]
            for one, other in zip(own, theirs, strict=True):
                is_alike = other.dtype == one.dtype and other.shape[1:] == one.shape[1:]
                if not is_alike or len(other) != len(names):
                    return
        except _DAMAGED:
            return  # found anew, like all that is not kept
        if names == self.names:
            here = there = np.arange(len(names))
        else:
            rows = {name: row for row, name in enumerate(self.names)}
            pairs = [(rows[name], row) for row, name in enumerate(names) if name in rows]
            here, there = np.array(pairs, np.int64).reshape(-1, 2).T
        is_same = (self.states[here] == states[there]).all(axis=(1, 2))
        here, there = here[is_same], there[is_same]
        self.sizes[here] = sizes[there]
        labels.set_rows(here, found.rows(there))

    def rows_of(self, files: Iterable[str]) -> np.ndarray:
        """Find the rows of images.

        Args:
            files: names of their files.
        """
        wanted = list(files)
        if wanted == self.files:
            return np.arange(len(wanted))
        rows = {name: row for row, name in enumerate(self.files)}
        return np.array([rows[name] for name in wanted], np.int64)

    def are_alone(self, rows: np.ndarray) -> np.ndarray:
        """Tell for images and each of their masks whether no file beside them belongs to them.

        Args:
            rows: the rows of the images.

        Returns:
            (rows, 1 + kinds) bool
        """
        return self.states[rows, :, 4] == 0

    def keep(self) -> None:
        """Write the facts, if finding them took long; a disk that refuses them does no harm."""
        if self.seconds < WORTH_KEEPING:
            return
        # A file that has just been written may be written again in the same tick of the clock.
        is_settled = self.states[..., 1:3].max(axis=(1, 2)) < time.time_ns() - _FRESH
        has_states = (self.states[..., 0] != NO_STATE[0]).all(axis=1)
        kept = is_settled & has_states & (self.sizes[:, 0] > 0)
        names = "\n".join(name for name, is_kept in zip(self.names, kept, strict=True) if is_kept)
        labels = self.labels.rows(kept)
        with suppress(InputError, UnicodeEncodeError):
            content = np.frombuffer(names.encode(), np.uint8)
            with replacing(self.file) as temporary, temporary.open("wb") as file:
                np.savez(
                    file,
                    about=np.array(self.about),
                    names=content,
                    states=self.states[kept],
                    sizes=self.sizes[kept],
                    has_labels=labels.known,
                    digests=labels.digests,
                    counts=labels.counts,
                )
        self.seconds = 0.0


class KnownFiles:
    """Facts about the folders of a split, from earlier commands and from this one.

    The facts are kept in the data set's folder ``.bicor-seg``, or below the user's caches if the
    data are read-only. A file is read again if its size, its times, its number on the disk, or one
    of these of a file beside it (``.aux.xml``, ``.tfw``) have changed.

    Args:
        info: description of the data set.
        root: root folder of the data.
        workers: number of processes that may read files; 0 or 1 for this one only.
    """

    def __init__(self, info: DatasetInfo, root: Path, workers: int = 0):
        self.info, self.root, self.workers = info, root, workers
        self._folders: dict[Path, FolderFacts] = {}
        # The names of all samples, and for each part of them its rows in the facts of its folder.
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._parts: list[tuple[FolderFacts, np.ndarray]] = []

    @cached_property
    def _about(self) -> str:
        info = self.info
        facts = (LAYOUT, info.bands, info.dtype, info.exif_orientation, info.mask_coding)
        return repr((*facts, info.num_classes, info.ignore_index, info.palette))

    def folder(
        self, images: Listing, masks: Mapping[str, Listing], used: Mapping[str, str]
    ) -> tuple[FolderFacts, np.ndarray]:
        """Find the facts about images of a folder.

        Args:
            images: the folder of the images, with their states.
            masks: the folders of their masks, by kind of labels.
            used: names of the image files that are used, by the names of their samples.

        Returns:
            The facts about the folder, and the rows of the images that are used.
        """
        paths = [os.path.abspath(one.folder) for one in (images, *masks.values())]
        digest = hashlib.sha256(repr((self._about, paths, list(masks))).encode(errors="replace"))
        file = cache_folder(self.root) / f"files-{digest.hexdigest()[:20]}.npz"
        facts = self._folders.get(file)
        if facts is None:
            facts = FolderFacts(images, masks, file, self._about, self.info.num_classes)
            self._folders[file] = facts
        rows = facts.rows_of(used.values())
        self._parts.append((facts, rows))
        self._names += used
        return facts, rows

    def labels_of(self, names: Sequence[str], kinds: Sequence[str]) -> LabelFacts:
        """Return the facts about the masks of samples.

        Args:
            names: names of the samples.
            kinds: kinds of the masks, in the order of the facts.
        """
        found = LabelFacts.empty(len(names), len(kinds), self.info.num_classes)
        for facts, at, rows in self._by_folder(names):
            labels, order = facts.labels.rows(rows), [facts.kinds.index(kind) for kind in kinds]
            found.known[at] = labels.known
            found.digests[at], found.counts[at] = labels.digests[:, order], labels.counts[:, order]
        return found

    def set_labels(self, names: Sequence[str], kinds: Sequence[str], found: LabelFacts) -> None:
        """Remember facts about masks of samples, which were read without errors.

        Args:
            names: names of the samples.
            kinds: kinds of the masks.
            found: the facts, in this order.
        """
        for facts, at, rows in self._by_folder(names):
            order = [kinds.index(kind) for kind in facts.kinds]
            facts.labels.known[rows] = found.known[at]
            facts.labels.digests[rows] = found.digests[at][:, order]
            facts.labels.counts[rows] = found.counts[at][:, order]

    def _by_folder(
        self, names: Sequence[str]
    ) -> Iterator[tuple[FolderFacts, np.ndarray, np.ndarray]]:
        """Yield each folder that has some of the samples, which of them, and their rows there."""
        if names == self._names:
            numbers = np.arange(len(names))
        else:  # nothing is known here of scenes on Earth
            if len(self._numbers) < len(self._names):
                self._numbers = {name: number for number, name in enumerate(self._names)}
            numbers = np.array([self._numbers.get(name, -1) for name in names], np.int64)
        start = 0
        for facts, rows in self._parts:
            (at,) = np.nonzero((numbers >= start) & (numbers < start + len(rows)))
            yield facts, at, rows[numbers[at] - start]
            start += len(rows)

    def states_of(self, name: str, kinds: Iterable[str]) -> np.ndarray | None:
        """Return the states of the image and of some masks of a sample; None if not known.

        Args:
            name: name of the sample.
            kinds: kinds of the masks.
        """
        for facts, at, rows in self._by_folder([name]):
            if len(at):
                return facts.states[rows[0], [0, *(1 + facts.kinds.index(k) for k in kinds)]]
        return None

    def add_seconds(self, seconds: float) -> None:
        """Note how long it took to find facts that were not known."""
        for folder in self._folders.values():
            folder.seconds += seconds

    def keep(self) -> None:
        """Keep all facts for the next command."""
        for folder in self._folders.values():
            folder.keep()


def _states(stems: list[str], folder: Listing) -> np.ndarray:
    """Put the states of files together, see :data:`State`.

    Args:
        stems: stems of the files in the order that is wanted; without such a file, it has no state.
        folder: the folder of the files, with states.

    Returns:
        (stems, 5) int64
    """
    assert folder.states is not None
    found = folder.states
    if stems != folder.stems:
        rows = {stem: row for row, stem in enumerate(folder.stems)}
        order = [rows.get(stem, len(rows)) for stem in stems]
        found = np.concatenate([found, np.array([NO_STATE], np.int64)])[order]
    beside = _states_beside(folder.folder, folder.others)
    numbers = [beside.get(stem.casefold(), 0) for stem in stems] if beside else 0
    return np.column_stack([found, np.broadcast_to(np.array(numbers, np.int64), len(stems))])


def _states_beside(folder: Path, names: Sequence[str]) -> dict[str, int]:
    """Compute a number from the states of all other files that a name may belong to."""
    texts: dict[str, list[str]] = {}
    for name in sorted(names):
        with suppress(OSError):
            about = os.stat(folder / name)
            text = repr((name, about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino))
            for stem in stems_beside(normal(name)):
                texts.setdefault(stem, []).append(text)
    return {stem: _number("\n".join(own)) for stem, own in texts.items()}


def _number(text: str) -> int:
    """Turn a text into a number of 64 bits that is not 0."""
    digest = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, signed=True) or 1


def stems_beside(name: str) -> list[str]:
    """List the stems, in small letters, of all images that a file may belong to.

    Examples:
        >>> stems_beside("a.B.png.aux.xml")
        ['a.b.png.aux', 'a.b.png', 'a.b', 'a']
    """
    parts = name.casefold().split(".")
    return [".".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]
