"""Records of finished maps, one line each in files of the output folder.

Processes that share the work write files of their own, so their lines never mix; all files are
read.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from network.writing import parse_json, writing

RECORDS_FILE = "maps.jsonl"
FAILED_FILE = "failed.jsonl"
"""Images, and parts of images, that could not be predicted, and why."""


@dataclass(frozen=True)
class MapRecord:
    """What a finished map was made from: its image, the network and the settings.

    Attributes:
        image: size and time of the image's files, which show whether it has changed.
        source: path of the image.
        identity: all facts that the map depends on, by name; None if they are lost.
    """

    image: str
    source: str
    identity: dict[str, Any] | None


class MapRecords:
    """The records of an output folder.

    Args:
        folder: the folder.
        shard: number of this process, from 0 on, and number of all processes.
    """

    def __init__(self, folder: Path, shard: tuple[int, int] = (0, 1)):
        self.folder = folder
        number, count = shard
        share = f"-{number + 1}-of-{count}" if count > 1 else ""
        self._file = folder / RECORDS_FILE.replace(".", f"{share}.")
        self._failed = folder / FAILED_FILE.replace(".", f"{share}.")
        self._known: dict[str, MapRecord] = {}
        self._times: dict[str, float] = {}
        self._identities: dict[str, dict[str, Any]] = {}
        self._read_to: dict[Path, int] = {}  # bytes of each file
        self.read()

    def read(self) -> None:
        """Read what is new in all files; a line that an interruption cut off is left out."""
        stem, _, ending = RECORDS_FILE.rpartition(".")
        lines = []
        for path in sorted(self.folder.glob(f"{stem}*.{ending}")):
            with path.open("rb") as file:
                file.seek(self._read_to.get(path, 0))
                content = file.read()
            whole = content[: content.rfind(b"\n") + 1]  # another process may be writing
            self._read_to[path] = self._read_to.get(path, 0) + len(whole)
            lines += [_parsed(line) for line in whole.splitlines()]
        for line in lines:
            if isinstance(line.get("identity"), dict):
                self._identities[line["made"]] = line["identity"]
        for line in lines:
            name, when = line.get("map"), line.get("time", 0)
            if not isinstance(name, str) or when < self._times.get(name, 0):
                continue  # another process has written a newer one
            self._times[name] = when
            self._known.pop(name, None)
            if not line.get("removed"):
                identity = self._identities.get(line["made"])
                source = str(line.get("source"))
                self._known[name] = MapRecord(line.get("image", ""), source, identity)

    def find(self, target: Path) -> MapRecord | None:
        """Find the newest record of a map."""
        return self._known.get(target.name)

    def add(self, target: Path, record: MapRecord, facts: Mapping[str, Any]) -> None:
        """Write the record of a finished map.

        Args:
            target: file of the map.
            record: what it was made from.
            facts: further facts for a reader, such as speed and memory.

        Raises:
            InputError: the disk refuses to write.
        """
        made = _digest(record.identity)
        if made not in self._identities:
            _append(self._file, {"made": made, "identity": record.identity})
        line = {"map": target.name, "image": record.image, "source": record.source, "made": made}
        _append(self._file, line | {"time": time.time()} | dict(facts))
        self.read()

    def remove(self, target: Path) -> None:
        """Write that a map was removed.

        Args:
            target: file of the map.

        Raises:
            InputError: the disk refuses to write.
        """
        line = {"map": target.name, "made": "", "removed": True, "time": time.time()}
        _append(self._file, line)
        self.read()

    def add_failed(self, image: str, error: str, **place: list[int]) -> None:
        """Write an image that could not be predicted, and why.

        Args:
            image: path of the image.
            error: why it failed.
            place: ``rows`` and ``columns``, first and last, if only a part of it failed.
        """
        _append(self._failed, {"image": image, "error": error, **place})

    def forget_failed(self) -> None:
        """Remove what an earlier run of this shard has written about failed images."""
        with writing(self._failed):
            self._failed.unlink(missing_ok=True)


def _digest(identity: Mapping[str, Any] | None) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = parse_json(line)
    except ValueError:
        return {}
    is_known = isinstance(found, dict) and isinstance(found.get("made"), str)
    is_timed = is_known and isinstance(found.get("time", 0), int | float)
    return found if is_timed and isinstance(found.get("image", ""), str) else {}


def _append(path: Path, record: Mapping[str, Any]) -> None:
    """Add a line to a file; a line that an interruption cut off is ended first."""
    line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            if file.tell():
                file.seek(-1, 2)
                if file.read(1) != b"\n":
                    line = b"\n" + line
            file.write(line)
