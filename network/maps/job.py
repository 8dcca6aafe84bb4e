"""The unfinished map of one image: a folder of finished blocks, which a rerun takes over.

A block is a small file for each layer. It is written under a temporary name, flushed and renamed,
so its existence says that it is done. The folder lies beside the map, as ``MAP.parts``, and is
removed when the map is finished.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from network.errors import InputError
from network.maps.layers import LABELS, LAYERS, NO_DATA, Layer
from network.maps.plan import Block
from network.maps.records import MapRecords
from network.rasters.legend_files import style_of
from network.rasters.tiles import write_tile
from network.writing import read_json, remove_leftovers, replacing, writing

JOB_FILE = "job.json"


@dataclass(frozen=True)
class Job:
    """The work on one map.

    Attributes:
        target: the file of the labels.
        layers: what is computed.
        identity: all facts that the map depends on, by name. A rerun with other facts is refused.
        image: size and time of the image file, which show whether it has changed.
    """

    target: Path
    layers: tuple[Layer, ...]
    identity: Mapping[str, Any]
    image: str

    @property
    def parts(self) -> Path:
        """Folder of the finished blocks."""
        return self.target.with_name(f"{self.target.name}.parts")

    @property
    def lock(self) -> Path:
        """File whose lock the process holds that writes the finished map."""
        return self.target.with_name(f".{self.target.name}.lock")

    def file(self, layer: Layer) -> Path:
        """File of a finished layer: ``MAP.tif``, ``MAP_confidence.tif``."""
        if not layer.name:
            return self.target
        return self.target.with_name(f"{self.target.stem}_{layer.name}.tif")

    def part(self, block: Block, layer: Layer) -> Path:
        """File of one layer of a finished block."""
        ending = f"_{layer.name}" if layer.name else ""
        return self.parts / f"{block.name}{ending}.tif"

    def is_other(self, records: MapRecords) -> bool:
        """Tell whether there is a map, or blocks of one, that was made by other means.

        Args:
            records: the finished maps of the folder.
        """
        try:
            self._check_parts()
            self.is_finished(records)
        except InputError:
            return True
        return False

    def is_finished(self, records: MapRecords) -> bool:
        """Tell whether the map is there, made from the same image by the same means.

        Args:
            records: the finished maps of the folder.

        Raises:
            InputError: the map that is there was made otherwise, or nothing says how.
        """
        files = [self.file(layer) for layer in self.layers]
        if not any(path.is_file() for path in files):
            return False
        record = records.find(self.target)
        if record is None:
            if (self.parts / JOB_FILE).is_file():
                return False  # it was killed after the file was written, and before its record
            raise InputError(
                self.target,
                "is there already, and no record says how it was made",
                "choose another output, or delete it by overwrite=True",
            )
        self._compare(record.identity)
        return record.image == self.image and all(path.is_file() for path in files)

    def begin(self) -> None:
        """Make the folder of blocks, or take over the one that is there.

        If the image has changed since, its blocks are removed.

        Raises:
            InputError: the blocks were made otherwise, or the disk refuses to write.
        """
        if self._check_parts():
            remove_leftovers(self.parts)
            return
        if (self.parts / JOB_FILE).is_file():  # of the image as it was before
            with writing(self.parts):
                shutil.rmtree(self.parts)
        content = {"identity": self.identity, "image": self.image}
        with replacing(self.parts / JOB_FILE) as partial:
            partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def is_done(self, block: Block) -> bool:
        """Tell whether a block is finished."""
        return self.part(block, LABELS).is_file()

    def commit(self, block: Block, values: Mapping[str, np.ndarray]) -> None:
        """Write a finished block. The labels come last, since they say that it is done.

        Args:
            block: the block.
            values: for each layer by name (bands, h, w) uint8.

        Raises:
            InputError: the disk refuses to write.
        """
        for layer in sorted(self.layers, key=lambda layer: layer is LABELS):
            write_tile(self.part(block, layer), values[layer.name], NO_DATA)

    def clean(self) -> None:
        """Remove the blocks of a finished map."""
        shutil.rmtree(self.parts, ignore_errors=True)

    def discard(self) -> None:
        """Remove the map, all that was made with it, and its blocks."""
        shutil.rmtree(self.parts, ignore_errors=True)
        files = [self.file(layer) for layer in LAYERS.values()]
        beside = [self.target.with_name(f"{self.target.name}.aux.xml"), style_of(self.target)]
        with writing(self.target):
            for path in (*beside, *files):
                path.unlink(missing_ok=True)

    def tiles(self, blocks: Iterable[Block], layer: Layer) -> dict[Path, tuple[int, int]]:
        """List the files of a layer with row and column of their first pixels."""
        return {self.part(b, layer): (b.rows.start, b.columns.start) for b in blocks}

    def _check_parts(self) -> bool:
        """Tell whether there are blocks of the same image.

        Raises:
            InputError: there are blocks that were made otherwise.
        """
        path = self.parts / JOB_FILE
        if not path.is_file():
            return False
        try:
            old = read_json(path)
            identity, image = old["identity"], old["image"]
        except (ValueError, OSError, KeyError, TypeError):
            identity, image = None, None
        self._compare(identity)
        return image == self.image

    def _compare(self, old: Any) -> None:
        """Raise an :class:`InputError` if a map was made by other means, or nobody knows how."""
        remedy = "choose another output, or delete it by overwrite=True"
        if not isinstance(old, dict):
            raise InputError(self.target, "was begun, but the record of it is damaged", remedy)
        new = json.loads(json.dumps(self.identity))  # the form that a reader of the file gets
        different = [key for key in old | new if old.get(key) != new.get(key)]
        if different:
            key = different[0]
            more = f", and {len(different) - 1} more" if len(different) > 1 else ""
            raise InputError(
                self.target,
                f"was made by other means (its {key} is {_short(old.get(key))}, not "
                f"{_short(new.get(key))}{more})",
                remedy,
            )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
