"""Maps of many images of any size: which are to do, their prediction, and what failed."""

import os
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from network.compute import find_device
from network.config import Experiment, settings
from network.differences import changes_predictions, training_settings
from network.errors import InputError, warn
from network.maps.context import check_context, in_context
from network.maps.finish import Format, finish_map
from network.maps.inputs import find_outputs, open_image
from network.maps.job import Job
from network.maps.layers import LABELS, Layer
from network.maps.plan import HALO, WINDOW, Block, Plan, check_lengths, spans
from network.maps.predict import Times, predict_blocks
from network.maps.records import FAILED_FILE, MapRecord, MapRecords
from network.predictor import Predictor, load_network
from network.progress import progress_bar
from network.rasters.source import Source, UnreadableImage, is_remote
from network.writing import Busy, file_hash, locked, remove_leftovers

LONGEST_NAME = 200
"""Longest name of an output in bytes; file systems take 255, and temporary names are longer."""


class SomeFailed(InputError):
    """The error after all other images are done: some images could not be predicted."""

    exit_code = 3


@dataclass(frozen=True)
class MapOptions:
    """How maps are predicted and written.

    Attributes:
        window: largest side of the windows that the network sees, in pixels.
        halo: context around the part of a window that is kept, in pixels.
        batch_size: number of windows in a step.
        layers: what is written beside the labels.
        format: ``"tif"``, ``"png"``, or ``"auto"``: GeoTIFF for images with a place on Earth, PNG
            for others.
        rgb: whether PNG files have colors instead of labels.
        bands: numbers of the bands of the images, from 1 on; by default all.
        context: ``"window"``: the network sees each window alone, as in training; ``"image"``:
            its class embeddings are those of the whole image, see
            :func:`network.maps.context.in_context`.
        shard: number of this process, from 0 on, and number of all processes that share the work.
        overwrite: whether to delete maps that were made otherwise.

    Raises:
        InputError: a value is out of range.
    """

    window: int = WINDOW
    halo: int = HALO
    batch_size: int = 1
    layers: tuple[Layer, ...] = ()
    format: str = "auto"
    rgb: bool = True
    bands: tuple[int, ...] | None = None
    context: str = "window"
    shard: tuple[int, int] = (0, 1)
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_lengths(self.window, self.halo)
        if self.batch_size < 1:
            raise InputError(f"batch_size={self.batch_size}", "must be at least 1")
        number, count = self.shard
        if not 0 <= number < count:
            raise InputError(
                f"shard={number + 1}/{count}", f"the first number must be 1 to {count}"
            )


def predict_images(
    experiment: Experiment,
    *,
    checkpoint: Path,
    images: Sequence[str | Path],
    output: Path,
    tta: str = "none",
    device: str = "auto",
    options: MapOptions | None = None,
) -> int:
    """Predict a map, or the mask of a photo, for each image with a trained network.

    Args:
        experiment: the experiment.
        checkpoint: the checkpoint file.
        images: files, or paths that GDAL understands; see :func:`network.maps.inputs.find_inputs`.
        output: folder of the maps; with one image also the file, ``.tif`` or ``.png``.
        tta: test-time augmentation, see :func:`network.tta.build_views`.
        device: name of the device, see :func:`network.compute.find_device`.
        options: how maps are predicted and written.

    Returns:
        The number of images whose maps are finished.

    Raises:
        InputError: checkpoint, device or output cannot be used.
        SomeFailed: several images were given, and some of them could not be read.
    """
    options = options or MapOptions()
    experiment.check_normalization()
    target = find_device(device)
    outputs = find_outputs(images, output)
    model, _ = load_network(experiment, checkpoint)
    training_only = training_settings(model)
    identity = {
        "checkpoint_sha256": file_hash(checkpoint),
        "tta": tta,
        "precision": experiment.compute.precision,
        **{k: v for k, v in settings(experiment).items() if changes_predictions(k, training_only)},
    }
    predictor = Predictor.of(
        experiment, model, device=target, tta=tta, patch=None, batch_size=options.batch_size
    )
    is_file = outputs == [output]
    return predict_maps(predictor, images, outputs, identity, options, is_file=is_file)


def predict_maps(
    predictor: Predictor,
    images: Sequence[str | Path],
    outputs: Sequence[Path],
    identity: dict[str, Any],
    options: MapOptions,
    *,
    is_file: bool = False,
) -> int:
    """Predict the map of each image.

    Finished maps, and finished blocks of unfinished ones, are kept. An image that cannot be read is
    reported, and the others go on.

    Args:
        predictor: the predictor, with ``patch=None``.
        images: the images, as :class:`Source` takes them.
        outputs: for each image the file of its map without ending.
        identity: facts about the model that the maps depend on, see :class:`Job`.
        options: how they are predicted.
        is_file: whether ``outputs`` have their ending, ``.tif`` or ``.png``.

    Returns:
        The number of images whose maps are finished.

    Raises:
        InputError: a map cannot be written, or was begun otherwise.
        SomeFailed: several images were given, and some of them could not be read.
    """
    check_context(options.context, predictor)
    remove_leftovers(outputs[0].parent)
    records = MapRecords(outputs[0].parent, options.shard)
    failed: list[tuple[str, UnreadableImage]] = []
    reported = finished = 0
    is_begun = False
    for number, (image, output) in enumerate(zip(images, outputs, strict=True), 1):
        try:
            finished += _predict_map(predictor, image, output, identity, options, records, is_file)
        except UnreadableImage as error:
            failed.append((str(image), error))
        if len(failed) == number:  # if no image can be read, nothing is written
            continue
        if not is_begun:
            records.forget_failed()
            is_begun = True
        for name, why in failed[reported:]:
            warn(f"{why}; this image is left out")
            records.add_failed(name, str(why))
        reported = len(failed)
    if failed and not reported:
        first = failed[0][1]
        more = f" ({len(failed) - 1} more images cannot be predicted)" if len(failed) > 1 else ""
        where = Path(first.where) if first.is_file else first.where
        raise UnreadableImage(where, f"{first.problem}{more}", first.remedy)
    if failed:
        raise SomeFailed(
            outputs[0].parent / FAILED_FILE,
            f"{len(failed)} of {len(images)} images could not be predicted, the others are done",
            "mend them and give the same command again",
        )
    return finished


def _predict_map(
    predictor: Predictor,
    image: str | Path,
    output: Path,
    identity: dict[str, Any],
    options: MapOptions,
    records: MapRecords,
    is_file: bool,
) -> bool:
    """Predict the map of one image, or this process's share of it.

    Returns:
        Whether the map is finished.
    """
    info = predictor.info
    begin = time.perf_counter()
    with open_image(image, info, options.bands) as source:
        plan = _plan(source, options)
        job = _job(source, output, identity, options, is_file)
        try:
            job.check(records)
        except InputError:
            if not options.overwrite:
                raise
            job.discard(records)
            job.check(records)
        if job.is_finished(records):
            job.clean()
            return True
        job.begin()
        number, count = options.shard
        todo = [
            block
            for index, block in enumerate(plan.blocks())
            if index % count == number and not job.is_sound(block)
        ]
        times = Times()
        if todo:
            if options.context == "image":
                predictor = in_context(predictor, source, plan, job.parts)
            times = _predict(predictor, source, job, todo, options.batch_size)
        records.read()
        if job.is_finished(records):  # another process has done it
            job.clean()
            return True
        if not all(job.is_done(block) for block in plan.blocks()):
            return False
        start = time.perf_counter()
        try:
            with locked(job.parts, job.lock):
                records.read()
                if job.is_finished(records):
                    return True
                format_ = Format(rgb=options.rgb, tags=_tags(identity))
                counts = finish_map(job, plan, source.header.place, info, format_)
                end = time.perf_counter()
                facts = {
                    "size": [plan.height, plan.width],
                    "pixels": dict(zip(info.classes, counts, strict=True)),
                    **_speed(todo, times, finishing=end - start, all_=end - begin),
                }
                records.add(job.target, MapRecord(job.image, job.source, dict(job.identity)), facts)
                job.clean()
        except Busy:
            return False  # another process is finishing it
    return True


def _speed(todo: Sequence[Block], times: Times, finishing: float, all_: float) -> dict[str, Any]:
    """Describe how fast this run was, and how much memory it took."""
    pixels = sum(block.shape[0] * block.shape[1] for block in todo)
    seconds = {**asdict(times), "finishing": finishing, "all": all_}
    return {
        "predicted_pixels": pixels,
        "megapixels_a_second": round(pixels / 1e6 / all_, 4),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _plan(source: Source, options: MapOptions) -> Plan:
    height, width = source.size
    plan = Plan(height, width, options.window, options.halo)
    stored_height, stored_width = source.block_size
    if stored_width < width or stored_height >= height:
        return plan
    # The file is stored in rows over the whole width. Such blocks decode each row almost once.
    return replace(plan, cores=(1, len(spans(width, options.window, options.halo))))


def _job(
    source: Source, output: Path, identity: dict[str, Any], options: MapOptions, is_file: bool
) -> Job:
    target = output
    if not is_file:
        is_map = options.format == "tif" or (options.format == "auto" and source.header.place)
        target = output.with_name(f"{output.name}{'.tif' if is_map else '.png'}")
    means = {
        "window": options.window,
        "halo": options.halo,
        "context": options.context,
        "layers": [layer.name or "labels" for layer in (LABELS, *options.layers)],
        "bands": list(source.bands),
    }
    if target.suffix == ".png":
        means["rgb"] = options.rgb
    job = Job(
        target,
        (LABELS, *options.layers),
        identity | means,
        source.version(),
        source.path if is_remote(source.path) else str(Path(source.path).resolve()),
    )
    longest = max((path.name for path in job.outputs), key=lambda name: len(os.fsencode(name)))
    if len(os.fsencode(longest)) > LONGEST_NAME:
        raise UnreadableImage(Path(source.path), "its name is too long for a map", "rename it")
    if Path(source.path).resolve() in [path.resolve() for path in job.outputs]:
        raise InputError(Path(source.path), "would be overwritten", "choose another output")
    return job


def _predict(
    predictor: Predictor,
    source: Source,
    job: Job,
    todo: Sequence[Block],
    batch_size: int,
) -> Times:
    pixels = sum(block.shape[0] * block.shape[1] for block in todo)
    with progress_bar(total=pixels, desc=Path(source.path).name, unit="px", unit_scale=True) as bar:
        return predict_blocks(
            predictor,
            source,
            todo,
            job.layers,
            job.commit,
            batch_size=batch_size,
            done=lambda block: bar.update(block.shape[0] * block.shape[1]),
        )


def _tags(identity: Mapping[str, Any]) -> dict[str, str]:
    """Make the TIFF tags that say what made a map."""
    about = ", ".join(f"{key} {identity[key]}" for key in ("checkpoint_sha256", "tta", "precision"))
    return {"TIFFTAG_SOFTWARE": "BiCoR-Seg", "TIFFTAG_IMAGEDESCRIPTION": about}
