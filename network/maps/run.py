"""Maps of many images of any size: their prediction by this process, and what failed."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from network.config import Experiment, settings
from network.errors import InputError, warn
from network.exported.choice import Backend
from network.exported.load import check_windows, is_exported, load_exported
from network.maps.inputs import check_polygon_file, find_outputs
from network.maps.layers import check_layers
from network.maps.options import MapOptions
from network.maps.plan import Plan
from network.maps.records import FAILED_FILE, MapRecords
from network.maps.work import Finished, MapWork, Means, Share, Task
from network.prediction import ImagePredictor
from network.progress import progress_bar
from network.rasters.source import UnreadableImage
from network.tta import changed_views
from network.writing import Busy, file_hash, remove_leftovers


class SomeFailed(InputError):
    """The error after all else is done: some images, or parts of them, could not be predicted."""

    exit_code = 3


def predict_images(
    experiment: Experiment | None,
    *,
    checkpoint: Path,
    images: Sequence[str | Path],
    output: Path,
    tta: str = "none",
    device: str = "auto",
    backend: Backend | None = None,
    options: MapOptions | None = None,
) -> int:
    """Predict a map, or the mask of a photo, for each image with a trained network.

    Args:
        experiment: the experiment; not needed for an exported file, which says all itself.
        checkpoint: the checkpoint, or an exported file.
        images: files, or paths that GDAL understands; see :func:`network.maps.inputs.find_inputs`.
        output: folder of the maps; with one image also the file, ``.tif`` or ``.png``.
        tta: test-time augmentation, see :func:`network.tta.build_views`.
        device: name of the device, see :func:`network.compute.find_device`.
        backend: how an exported file is run.
        options: how maps are predicted and written.

    Returns:
        The number of images whose maps are finished.

    Raises:
        InputError: checkpoint, device or output cannot be used.
        SomeFailed: some of several images, or some blocks, could not be predicted.
    """
    options = options or MapOptions()
    tasks = make_tasks(images, output)
    predictor, identity = load_predictor(
        experiment, checkpoint, tta, device, options.batch_size, backend
    )
    return predict_maps(predictor, tasks, identity, options)


def make_tasks(images: Sequence[str | Path], output: Path) -> list[Task]:
    """List what is to do; see :func:`network.maps.inputs.find_outputs`."""
    outputs = find_outputs(images, output)
    is_file = outputs == [output]
    return [Task(str(image), o, is_file) for image, o in zip(images, outputs, strict=True)]


def load_predictor(
    experiment: Experiment | None,
    checkpoint: Path,
    tta: str,
    device: str,
    batch_size: int,
    backend: Backend | None = None,
) -> tuple[ImagePredictor, dict[str, Any]]:
    """Load the predictor of an experiment, or of an exported file.

    Args:
        experiment: the experiment; not needed for an exported file.
        checkpoint: the checkpoint, or an exported file.
        tta: test-time augmentation, see :func:`network.tta.build_views`.
        device: name of the device, see :func:`network.compute.find_device`.
        batch_size: number of windows in a step.
        backend: how an exported file is run.

    Returns:
        The predictor, and the facts about it that maps depend on.

    Raises:
        InputError: the checkpoint or the file cannot be used.
    """
    backend = backend or Backend()
    if is_exported(checkpoint):
        backend.check_device(device)
        file = load_exported(checkpoint, backend)
        info = experiment.dataset if experiment else None
        predictor = file.predictor(info=info, tta=tta, patch=None, batch_size=batch_size)
        return predictor, {**file.identity, "tta": tta, **_of_data_set(predictor, tta)}
    backend.check_checkpoint(checkpoint)
    if experiment is None:
        problem = "is a checkpoint, which needs its experiment"
        raise InputError(checkpoint, problem, "give the experiment, or an exported file")
    return _load_checkpoint(experiment, checkpoint, tta, device, batch_size)


def _load_checkpoint(
    experiment: Experiment, checkpoint: Path, tta: str, device: str, batch_size: int
) -> tuple[ImagePredictor, dict[str, Any]]:
    # Not above: these need torch, and an exported file does not.
    from network.compute import find_device
    from network.differences import changes_predictions, training_settings
    from network.predictor import Predictor, load_network

    target = find_device(device)
    experiment.check_normalization()
    trained = load_network(experiment, checkpoint)
    model, experiment = trained.model, trained.experiment
    training_only = training_settings(model)
    identity = {
        "checkpoint_sha256": file_hash(checkpoint),
        "tta": tta,
        "precision": experiment.compute.precision,
        **{k: v for k, v in settings(experiment).items() if changes_predictions(k, training_only)},
    }
    predictor = Predictor.of(
        experiment,
        model,
        device=target,
        tta=tta,
        patch=None,
        batch_size=batch_size,
        ground_resolution=trained.ground_resolution,
    )
    return predictor, identity | _of_data_set(predictor, tta)


def _of_data_set(predictor: ImagePredictor, tta: str) -> dict[str, Any]:
    """List unusual facts of a data set on which a map depends.

    Usual ones are not listed, so maps of older versions are made by the same.
    """
    info = predictor.info
    views = changed_views(tta, info)
    facts = {"tta_views": views} if views else {}
    return facts | ({"exif_orientation": "stored"} if info.exif_orientation == "stored" else {})


def check_options(options: MapOptions, predictor: ImagePredictor) -> None:
    """Raise an :class:`InputError` if a predictor cannot make maps with these options."""
    fixed = predictor.fixed_size
    check_windows(fixed)
    if fixed and fixed != (options.window, options.window):
        raise InputError(
            f"window={options.window}",
            f"the file takes images of {fixed[0]} x {fixed[1]} pixels only",
            f"give window={fixed[0]}",
        )
    if options.context == "image":
        from network.maps.context import check_context  # needs torch

        check_context(predictor)
    check_layers(options.layers, len(predictor.views))


def predict_maps(
    predictor: ImagePredictor,
    tasks: Sequence[Task],
    identity: dict[str, Any],
    options: MapOptions,
) -> int:
    """Predict the map of each image.

    Finished maps, and finished blocks of unfinished ones, are kept. Images and blocks that cannot
    be read are reported, and the others go on.

    Args:
        predictor: the predictor, with ``patch=None``.
        tasks: the images and the files of their maps, in one folder.
        identity: facts about the network that the maps depend on, see :class:`Job`.
        options: how they are predicted.

    Returns:
        The number of images whose maps are finished.

    Raises:
        InputError: a map cannot be written, or was begun with other settings.
        SomeFailed: some of several images, or some blocks, could not be predicted.
    """
    check_options(options, predictor)
    if options.polygons and options.polygons.file:
        check_polygon_file(options.polygons.file, len(tasks))
    folder = tasks[0].output.parent
    remove_leftovers(folder)
    records = MapRecords(folder, options.shard)
    failures = Failures(records, len(tasks))
    means = Means(predictor.info, identity, options, predictor.ground_resolution)
    finished = 0
    for position, task in enumerate(tasks):
        try:
            finished += _predict_map(predictor, task, position, means, records, failures)
        except UnreadableImage as error:
            failures.add_image(task, error)
    failures.end()
    return finished


class Failures:
    """The images and blocks that could not be predicted, or perhaps not well.

    They are reported as soon as one image could be read. If none can, nothing is written.

    Args:
        records: the records of the output folder.
        count: number of all images.
    """

    def __init__(self, records: MapRecords, count: int):
        self._records, self._count = records, count
        self._is_begun = False
        self._images: list[tuple[str, UnreadableImage]] = []
        self._reported = 0
        self._blocks: list[str] = []
        self._told: set[str] = set()

    @property
    def images(self) -> int:
        """Number of images that cannot be read."""
        return len(self._images)

    def add_image(self, task: Task, error: UnreadableImage) -> None:
        """Take an image that cannot be read."""
        self._images.append((task.image, error))
        if self._is_begun:
            self._report()

    def begin(self) -> None:
        """Take note that an image could be read; what an earlier run wrote is forgotten."""
        if not self._is_begun:
            self._records.forget_failed()
            self._is_begun = True
        self._report()

    def tell(self, notes: Mapping[str, str]) -> None:
        """Warn of an image that can be predicted, but perhaps not well; once for each kind.

        Args:
            notes: the sentences by their kinds, see :meth:`MapWork.notes`.
        """
        for kind in notes.keys() - self._told:
            warn(notes[kind])
        self._told |= notes.keys()

    def add_blocks(self, task: Task, plan: Plan, share: Share) -> None:
        """Take the blocks of an image that failed."""
        for number, reason in sorted(share.failed.items()):
            block = plan.block_at(number)
            self._records.add_failed(
                task.image,
                reason,
                rows=[block.rows.start, block.rows.stop],
                columns=[block.columns.start, block.columns.stop],
            )
            self._blocks.append(reason)
        if share.failed:
            first = share.failed[min(share.failed)]
            warn(
                f"{task.image}: {len(share.failed)} of {len(plan)} blocks failed, the first one: "
                f"{first}"
            )

    def end(self) -> None:
        """Raise an error if something failed."""
        images, blocks = len(self._images), len(self._blocks)
        if images and not self._is_begun:
            first = self._images[0][1]
            more = f" ({images - 1} more images cannot be predicted)" if images > 1 else ""
            where = Path(first.where) if first.is_file else first.where
            raise UnreadableImage(where, f"{first.problem}{more}", first.remedy)
        what = [f"{images} of {self._count} images"] if images else []
        what += [f"{blocks} blocks of images"] if blocks else []
        if what:
            raise SomeFailed(
                self._records.folder / FAILED_FILE,
                f"{' and '.join(what)} could not be predicted, all else is done",
                "mend them and give the same command again",
            )

    def _report(self) -> None:
        for name, why in self._images[self._reported :]:
            warn(f"{why}; this image is left out")
            self._records.add_failed(name, str(why))
        self._reported = len(self._images)


def _predict_map(
    predictor: ImagePredictor,
    task: Task,
    position: int,
    means: Means,
    records: MapRecords,
    failures: Failures,
) -> bool:
    """Predict the map of one image, or this process's share of it.

    Args:
        predictor: the predictor, with ``patch=None``.
        task: the image and the file of its map.
        position: number of the image, from 0 on. The first block of each image belongs to the
            shard after that of the image before, so many small images are shared out too.
        means: how maps are made.
        records: the records of the output folder.
        failures: gets the blocks that fail.

    Returns:
        Whether the map is finished.
    """
    begin = time.perf_counter()
    number, count = means.options.shard
    with MapWork(task, means) as work:
        is_finished = work.check(records)
        failures.begin()
        if is_finished:
            return True
        failures.tell(work.notes())
        todo = work.missing(range((number - position) % count, len(work.plan), count))
        name = Path(task.image).name
        with progress_bar(total=work.pixels(todo), desc=name, unit="px", unit_scale=True) as bar:
            share = work.predict(predictor, todo, bar.update)
        failures.add_blocks(task, work.plan, share)
        records.read()
        if work.job.is_finished(records):  # another process has done it
            work.job.clean()
            return True
        if not work.is_complete():
            return False
        try:
            finished = work.finish()
        except Busy:
            return False  # another process is finishing it
        add_record(records, finished, share, time.perf_counter() - begin)
        work.job.clean()
    return True


def add_record(records: MapRecords, finished: Finished, share: Share, seconds: float) -> None:
    """Write the record of a finished map.

    Args:
        records: the records of the folder.
        finished: the map.
        share: all that was predicted in this run.
        seconds: how long this run has worked on the map.
    """
    stages = {**asdict(share.times), "finishing": finished.seconds}
    if finished.polygons:
        stages["polygons"] = finished.polygons[1]
    stages["all"] = seconds
    facts = {
        "size": finished.size,
        "pixels": finished.pixels,
        **({"polygons": finished.polygons[0]} if finished.polygons else {}),
        "predicted_pixels": share.pixels,
        "megapixels_a_second": round(share.pixels / 1e6 / seconds, 4),
        "seconds": {name: round(value, 3) for name, value in stages.items()},
        "peak_memory_mb": max(share.peak_memory_mb, finished.peak_memory_mb),
    }
    records.add(finished.target, finished.record, facts)
