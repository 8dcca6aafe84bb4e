"""Search for files in archives and folders, and their placement under new paths."""

import os
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from network.datasets.files import is_of_system
from network.errors import InputError
from network.failures import DAMAGED_ZIP
from network.progress import progress_bar
from network.writing import replacing

CHUNK = 1 << 20


@dataclass(frozen=True)
class Source:
    """A file inside a zip archive, or in an unpacked folder.

    Attributes:
        archive: the zip file; None for a file that is not in an archive.
        path: path inside the archive, or below the searched folder.
        size: unpacked size in bytes.
        folder: the searched folder.
        member: the name inside the archive as the archive has it, perhaps with back slashes.
        checksum: CRC-32 of the content; None for a file that is not in an archive.
    """

    archive: Path | None
    path: PurePosixPath
    size: int
    folder: Path
    member: str = ""
    checksum: int | None = None

    @property
    def text(self) -> str:
        """The name of the archive and the path, in lower case."""
        archive = f"{self.archive.name}/" if self.archive else ""
        return f"{archive}{self.path}".lower()

    def is_surely_not(self, other: "Source") -> bool:
        """Return whether another file surely has another content; no file is read for this."""
        if None in (self.checksum, other.checksum):
            return self.size != other.size
        return (self.size, self.checksum) != (other.size, other.checksum)

    def __str__(self) -> str:
        return f"{self.archive}:{self.path}" if self.archive else str(self.folder / self.path)


def find_sources(folder: Path) -> list[Source]:
    """Find all files below a folder, also those in zip archives, in name order.

    Hidden files and those that systems keep for themselves, such as ``._a.zip`` and deleted ones,
    are left out.

    Raises:
        InputError: the folder does not exist or is empty, an archive is damaged, or one contains
            further archives.
    """
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "give the one that holds the archives")
    found: list[Source] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if is_of_system(path.relative_to(folder)):
            continue
        if path.suffix.lower() == ".zip":
            found += _members(path, folder)
        else:
            relative = PurePosixPath(path.relative_to(folder).as_posix())
            found.append(Source(None, relative, path.stat().st_size, folder))
    if not found:
        raise InputError(folder, "empty", "give the folder that holds the archives")
    return found


def _members(path: Path, folder: Path) -> list[Source]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            paths = [PurePosixPath(entry.filename.replace("\\", "/")) for entry in entries]
    except (OSError, *DAMAGED_ZIP) as error:
        raise InputError(
            path, f"damaged or truncated archive ({error})", "download it again"
        ) from error
    members = [
        Source(path, inside, entry.file_size, folder, entry.filename, entry.CRC)
        for inside, entry in zip(paths, entries, strict=True)
        if not is_of_system(inside)
    ]
    inner = [source.path for source in members if source.path.suffix.lower() == ".zip"]
    if inner:
        raise InputError(
            path,
            f"holds further archives ({inner[0]})",
            "unpack it once, and give the folder with its archives",
        )
    return sorted(members, key=lambda source: source.path)


def place(files: Sequence[tuple[Source, Path]]) -> int:
    """Put each source under its target path and return how many targets did not exist before.

    A target that has the size of its source stays as it is, so an interrupted run can go on. Files
    from folders become hard links if the disk allows this; otherwise they are copied.

    Args:
        files: pairs of source and target path.

    Raises:
        InputError: an archive is damaged, the disk is full, or a target has another size.
    """
    missing = [(source, target) for source, target in files if not _is_there(source, target)]
    by_archive: dict[Path | None, list[tuple[Source, Path]]] = {}
    for source, target in missing:
        by_archive.setdefault(source.archive, []).append((source, target))
    total = sum(source.size for source, _ in missing)
    with progress_bar(
        total=total, unit="B", unit_scale=True, desc="Unpacking", disable=not total
    ) as bar:
        for archive, some in by_archive.items():
            if archive is None:
                for source, target in some:
                    _link(source, target)
                    bar.update(source.size)
            else:
                _extract(archive, some, bar)
    return len(missing)


def _is_there(source: Source, target: Path) -> bool:
    if not target.exists():
        return False
    if target.stat().st_size != source.size:
        raise InputError(
            target,
            f"another file than {source} (its size differs)",
            "move it away, or choose another output",
        )
    return True


def _link(source: Source, target: Path) -> None:
    original = source.folder / source.path
    with replacing(target) as partial:
        try:
            os.link(original.resolve(), partial)
        except OSError:  # another disk, or a file system without links
            shutil.copyfile(original, partial)


def _extract(path: Path, files: Iterable[tuple[Source, Path]], bar: tqdm) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for source, target in files:
                with (
                    replacing(target) as partial,
                    partial.open("wb") as file,
                    archive.open(source.member) as member,
                ):
                    while chunk := member.read(CHUNK):
                        file.write(chunk)
                        bar.update(len(chunk))
    except (NotImplementedError, RuntimeError) as error:  # another compression, a password
        raise InputError(
            path,
            f"cannot be unpacked here ({error})",
            "unpack it by hand, and give its folder",
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(
            path, f"damaged or truncated archive ({error})", "download it again"
        ) from error


def check_disk_space(folder: Path, needed: int) -> None:
    """Raise an :class:`InputError` if fewer than ``needed`` bytes are free on a folder's disk."""
    above = (folder.absolute(), *folder.absolute().parents)
    existing = next(path for path in above if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise InputError(
            folder,
            f"needs about {needed / 1000000000.0:.1f} GB, {free / 1000000000.0:.1f} GB are free",
            "make room or choose another output",
        )
