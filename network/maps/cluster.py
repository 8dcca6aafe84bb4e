"""Maps of many images on a Dask cluster.

Workers look at the images, predict shares of their blocks and write the finished maps. This process
tells them what to do, and writes the records. All need to see the same files.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

from distributed import Client, Future, KilledWorker, Worker, WorkerPlugin, as_completed, get_worker

from network.cluster import Cluster, work_in
from network.config import load_experiment
from network.errors import InputError
from network.exported.choice import Backend
from network.maps.inputs import check_polygon_file
from network.maps.options import MapOptions
from network.maps.plan import Plan
from network.maps.records import MapRecords
from network.maps.run import Failures, add_record, check_options, load_predictor, make_tasks
from network.maps.work import Finished, MapWork, Means, Share, Task
from network.prediction import ImagePredictor
from network.progress import progress_bar
from network.rasters.source import UnreadableImage, is_virtual
from network.writing import Busy, remove_leftovers

BLOCKS_A_SHARE = 4
"""Number of blocks that a worker does at once, so that reading and writing overlap."""

IMAGES_AT_ONCE = 50
"""Number of images that a worker looks at in a step."""


@dataclass(frozen=True)
class ModelSource:
    """The files and settings that a worker loads its network from.

    Attributes:
        config: the config file; None for an exported file.
        overrides: ``key=value`` words beside the config.
        checkpoint: the checkpoint, or an exported file.
        tta: test-time augmentation, see :func:`network.tta.build_views`.
        device: name of the device, see :func:`network.compute.find_device`.
        backend: how an exported file is run.
    """

    config: Path | None
    overrides: tuple[str, ...]
    checkpoint: Path
    tta: str = "none"
    device: str = "auto"
    backend: Backend = field(default_factory=Backend)

    def load(
        self, batch_size: int, device: str | None = None
    ) -> tuple[ImagePredictor, dict[str, Any]]:
        """Load the predictor, and the facts that maps depend on.

        Args:
            batch_size: number of windows in a step.
            device: name of another device than ``self.device``.
        """
        experiment = load_experiment(self.config, self.overrides) if self.config else None
        return load_predictor(
            experiment, self.checkpoint, self.tta, device or self.device, batch_size, self.backend
        )


def predict_on_cluster(
    cluster: Cluster,
    model: ModelSource,
    images: Sequence[str | Path],
    output: Path,
    options: MapOptions,
) -> int:
    """Predict a map, or the mask of a photo, for each image on the workers of a cluster.

    The maps are those that :func:`network.maps.run.predict_images` makes, byte for byte.

    Args:
        cluster: the cluster. Its workers see all files under the same paths.
        model: what they load the network from.
        images: files, or paths that GDAL understands.
        output: folder of the maps; with one image also the file.
        options: how maps are predicted and written.

    Returns:
        The number of images whose maps are finished.

    Raises:
        InputError: the cluster, the checkpoint or the output cannot be used.
        SomeFailed: some images, or some blocks, could not be predicted.
    """
    config = model.config and model.config.resolve()
    model = replace(model, config=config, checkpoint=model.checkpoint.resolve())
    tasks = [_absolute(task) for task in make_tasks(images, output)]
    if options.polygons and options.polygons.file:
        check_polygon_file(options.polygons.file, len(tasks))
        file = options.polygons.file.absolute()
        options = replace(options, polygons=replace(options.polygons, file=file))
    predictor, identity = model.load(options.batch_size, device="cpu")
    check_options(options, predictor)
    means = Means(predictor.info, identity, options, predictor.ground_resolution)
    del predictor
    folder = tasks[0].output.parent
    remove_leftovers(folder)
    records = MapRecords(folder)
    failures = Failures(records, len(tasks))
    with cluster.connected() as client:
        client.register_plugin(_Setup(model, means, folder))
        works = _look_at(client, tasks, failures)
        finished = len(tasks) - len(works) - failures.images
        finished += _Run(client, works, means, records, failures).run()
    failures.end()
    return finished


def _absolute(task: Task) -> Task:
    image = task.image if is_virtual(task.image) else str(Path(task.image).absolute())
    return replace(task, image=image, output=task.output.absolute())


class _Setup(WorkerPlugin):
    """The state of a worker: the network, which is loaded once, and the records.

    Args:
        model: what the network is loaded from.
        means: how maps are made.
        folder: folder of the maps.
    """

    name = "maps"

    def __init__(self, model: ModelSource, means: Means, folder: Path):
        self.model, self.means, self.folder = model, means, folder
        self._place = Path.cwd()

    def setup(self, worker: Worker) -> None:
        """Prepare a worker; nothing is loaded yet."""
        self.lock = Lock()  # a worker with several threads does one step at a time
        self.records: MapRecords | None = None
        self.predictor: ImagePredictor | None = None

    def load(self) -> ImagePredictor:
        """Load the network, or take the one that was loaded before."""
        if self.predictor is None:
            work_in(self._place)
            predictor, identity = self.model.load(self.means.options.batch_size)
            for key, value in self.means.identity.items():
                if identity.get(key) != value:
                    raise InputError(
                        self.model.checkpoint,
                        f"is another file on a worker (its {key} differs)",
                        "all machines must see the same files",
                    )
            self.predictor = predictor
        return self.predictor


def _here() -> _Setup:
    """Find the setup of the worker that runs this."""
    setup = get_worker().plugins["maps"]
    assert isinstance(setup, _Setup)
    return setup


@dataclass
class _Work:
    """The work on one map, as this process sees it.

    Attributes:
        task: the image and the file of the map.
        plan: plan of its blocks.
        missing: numbers of the blocks that are not finished.
        pixels: number of their pixels.
        share: all that was predicted so far.
        left: number of blocks that were not reported yet.
        begin: when the first share was begun.
        notes: what a user should know of the image, see :meth:`MapWork.notes`.
    """

    task: Task
    plan: Plan
    missing: list[int]
    pixels: int
    share: Share = field(default_factory=Share)
    left: int = 0
    begin: float = 0.0
    notes: dict[str, str] = field(default_factory=dict)


def _survey(tasks: Sequence[Task]) -> list[_Work | UnreadableImage | None]:
    """On a worker: find what is missing of each map; None if nothing is."""
    here = _here()
    found: list[_Work | UnreadableImage | None] = []
    with here.lock:
        if here.records is None:
            here.records = MapRecords(here.folder)
        here.records.read()
        for task in tasks:
            try:
                with MapWork(task, here.means) as work:
                    if work.check(here.records):
                        found.append(None)
                        continue
                    missing = work.missing()
                    # A copy of the plan, without what it has computed.
                    plan, pixels = replace(work.plan), work.pixels(missing)
                    found.append(_Work(task, plan, missing, pixels, notes=work.notes()))
            except UnreadableImage as error:
                found.append(error)
    return found


def _prepare(task: Task) -> None:
    """On a worker: compute the context of an image."""
    here = _here()
    with here.lock, MapWork(task, here.means) as work:
        work.prepare(here.load())


def _predict(task: Task, numbers: Sequence[int]) -> tuple[Share, int]:
    """On a worker: predict blocks; those that a lost worker has finished are left out.

    Returns:
        What was predicted, and the number of pixels of all these blocks.
    """
    here = _here()
    with here.lock, MapWork(task, here.means) as work:
        return work.predict(here.load(), work.missing(numbers)), work.pixels(numbers)


def _finish(task: Task) -> Finished | None:
    """On a worker: write the finished map; None if another process is doing it."""
    here = _here()
    with here.lock, MapWork(task, here.means) as work:
        try:
            return work.finish()
        except Busy:
            return None


def _clean(task: Task) -> None:
    """On a worker: remove the blocks of a finished map."""
    with MapWork(task, _here().means) as work:
        work.job.clean()


def _look_at(client: Client, tasks: Sequence[Task], failures: Failures) -> list[_Work]:
    """Find what is to do for each image, on the workers."""
    batches = [
        tasks[start : start + IMAGES_AT_ONCE] for start in range(0, len(tasks), IMAGES_AT_ONCE)
    ]
    works = []
    futures = client.map(_survey, batches, pure=False)
    with progress_bar(total=len(tasks), desc="Looking at images", unit="image") as bar:
        for batch, future in zip(batches, futures, strict=True):
            for task, found in zip(batch, future.result(), strict=True):
                if isinstance(found, UnreadableImage):
                    failures.add_image(task, found)
                    continue
                failures.begin()
                if found is not None:
                    failures.tell(found.notes)
                    works.append(found)
            bar.update(len(batch))
    return works


@dataclass(frozen=True)
class _Step:
    """A function that a worker runs, and what its result is for.

    Attributes:
        function: the function.
        work: the map.
        numbers: numbers of the blocks that are predicted.
        is_alone: whether no other step runs at the same time.
    """

    function: Callable[..., Any]
    work: _Work
    numbers: tuple[int, ...] = ()
    is_alone: bool = False


class _Run:
    """The prediction of maps, of which a few steps are with the workers at any time.

    Args:
        client: client of the cluster.
        works: the maps.
        means: how they are made.
        records: the records of the output folder.
        failures: gets the blocks that fail.
    """

    def __init__(
        self,
        client: Client,
        works: Sequence[_Work],
        means: Means,
        records: MapRecords,
        failures: Failures,
    ):
        self._client, self._works = client, works
        self._has_context = means.options.context == "image"
        self._records, self._failures = records, failures
        self._finished = 0
        self._new = self._steps()
        self._again: deque[_Step] = deque()
        self._running: dict[Future, _Step] = {}
        # Steps that ran while workers were killed, each of which may be the cause.
        self._suspects: deque[_Step] = deque()

    def run(self) -> int:
        """Predict all maps and return the number of those that are finished."""
        total = sum(work.pixels for work in self._works)
        with progress_bar(total=total, desc="Maps", unit="px", unit_scale=True) as self._bar:
            ended = as_completed()
            while True:
                for future in self._submit():
                    ended.add(future)
                if not self._running:
                    return self._finished
                future = next(ended)
                self._take(future, self._running.pop(future))

    def _steps(self) -> Iterator[_Step]:
        """The first steps of each map in turn."""
        for work in self._works:
            work.left = len(work.missing)
            if not work.left:
                yield _Step(_finish, work)
            elif self._has_context:
                yield _Step(_prepare, work)
            else:
                yield from _shares(work)

    def _submit(self) -> Iterator[Future]:
        """Submit so many steps that no worker waits, and no more: new workers get some too."""
        workers = len(self._client.scheduler_info(n_workers=-1)["workers"])
        while len(self._running) < 2 * max(1, workers):
            step = self._again.popleft() if self._again else next(self._new, None)
            if step is None and self._suspects and not self._running:
                step = self._suspects.popleft()
            if step is None:
                return
            step.work.begin = step.work.begin or time.perf_counter()
            arguments = (step.work.task, *([step.numbers] if step.function is _predict else []))
            future = self._client.submit(step.function, *arguments, pure=False)
            self._running[future] = step
            yield future

    def _take(self, future: Future, step: _Step) -> None:
        """Take the result of a step."""
        try:
            result = future.result()
        except KilledWorker:
            self._take_killed(step)
            return
        except UnreadableImage as error:  # it was readable before
            self._fail(step, str(error))
            return
        if step.function is _prepare:
            self._again.extend(_shares(step.work))
        elif step.function is _predict:
            share, pixels = result
            step.work.share.add(share)
            self._bar.update(pixels)
            self._end_share(step)
        elif step.function is _finish and result is not None:
            seconds = time.perf_counter() - step.work.begin
            add_record(self._records, result, step.work.share, seconds)
            self._finished += 1
            self._again.append(_Step(_clean, step.work))

    def _take_killed(self, step: _Step) -> None:
        """Run a step again whose worker was killed; one that ran alone is the cause itself."""
        if step.is_alone:
            self._fail(step, "the process that computes it is killed each time")
        else:
            parts = step.numbers or (None,)
            self._suspects.extend(
                replace(step, numbers=() if part is None else (part,), is_alone=True)
                for part in parts
            )

    def _fail(self, step: _Step, reason: str) -> None:
        """Give up a step."""
        if step.function is _clean:
            return  # the map is finished; the next run removes its blocks
        if step.function is _finish:  # all blocks are there, but the map cannot be put together
            image = step.work.task.image
            error = UnreadableImage(image, reason.removeprefix(f"{image}: "))
            self._failures.add_image(step.work.task, error)
            return
        numbers = step.numbers or tuple(step.work.missing)
        step.work.share.failed |= dict.fromkeys(numbers, reason)
        if step.function is _predict:
            self._end_share(step)
        else:
            self._failures.add_blocks(step.work.task, step.work.plan, step.work.share)

    def _end_share(self, step: _Step) -> None:
        """Count blocks as done or failed, and finish the map after the last ones."""
        work = step.work
        work.left -= len(step.numbers)
        if work.left:
            return
        if work.share.failed:
            self._failures.add_blocks(work.task, replace(work.plan), work.share)
        else:
            self._again.appendleft(_Step(_finish, work))


def _shares(work: _Work) -> Iterator[_Step]:
    for start in range(0, len(work.missing), BLOCKS_A_SHARE):
        yield _Step(_predict, work, tuple(work.missing[start : start + BLOCKS_A_SHARE]))
