"""The work on the map of one image: which blocks are missing, their prediction, the finished map.

Each step may be done by another process on another machine, as long as all see the same files.
"""

import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from network import failures
from network.datasets.open_image import open_image
from network.datasets.schema import DatasetInfo
from network.datasets.windows import spans
from network.errors import InputError
from network.maps.finish import Format, finish_map, finish_polygons
from network.maps.job import Job
from network.maps.layers import DISAGREEMENT, LABELS
from network.maps.options import MapOptions, PolygonOptions
from network.maps.plan import Block, Plan
from network.maps.predict import BlockFailed, Segment, Times, predict_blocks
from network.maps.records import MapRecord, MapRecords
from network.memory import give_back_free_memory, share_memory_among_threads
from network.prediction import ImagePredictor, WindowPredictor
from network.rasters.resolution import compare_with_training
from network.rasters.source import Source, UnreadableImage, is_virtual
from network.rasters.tiles import can_keep
from network.writing import locked

if TYPE_CHECKING:
    from network.rasters.ground import Ground

LONGEST_NAME = 200
"""Longest name of an output in bytes; file systems take 255, and temporary names are longer."""

ATTEMPTS = 3
"""How often a block is tried."""

SMALL_BLOCK = (2, 2)
"""Rows and columns of cores in a block of a map that has a band for each class."""


@dataclass(frozen=True)
class Task:
    """An image and the file of its map.

    Attributes:
        image: the image, as :class:`Source` takes it.
        output: file of the map; without its ending unless ``is_file``.
        is_file: whether ``output`` has its ending, ``.tif`` or ``.png``.
    """

    image: str
    output: Path
    is_file: bool = False


@dataclass(frozen=True)
class Means:
    """The network and the settings that maps are made with.

    Attributes:
        info: description of images and classes.
        identity: facts about the network that the maps depend on, see :class:`Job`.
        options: how maps are predicted and written.
        trained_resolution: side of a pixel of the training images in meters; None if unknown.
    """

    info: DatasetInfo
    identity: Mapping[str, Any]
    options: MapOptions
    trained_resolution: float | None = None


@dataclass
class Share:
    """The result of a share of the blocks of a map.

    Attributes:
        pixels: number of pixels that were predicted.
        times: how long each stage has worked.
        peak_memory_mb: peak memory of the process so far.
        failed: numbers of the blocks that failed, and why.
    """

    pixels: int = 0
    times: Times = field(default_factory=Times)
    peak_memory_mb: int = 0
    failed: dict[int, str] = field(default_factory=dict)

    def add(self, other: "Share") -> None:
        """Add another share of the same map."""
        self.pixels += other.pixels
        self.times.add(other.times)
        self.peak_memory_mb = max(self.peak_memory_mb, other.peak_memory_mb)
        self.failed |= other.failed


@dataclass(frozen=True)
class Finished:
    """A map whose files are written, and which still lacks its record.

    Attributes:
        target: file of the map.
        record: what it was made from.
        size: height and width.
        pixels: number of pixels of each class, by name.
        seconds: how long it took to write the files, without the polygons.
        polygons: number of polygons, and the seconds that they took; None if none are wanted.
        peak_memory_mb: peak memory of the process so far.
    """

    target: Path
    record: MapRecord
    size: tuple[int, int]
    pixels: dict[str, int]
    seconds: float
    polygons: tuple[int, float] | None
    peak_memory_mb: int


class MapWork:
    """The work on the map of one image, which is open until :meth:`close`.

    Args:
        task: the image and the file of its map.
        means: how it is made.

    Attributes:
        job: the files of the map.
        plan: the plan of its blocks.

    Raises:
        UnreadableImage: the image cannot be opened, has other bands or values, or lies where
            polygons have no areas.
        InputError: the map would replace the image.
    """

    def __init__(self, task: Task, means: Means):
        share_memory_among_threads()
        self._means = means
        self._source = open_image(task.image, means.info, means.options.bands)
        try:
            self.plan = plan_of(self._source, means.options)
            self.job = _job(self._source, task, means, self.plan.cores)
            self._ground = _ground(self._source, means.options)
        except InputError:
            self.close()
            raise

    def check(self, records: MapRecords) -> bool:
        """Check that what is there was made with the same settings, or delete it if told to.

        Args:
            records: the finished maps of the folder.

        Returns:
            Whether the map is finished.

        Raises:
            InputError: the map was made with other settings, or the disk refuses to write.
        """
        self.job.check_or_discard(records, overwrite=self._means.options.overwrite)
        if not self.job.is_finished(records):
            return False
        self.job.clean()
        return True

    def notes(self) -> dict[str, str]:
        """Write what a user should know of the image, by the kind of the sentence."""
        source, trained = self._source, self._means.trained_resolution
        found = {}
        pixels = compare_with_training(source.path, source.header.place, source.size, trained)
        if pixels:
            found["pixels"] = pixels
        if source.has_rpcs:
            found["rpcs"] = (
                f"{source.path}: its map does not keep the rational polynomials (RPC) that say "
                "where it lies; warp it before (gdalwarp -rpc)"
            )
        place = source.header.place
        if place and not can_keep(place):
            found["crs"] = (
                f"{source.path}: a GeoTIFF cannot keep its reference system, so its map has "
                "another one or none; warp it before (gdalwarp -t_srs EPSG:4326)"
            )
        if source.header.unheeded:
            what = " and ".join(source.header.unheeded)
            found["values"] = f"{source.path}: has {what}; its values are used as stored"
        return found

    def missing(self, numbers: Sequence[int] | None = None) -> list[int]:
        """List the blocks that are not finished.

        Args:
            numbers: numbers of the blocks to look at, in the order of the plan; by default all.
        """
        numbers = range(len(self.plan)) if numbers is None else numbers
        if not self.job.parts.is_dir():
            return list(numbers)
        return [number for number in numbers if not self.job.is_sound(self.plan.block_at(number))]

    def pixels(self, numbers: Sequence[int]) -> int:
        """Count the pixels of blocks."""
        return sum(_pixels(self.plan.block_at(number)) for number in numbers)

    def prepare(self, predictor: WindowPredictor) -> Segment:
        """Make the folder of the blocks, and compute the context of the image if it is used.

        Args:
            predictor: the predictor, with ``patch=None``; for a layer of disagreement, an
                :class:`~network.prediction.ImagePredictor`.

        Returns:
            The function that segments windows of this image.

        Raises:
            UnreadableImage: the image cannot be read.
            InputError: the disk refuses to write.
        """
        self.job.begin()
        if DISAGREEMENT in self._means.options.layers:
            assert isinstance(predictor, ImagePredictor)
            return lambda images, parts: predictor.logits_and_disagreement(images)
        if self._means.options.context == "window":
            return lambda images, parts: predictor.logits(images)
        from network.maps.context import in_context  # needs torch

        return in_context(predictor, self._source, self.plan, self.job.parts)

    def predict(
        self,
        predictor: WindowPredictor,
        numbers: Sequence[int],
        done: Callable[[int], None] = lambda pixels: None,
    ) -> Share:
        """Predict and write blocks. One that fails is tried again after the others.

        Args:
            predictor: see :meth:`prepare`.
            numbers: numbers of the blocks.
            done: called after each block with its pixels.

        Raises:
            InputError: the disk refuses to write.
            Exception: the network fails three times before it has predicted any block.
        """
        share, options = Share(), self._means.options
        if not numbers:
            return share
        segment = self.prepare(predictor)
        todo = {(block := self.plan.block_at(number)).name: (number, block) for number in numbers}
        attempts: Counter[str] = Counter()

        def finished(block: Block) -> None:
            del todo[block.name]
            share.pixels += _pixels(block)
            done(_pixels(block))

        while todo:
            try:
                predict_blocks(
                    segment,
                    predictor.info.num_classes,
                    self._source,
                    [block for _, block in todo.values()],
                    self.job.computed,
                    self.job.commit,
                    share.times,
                    batch_size=options.batch_size,
                    done=finished,
                )
            except BlockFailed as error:
                name, cause = error.block.name, error.cause
                attempts[name] += 1
                is_network = not isinstance(cause, UnreadableImage)
                if is_network and not share.pixels and attempts.total() >= ATTEMPTS:
                    raise cause from None
                number, block = todo.pop(name)
                if attempts[name] < ATTEMPTS:
                    todo[name] = number, block  # after the others
                else:
                    share.failed[number] = _reason(cause)
        share.peak_memory_mb = _peak_memory_mb()
        return share

    def is_complete(self) -> bool:
        """Tell whether all blocks are finished."""
        return all(self.job.is_done(block) for block in self.plan.blocks())

    def finish(self) -> "Finished":
        """Write the finished map from its blocks.

        Raises:
            Busy: another process is finishing it.
            InputError: a file cannot be written.
        """
        means, plan, place = self._means, self.plan, self._source.header.place
        start = time.perf_counter()
        give_back_free_memory()  # what the prediction needed
        format_ = Format(rgb=means.options.rgb, tags=_tags(means.identity))
        with locked(self.job.parts, self.job.lock):
            counts = finish_map(self.job, plan, place, means.info, format_)
            middle, polygons = time.perf_counter(), None
            if self._ground and means.options.polygons:
                found = finish_polygons(self.job, self._ground, means.info, means.options.polygons)
                polygons = found, time.perf_counter() - middle
        return Finished(
            target=self.job.target,
            record=MapRecord(self.job.image, self.job.source, dict(self.job.identity)),
            size=(plan.height, plan.width),
            pixels=dict(zip(means.info.classes, counts, strict=True)),
            seconds=middle - start,
            polygons=polygons,
            peak_memory_mb=_peak_memory_mb(),
        )

    def close(self) -> None:
        """Close the image."""
        self._source.close()

    def __enter__(self) -> "MapWork":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _peak_memory_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _reason(error: Exception) -> str:
    """Say in one line why a block failed."""
    if isinstance(error, InputError):
        return str(error)
    first_line = str(error).splitlines()[:1]  # some errors have no text
    return failures.explain(error) or ": ".join([type(error).__name__, *first_line])


def _pixels(block: Block) -> int:
    height, width = block.shape
    return height * width


def plan_of(source: Source, options: MapOptions) -> Plan:
    """Plan the blocks of an image so that little is decoded twice.

    Args:
        source: the opened image.
        options: how its map is predicted.
    """
    height, width = source.size
    plan = Plan(height, width, options.window, options.halo_width, blend=options.blend)
    if any(layer.per_class for layer in options.layers) and options.blend == "crop":
        # Blocks with a band for each class take much memory. With "hann", smaller blocks would need
        # more passes of the network.
        plan = replace(plan, cores=SMALL_BLOCK)
    stored_height, stored_width = source.block_size
    if stored_width < width or stored_height >= height:
        return plan
    # The file is stored in rows over the whole width. Such blocks decode each row almost once.
    return replace(plan, cores=(1, len(spans(width, options.window, options.halo_width))))


def _job(source: Source, task: Task, means: Means, cores: tuple[int, int]) -> Job:
    target, options = task.output, means.options
    if not task.is_file:
        is_map = options.format == "tif" or (options.format == "auto" and source.header.place)
        target = target.with_name(f"{target.name}{'.tif' if is_map else '.png'}")
    how: dict[str, Any] = {
        "window": options.window,
        "halo": options.halo_width,
        "context": options.context,
        "layers": [layer.name or "labels" for layer in (LABELS, *options.layers)],
        "bands": list(source.bands),
    }
    if options.blend != "crop":
        how["blend"] = options.blend
    if target.suffix.lower() == ".png":
        how["rgb"] = options.rgb
    if options.polygons:
        how["polygons"] = _polygons(options.polygons, target)
        how["min_area"] = float(options.polygons.min_area)
        how["simplify"] = float(options.polygons.simplify)
    job = Job(
        target,
        (LABELS, *options.layers),
        {**means.identity, **how},
        source.version(),
        source.path if is_virtual(source.path) else str(Path(source.path).resolve()),
        cores,
        former_image=source.version(with_side_files=True),
    )
    longest = max((path.name for path in job.outputs), key=lambda name: len(os.fsencode(name)))
    if len(os.fsencode(longest)) > LONGEST_NAME:
        raise UnreadableImage(Path(source.path), "its name is too long for a map", "rename it")
    if Path(source.path).resolve() in [path.resolve() for path in job.outputs]:
        raise InputError(Path(source.path), "would be overwritten", "choose another output")
    return job


def _polygons(options: PolygonOptions, target: Path) -> str:
    """Say where the polygons of a map are written, see :attr:`Job.polygons`."""
    usual = target.with_suffix(f".{options.format}").resolve()
    if options.file is None or options.file.resolve() == usual:
        return options.format
    return os.path.relpath(options.file.resolve(), usual.parent)


def _ground(source: Source, options: MapOptions) -> "Ground | None":
    """Make the measures that polygons need; None if there are no polygons."""
    if options.polygons is None:
        return None
    from network.rasters.ground import Ground  # needs an extra

    return Ground(source.path, source.header.place, *source.size)


def _tags(identity: Mapping[str, Any]) -> dict[str, str]:
    """Make the TIFF tags that say what made a map."""
    # The last ones are facts of exported files.
    keys = "checkpoint_sha256", "tta", "precision", "backend", "exported_sha256", "bits"
    about = ", ".join(f"{key} {identity[key]}" for key in keys if key in identity)
    return {"TIFFTAG_SOFTWARE": "BiCoR-Seg", "TIFFTAG_IMAGEDESCRIPTION": about}
