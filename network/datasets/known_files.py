"""Facts about unchanged image and mask files, kept from one command to the next.

Before a training or a test, the header of every file is checked and every mask is read. With many
thousands of patches this takes minutes, and mostly nothing has changed since the last time. So the
facts are kept in a file, with the state of each file that they come from.
"""

import hashlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np

from network.datasets.caches import cache_folder
from network.datasets.files import Listing, stem_of
from network.datasets.schema import DatasetInfo, normal
from network.errors import InputError
from network.failures import DAMAGED_ZIP
from network.writing import replacing

LAYOUT = 1
"""Number of the layout of the file; another one is not read. Raise it, too, when files are checked
in another way, so that those that were accepted before are checked again."""

WORTH_KEEPING = 2.0
"""Seconds of work that are worth a file."""

_FRESH = 2_000_000_000
"""Nanoseconds in which a file may change again without another time in its state."""

_DAMAGED = (OSError, ValueError, LookupError, MemoryError, OverflowError, *DAMAGED_ZIP)

State = tuple[int, int, int, int, int]
"""Size, time of the content and of the last change in ns, number on the disk, and the same of all
files beside it that GDAL may read with it, as one number (0 if there are none)."""

_NO_STATE: State = (-1, 0, 0, 0, 0)


class FolderFacts:
    """Facts about the images of a folder and about their masks, by name.

    Args:
        images: the folder of the images.
        masks: the folders of the masks, by kind of labels.
        file: the file that the facts are kept in.
        about: text of all that the facts depend on, besides the files.
        classes: number of classes.
    """

    def __init__(
        self, images: Listing, masks: Mapping[str, Listing], file: Path, about: str, classes: int
    ):
        self.file, self.about = file, about
        self.kinds = list(masks)
        states = [listed_states(folder) for folder in (images, *masks.values())]
        names, _ = states[0]
        self.seconds = 0.0
        self.names = names
        self._rows = {name: row for row, name in enumerate(names)}
        count, kinds = len(names), len(masks)
        # Files with one stem belong together; a pair that is incomplete is an error elsewhere.
        self.states = np.stack([_in_order(names, *each) for each in states], axis=1)
        self.sizes = np.zeros((count, 2), np.int64)
        self.has_labels = np.zeros(count, bool)
        self.digests = np.zeros((count, kinds, 32), np.uint8)
        self.counts = np.zeros((count, kinds, classes), np.int64)
        self._take()
        self.alone: list[list[bool]] = (self.states[..., 4] == 0).tolist()

    def _take(self) -> None:
        """Take the facts of those files that are in the same state as when these were found."""
        try:
            with np.load(self.file) as kept:
                if kept["about"].item() != self.about:
                    return
                names = kept["names"].tobytes().decode().split("\n")
                states, sizes = kept["states"], kept["sizes"]
                has_labels, digests, counts = (
                    kept[name] for name in ("has_labels", "digests", "counts")
                )
            own = [self.states, self.sizes, self.has_labels, self.digests, self.counts]
            for mine, theirs in zip(own, (states, sizes, has_labels, digests, counts), strict=True):
                is_alike = theirs.dtype == mine.dtype and theirs.shape[1:] == mine.shape[1:]
                if not is_alike or len(theirs) != len(names):
                    return
        except _DAMAGED:
            return  # found anew, like all that is not kept
        if names == self.names:
            here = there = np.arange(len(names))
        else:
            pairs = [(self._rows[n], row) for row, n in enumerate(names) if n in self._rows]
            here, there = np.array(pairs, np.int64).reshape(-1, 2).T
        is_same = (self.states[here] == states[there]).all(axis=(1, 2))
        here, there = here[is_same], there[is_same]
        self.sizes[here], self.has_labels[here] = sizes[there], has_labels[there]
        self.digests[here], self.counts[here] = digests[there], counts[there]

    def row(self, stem: str) -> int | None:
        """Return the row of an image in the arrays; None if it has come since."""
        return self._rows.get(stem)

    def are_alone(self, stem: str) -> list[bool]:
        """Tell for an image and each of its masks whether no file beside it belongs to it."""
        row = self._rows.get(stem)
        return [False] * (1 + len(self.kinds)) if row is None else self.alone[row]

    def sizes_of(self, images: Iterable[Path]) -> list[tuple[int, int] | None]:
        """Return the used height and width of images; None where they are not known."""
        sizes = [(height, width) if height else None for height, width in self.sizes.tolist()]
        rows = [self._rows.get(stem_of(path)) for path in images]
        return [None if row is None else sizes[row] for row in rows]

    def set_size(self, stem: str, size: tuple[int, int]) -> None:
        """Remember the used height and width of an image whose header was checked."""
        row = self._rows.get(stem)
        if row is not None:
            self.sizes[row] = size

    def set_labels(self, stem: str, found: Mapping[str, tuple[str, np.ndarray]]) -> None:
        """Remember SHA-256 and counts of the masks of an image, which were read without errors.

        Args:
            stem: stem of the image.
            found: SHA-256 and number of pixels of each class, by kind.
        """
        row = self._rows.get(stem)
        if row is None:
            return
        for at, kind in enumerate(self.kinds):
            digest, counts = found[kind]
            self.digests[row, at] = np.frombuffer(bytes.fromhex(digest), np.uint8)
            self.counts[row, at] = counts
        self.has_labels[row] = True

    def keep(self) -> None:
        """Write the facts, if finding them took long; a disk that refuses them does no harm."""
        if self.seconds < WORTH_KEEPING:
            return
        # A file that has just been written may be written again in the same tick of the clock.
        is_settled = self.states[..., 1:3].max(axis=(1, 2)) < time.time_ns() - _FRESH
        kept = is_settled & (self.sizes[:, 0] > 0)
        names = "\n".join(name for name, is_kept in zip(self.names, kept, strict=True) if is_kept)
        with suppress(InputError, UnicodeEncodeError):
            content = np.frombuffer(names.encode(), np.uint8)
            with replacing(self.file) as temporary, temporary.open("wb") as file:
                np.savez(
                    file,
                    about=np.array(self.about),
                    names=content,
                    states=self.states[kept],
                    sizes=self.sizes[kept],
                    has_labels=self.has_labels[kept],
                    digests=self.digests[kept],
                    counts=self.counts[kept],
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
    """

    def __init__(self, info: DatasetInfo, root: Path):
        self.info, self.root = info, root
        self._folders: dict[Path, FolderFacts] = {}
        self._of_sample: dict[str, tuple[FolderFacts, int]] = {}

    @cached_property
    def _about(self) -> str:
        info = self.info
        facts = (LAYOUT, info.bands, info.dtype, info.exif_orientation, info.mask_coding)
        return repr((*facts, info.num_classes, info.ignore_index, info.palette))

    def folder(
        self, images: Listing, masks: Mapping[str, Listing], used: Mapping[str, Path]
    ) -> FolderFacts:
        """Find the facts about images of a folder.

        Args:
            images: the folder of the images, with their states.
            masks: the folders of their masks, by kind of labels.
            used: the image files that are used, by the names of their samples.
        """
        paths = [os.path.abspath(one.folder) for one in (images, *masks.values())]
        digest = hashlib.sha256(repr((self._about, paths, list(masks))).encode(errors="replace"))
        file = cache_folder(self.root) / f"files-{digest.hexdigest()[:20]}.npz"
        facts = self._folders.get(file)
        if facts is None:
            facts = FolderFacts(images, masks, file, self._about, self.info.num_classes)
            self._folders[file] = facts
        for name, path in used.items():
            row = facts.row(stem_of(path))
            if row is not None:
                self._of_sample[name] = facts, row
        return facts

    def labels_of(self, name: str) -> dict[str, tuple[str, np.ndarray]] | None:
        """Return SHA-256 and counts of the masks of a sample, by kind; None if not known.

        Args:
            name: name of the sample.
        """
        if name not in self._of_sample:
            return None
        facts, row = self._of_sample[name]
        if not facts.has_labels[row]:
            return None
        return {
            kind: (facts.digests[row, at].tobytes().hex(), facts.counts[row, at])
            for at, kind in enumerate(facts.kinds)
        }

    def set_labels(self, name: str, found: Mapping[str, tuple[str, np.ndarray]]) -> None:
        """Remember SHA-256 and counts of the masks of a sample, which were read without errors.

        Args:
            name: name of the sample.
            found: SHA-256 and number of pixels of each class, by kind.
        """
        if name in self._of_sample:
            facts, row = self._of_sample[name]
            facts.set_labels(facts.names[row], found)

    def states_of(self, name: str, kinds: Iterable[str]) -> np.ndarray | None:
        """Return the states of the image and of some masks of a sample; None if not known.

        Args:
            name: name of the sample.
            kinds: kinds of the masks.
        """
        if name not in self._of_sample:
            return None
        facts, row = self._of_sample[name]
        return facts.states[row, [0, *(1 + facts.kinds.index(kind) for kind in kinds)]]

    def add_seconds(self, seconds: float) -> None:
        """Note how long it took to find facts that were not known."""
        for folder in self._folders.values():
            folder.seconds += seconds

    def keep(self) -> None:
        """Keep all facts for the next command."""
        for folder in self._folders.values():
            folder.keep()


def listed_states(listing: Listing) -> tuple[list[str], np.ndarray]:
    """Put the state of every image or mask file of a folder together.

    Args:
        listing: the folder, with states.

    Returns:
        The stems of the files in order, and the numbers of :data:`State` for each, (n, 5) int64.
    """
    stems = {normal(name[: name.rindex(".")]): state for name, state in listing.states.items()}
    names = sorted(stems)
    numbers = np.zeros((len(names), 5), np.int64)
    numbers[:, :4] = np.array([stems[name] for name in names], np.int64).reshape(-1, 4)
    beside = _states_beside(listing.folder, listing.others)
    if beside:
        numbers[:, 4] = [beside.get(name.casefold(), 0) for name in names]
    return names, numbers


def _in_order(wanted: list[str], names: list[str], numbers: np.ndarray) -> np.ndarray:
    """Put the states of files into another order of names; a file that is missing has none."""
    if wanted == names:
        return numbers
    rows = {name: row for row, name in enumerate(names)}
    empty = np.array([_NO_STATE], np.int64)
    return np.concatenate([numbers, empty])[[rows.get(name, len(names)) for name in wanted]]


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
