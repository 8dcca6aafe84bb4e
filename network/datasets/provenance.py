"""Provenance of patches and points: a record and checksums that are stored beside them."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np

from network.datasets.files import encode, write_content
from network.errors import InputError
from network.writing import read_json, replacing

PROVENANCE_FILE = "patch_split.json"
CHECKSUMS_FILE = "patch_split.sha256"
"""File of the checksums; the command ``sha256sum -c patch_split.sha256`` checks a folder."""

_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)")
# sha256sum escapes these characters like this, and starts such a line with a backslash.
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}


@dataclass(frozen=True, kw_only=True)
class PointRecord:
    """Record of how masks were made from points, with the numbers of points and pixels.

    Attributes:
        rule: origin of the points, as plain values. For drawn points, these are the rule and the
            digest of the masks; for points of a file, the name of the file. In both cases, the
            radius of the painted discs is there too.
        points: number of points of each class.
        pixels: number of labeled pixels of each class.
        dense: number of labeled pixels of each class in the dense masks; None if the points were
            not drawn from masks.
        images: number of images.
        empty: names of the images without points.
    """

    rule: dict[str, Any] | None = None
    points: tuple[int, ...] = ()
    pixels: tuple[int, ...] = ()
    dense: tuple[int, ...] | None = None
    images: int = 0
    empty: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Record of how the patches or points of a folder were made.

    Facts that a tool does not record are None.

    Attributes:
        tool: name of the tool that cut the patches.
        dataset: name of the data set.
        mode: how the patches were cut, ``"train"`` or ``"val"``.
        split_size: side of a patch in pixels, or ``"height x width"``.
        stride: pixels from the start of a patch to the start of the next one, or
            ``"rows x columns"``.
        pad_policy: how padding is labeled.
        unknown_color: how mask colors that are no class were handled.
        label_kind: kind of the masks: ``"full"``, ``"eroded"`` or ``"points"``.
        gt: whether the masks are in color.
        val_scale: factor by which the tiles were resized.
        image_ending: ending of the names of the files that the image patches were cut from.
        seed: seed of the random crops.
        tiles: number of tiles that were cut.
        frames: number of frames that were cut.
        patches: number of patches that were made.
        padding_share: share of padding in all pixels, 0 to 1.
        points: record of the points, if the masks are labeled only at points.
        others: facts that another version of the code has written, by name; they are kept.
    """

    tool: str | None = None
    dataset: str | None = None
    mode: str | None = None
    split_size: int | str | None = None
    stride: int | str | None = None
    pad_policy: str | None = None
    unknown_color: str | None = None
    label_kind: str | None = None
    gt: bool | None = None
    val_scale: float | None = None
    image_ending: str | None = None
    seed: int | None = None
    tiles: int | None = None
    frames: int | None = None
    patches: int | None = None
    padding_share: float | None = None
    points: PointRecord | None = None
    others: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Convert the record to plain values for the file; unknown facts are left out."""
        own = {name: getattr(self, name) for name in _NAMES}
        known = {name: value for name, value in own.items() if value is not None} | self.others
        return known | ({"points": asdict(self.points)} if self.points else {})

    @classmethod
    def from_json(cls, document: Any) -> "Provenance":
        """Read a record that :meth:`to_json` wrote, in this or another version of the code.

        Raises:
            ValueError: the document is not such a record.
        """
        if not isinstance(document, dict):
            raise ValueError("not a JSON object")
        own = {name: document[name] for name in _NAMES if name in document}
        for name in _TEXTS & own.keys():
            if not isinstance(own[name], str | None):
                raise ValueError(f"{name} is {own[name]!r}, not text")
        points = document.get("points")
        if not isinstance(points, dict | None):
            raise ValueError(f"points is {points!r}, not a JSON object")
        others = {k: v for k, v in document.items() if k not in own and k != "points"}
        return cls(**own, points=_points(points) if points else None, others=others)


# The order of these names is their order in the file.
_NAMES = [f.name for f in fields(Provenance) if f.name not in ("points", "others")]
# Other parts of the code rely on these facts, so their types are checked.
_TEXTS = {"label_kind", "pad_policy", "image_ending"}


def _points(document: dict[str, Any]) -> PointRecord:
    names = {f.name for f in fields(PointRecord)}
    known: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in document.items()
        if name in names
    }
    return PointRecord(**known)


def write_hashed(path: Path, image: np.ndarray) -> str:
    """Write an image file of labels (h, w) or RGB (h, w, 3), uint8, and return its SHA-256.

    Raises:
        InputError: the file cannot be written (disk full, no permission).
    """
    content = encode(image, path.suffix)
    write_content(path, content)
    return sha256(content).hexdigest()


def write_provenance(folder: Path, record: Provenance, checksums: Mapping[str, str]) -> None:
    """Write the record of how the files of a folder were made, and their checksums.

    Args:
        folder: the folder of the files.
        record: how they were made.
        checksums: SHA-256 of each file by its path in ``folder``.

    Raises:
        InputError: the files cannot be written (disk full, no permission).
    """
    text = json.dumps(record.to_json(), indent=2) + "\n"
    checksums = {**checksums, PROVENANCE_FILE: sha256(text.encode()).hexdigest()}
    lines = "".join(_line(name, checksums[name]) for name in sorted(checksums))
    for name, content in ((PROVENANCE_FILE, text), (CHECKSUMS_FILE, lines)):
        with replacing(folder / name, sweep=False) as partial:
            partial.write_text(content, encoding="utf-8", newline="\n")


def is_provenance(path: Path) -> bool:
    """Tell whether a path has the name of a file that :func:`write_provenance` writes."""
    return path.name in (PROVENANCE_FILE, CHECKSUMS_FILE)


def read_provenance(folder: Path) -> Provenance | None:
    """Read the record of how the files of a folder were made; None if there is no record.

    GeoSeg's tools write no record. For the label kind and the padding policy, read the record of
    the mask folder: the image folder may have been written again later, together with other masks.

    Raises:
        InputError: the record is damaged.
    """
    path = folder / PROVENANCE_FILE
    try:
        document = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(path, f"unreadable ({error})", "make the folder again") from error
    try:
        return Provenance.from_json(document)
    except ValueError as error:
        raise InputError(path, f"{error}", "make the folder again") from error


def recorded_kind(folder: Path, default: str) -> str:
    """Return the kind of the masks in a folder, which the record of their tool states.

    Args:
        folder: folder of masks.
        default: kind to return if the folder has no record, or if the record states no kind.

    Raises:
        InputError: the record is damaged.
    """
    provenance = read_provenance(folder)
    return (provenance and provenance.label_kind) or default


def changed_files(folder: Path) -> list[Path]:
    """List the files of a folder that are missing or do not match their checksum.

    The list is empty if the folder has no checksums.

    Raises:
        InputError: the checksums are damaged, or a file cannot be read.
    """
    path = folder / CHECKSUMS_FILE
    try:
        lines = path.read_bytes().decode().rstrip("\n").split("\n")
        checksums = dict(map(_parse, lines))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise InputError(path, f"unreadable ({error})", "make the folder again") from error
    return [folder / name for name in checksums if _checksum(folder / name) != checksums[name]]


def _checksum(path: Path) -> str | None:
    """Compute the SHA-256 of a file; None if it is missing."""
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(
            path, f"unreadable ({error.strerror})", "check the disk, or make the folder again"
        ) from error


def _line(name: str, checksum: str) -> str:
    escaped = re.sub(r"[\\\n\r]", lambda match: _ESCAPES[match[0]], name)
    mark = "" if escaped == name else "\\"
    return f"{mark}{checksum}  {escaped}\n"


def _parse(line: str) -> tuple[str, str]:
    """Split a line that sha256sum writes into the name of a file and its checksum."""
    match = _LINE.fullmatch(line)
    if not match:
        raise ValueError(f"not a line as sha256sum writes it: {line[:50]!r}")
    mark, checksum, name = match.groups()
    if mark:
        originals = {escaped: character for character, escaped in _ESCAPES.items()}
        name = re.sub(r"\\.", lambda match: originals.get(match[0], match[0]), name)
    return name, checksum


# GeoSeg's tools name patches in the same way, but write no record of their provenance.
_PATCH_NAME = re.compile(r"(.+?)_[012]_\d+(_[0-3])?")


def tile_of_patch(name: str, patch_names: str = "") -> str | None:
    """Find the name of the tile from which a patch was cut.

    Args:
        name: name of the patch without suffix.
        patch_names: regular expression of such names, whose group ``tile`` is the tile; empty for
            the names that the patch tools give.

    Returns:
        The name of the tile; None if ``name`` is not the name of a patch.

    Examples:
        >>> tile_of_patch("area1_0_12"), tile_of_patch("mumbai_3_7", r"(?P<tile>.+)_[0-9]+")
        ('area1', 'mumbai_3')
    """
    if patch_names:
        match = re.fullmatch(patch_names, name)
        return match["tile"] if match else None
    match = _PATCH_NAME.fullmatch(name)
    return match[1] if match else None
