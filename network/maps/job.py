"""The unfinished map of one image: a folder of finished blocks, which a rerun takes over.

A block is a small file for each layer. It is written under a temporary name, flushed and renamed,
so its existence says that it is done. The folder lies beside the map, in ``MAP.parts``, and is
removed when the map is finished.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from network.datasets.windows import Window
from network.errors import InputError
from network.maps.layers import CONFIDENCE, LABELS, LAYERS, NO_DATA, Layer
from network.maps.options import POLYGON_FORMATS
from network.maps.plan import CORES_A_BLOCK, Block
from network.maps.records import MapRecords
from network.rasters.legend_files import style_of
from network.rasters.tiles import write_tile
from network.rasters.whole import check_structure
from network.writing import read_json, remove_leftovers, replacing, writing

JOB_FILE = "job.json"


@dataclass(frozen=True)
class Job:
    """The work on one map.

    Attributes:
        target: the file of the labels.
        layers: the layers that have files of their own.
        identity: all facts that the map depends on, by name. A rerun with other facts is refused.
        image: size and time of the image's files, which show whether it has changed.
        source: path of the image.
        cores: rows and columns of cores in a block, see :class:`network.maps.plan.Plan`.
        former_image: what an older version wrote for ``image``, so that its finished maps count.
    """

    target: Path
    layers: tuple[Layer, ...]
    identity: Mapping[str, Any]
    image: str
    source: str
    cores: tuple[int, int] = (CORES_A_BLOCK, CORES_A_BLOCK)
    former_image: str | None = None

    @property
    def all_parts(self) -> Path:
        """Folder of the blocks of all jobs on this map."""
        return self.target.with_name(f"{self.target.name}.parts")

    @cached_property
    def parts(self) -> Path:
        """Folder of the finished blocks.

        Its name depends on all that the blocks depend on, so blocks of two jobs never mix. The path
        of the image is not among these, since the image may be moved.
        """
        facts: list[Any] = [self.identity, self.image]
        if self.cores != (CORES_A_BLOCK, CORES_A_BLOCK):
            facts.append(self.cores)
        text = json.dumps(facts, sort_keys=True)
        return self.all_parts / hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def lock(self) -> Path:
        """File that is locked by the process that writes the finished map."""
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

    def mosaic(self, layer: Layer) -> Path:
        """File that shows all blocks of a layer as one raster, while the map is finished."""
        return self.parts / f"{layer.name or 'labels'}.vrt"

    @property
    def computed(self) -> tuple[Layer, ...]:
        """All layers that blocks have: polygons tell the confidence also if it has no file."""
        if self.polygons is None or CONFIDENCE in self.layers:
            return self.layers
        return (*self.layers, CONFIDENCE)

    @property
    def polygons(self) -> Path | None:
        """File of the polygons; None if there are none.

        The identity has their format if they lie beside the map, or else the path from its folder.
        """
        wanted = self.identity.get("polygons")
        if wanted in POLYGON_FORMATS:
            return self.target.with_suffix(f".{wanted}")
        return None if wanted is None else self.target.parent / wanted

    @property
    def outputs(self) -> list[Path]:
        """All files that a finished map has."""
        found = [self.file(layer) for layer in self.layers]
        found.append(self.target.with_name(f"{self.target.name}.aux.xml"))
        if self.target.suffix.lower() != ".png":
            found.append(style_of(self.target))
        return found if self.polygons is None else [*found, self.polygons]

    def check(self, records: MapRecords) -> None:
        """Raise an :class:`InputError` if a map, or its blocks, were made with other settings.

        Args:
            records: the finished maps of the folder.
        """
        for path in self.all_parts.glob(f"*/{JOB_FILE}"):
            if path.parent != self.parts:
                self._compare(*_read(path))
        record = records.find(self.target)
        if record:
            self._compare(record.identity, record.image, record.source)
            return
        there = [path for path in self.outputs if path.exists()]
        # If a process was killed between writing these files and their record, the blocks are still
        # there.
        if there and not (self.parts / JOB_FILE).is_file():
            raise _unknown(there[0])

    def check_or_discard(self, records: MapRecords, *, overwrite: bool) -> None:
        """Check a map as :meth:`check` does; if told to, remove one that other settings made.

        Args:
            records: the finished maps of the folder.
            overwrite: whether to remove it.

        Raises:
            InputError: a map, or its blocks, were made with other settings and stay, or a file
                that no record knows is in the way. Then nothing is removed.
        """
        try:
            self.check(records)
        except InputError:
            if not overwrite:
                raise
            made = {path.resolve() for path in self._recorded(records)}
            there = [path for path in self.outputs if path.exists()]
            foreign = [path for path in there if path.resolve() not in made]
            if foreign:
                raise _unknown(foreign[0]) from None
            self.discard(records)
            self.check(records)

    def is_finished(self, records: MapRecords) -> bool:
        """Tell whether the map is there, made from the same image with the same settings.

        Args:
            records: the finished maps of the folder.
        """
        record = records.find(self.target)
        needed = [self.file(layer) for layer in self.layers]
        needed += [self.polygons] if self.polygons else []
        return (
            record is not None
            and record.identity == _plain(self.identity)
            and record.image in (self.image, self.former_image)
            and all(path.is_file() for path in needed)
        )

    def begin(self) -> None:
        """Make the folder of blocks, or take over the one that is there.

        Blocks of the image as it was before are removed.

        Raises:
            InputError: the disk refuses to write.
        """
        with writing(self.all_parts):
            for folder in self.all_parts.glob("*"):
                if folder != self.parts:
                    shutil.rmtree(folder)
        if (self.parts / JOB_FILE).is_file():
            remove_leftovers(self.parts)
            return
        content = {"identity": self.identity, "image": self.image, "source": self.source}
        with replacing(self.parts / JOB_FILE) as partial:
            partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def is_sound(self, block: Block) -> bool:
        """Tell whether a block is finished and its files are whole.

        A damaged block loses its labels, so it counts as not finished from then on.
        """
        if not self.is_done(block):
            return False
        try:
            for layer in self.computed:
                check_structure(self.part(block, layer), "GTiff")
        except InputError:
            self.part(block, LABELS).unlink(missing_ok=True)
            return False
        return True

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
        for layer in sorted(self.computed, key=lambda layer: layer is LABELS):
            write_tile(self.part(block, layer), values[layer.name], NO_DATA)

    def clean(self) -> None:
        """Remove the blocks of a finished map."""
        shutil.rmtree(self.parts, ignore_errors=True)
        with suppress(OSError):  # blocks of another job are there
            self.all_parts.rmdir()

    def discard(self, records: MapRecords) -> None:
        """Remove the map with all that was made with it, and all blocks.

        Files that no record knows are left.

        Args:
            records: the finished maps of the folder.
        """
        with writing(self.target):
            if records.find(self.target):
                for path in self._recorded(records):
                    path.unlink(missing_ok=True)
                records.remove(self.target)
            if self.all_parts.exists():
                shutil.rmtree(self.all_parts)

    def _recorded(self, records: MapRecords) -> list[Path]:
        """List the files of the finished map that a record knows."""
        record = records.find(self.target)
        if record is None:
            return []
        identity = record.identity or {}
        named = [name for name in identity.get("layers", ()) if name in LAYERS]
        layers = tuple(LAYERS[name] for name in named)
        return [self.target, *replace(self, layers=layers, identity=identity).outputs]

    def tiles(self, blocks: Iterable[Block], layer: Layer) -> dict[Path, Window]:
        """List the files of a layer with their rows and columns."""
        return {self.part(block, layer): (block.rows, block.columns) for block in blocks}

    def _compare(self, identity: Any, image: Any, source: Any) -> None:
        """Raise an :class:`InputError` unless a map was made with these settings."""
        remedy = "choose another output, or give overwrite=True to delete it"
        if not isinstance(identity, dict):
            raise InputError(self.target, "was begun, but the record of it is damaged", remedy)
        new = _plain(self.identity)
        different = [key for key in identity | new if identity.get(key) != new.get(key)]
        if different:
            key = different[0]
            more = f", and {len(different) - 1} more" if len(different) > 1 else ""
            raise InputError(
                self.target,
                f"was made with other settings (its {key} is {_short(identity.get(key))}, not "
                f"{_short(new.get(key))}{more})",
                remedy,
            )
        if image not in (self.image, self.former_image) and source != self.source:
            raise InputError(self.target, f"is the map of another image, {source}", remedy)


def _unknown(path: Path) -> InputError:
    """Make the error for a file that may be the user's own."""
    return InputError(
        path,
        "is there already, and no record says how it was made",
        "choose another output, or remove it",
    )


def _read(path: Path) -> tuple[Any, Any, Any]:
    """Read identity, image and source of a job; None if the file is damaged."""
    try:
        content = read_json(path)
        return content["identity"], content["image"], content["source"]
    except (ValueError, OSError, KeyError, TypeError):
        return None, None, None


def _plain(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Turn an identity into what a reader of its JSON gets."""
    return json.loads(json.dumps(identity))


def _short(value: Any) -> str:
    if value is None:
        return "none"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
