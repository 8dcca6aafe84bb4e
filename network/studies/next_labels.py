"""Study of what to label next: rounds of training, mapping and labeling, for each way to choose.

The labels of a round are windows of the training scenes. The first windows are drawn by chance.
Then the network maps the training scenes, the next windows are chosen by its maps, and their true
labels are added: a simulation of a person who draws them. This module needs the extra ``vectors``.
"""

import csv
import hashlib
import io
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import geopandas
import numpy as np
import pyproj
import shapely
from matplotlib.figure import Figure

from network.config import Experiment, default_settings, settings
from network.datasets.on_earth.files import AreaFile
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, find_samples
from network.differences import defines_training
from network.errors import InputError
from network.evaluation.figure_fonts import save_figure
from network.evaluation.protocol import ALL_GROUND
from network.evaluation.results import SCORES_FILE, read_result
from network.maps.evaluate import evaluate_scenes
from network.maps.layers import DISAGREEMENT, LAYERS
from network.maps.options import MapOptions
from network.maps.run import predict_images
from network.maps.search import RANDOM, Search
from network.maps.suggest import suggest_windows
from network.rasters.vector_files import Layer, Rows, write_geopackage
from network.rasters.vector_paths import plain
from network.studies.claims import claim
from network.training.train import train
from network.writing import replacing

TABLE, FIGURE, STUDY_FILE = "next_labels.csv", "next_labels.png", "label_study.json"

_WINDOWS, _CHECKPOINT = "windows.gpkg", "checkpoint.txt"
_FIRST = "first"
_COLORS = {"entropy": "tab:red", "confidence": "tab:orange", "disagreement": "tab:blue"}


@dataclass(frozen=True)
class Rounds:
    """The rounds of the study.

    Attributes:
        size: side of the windows in meters.
        start: number of windows of the first round.
        step: number of windows that each later round adds.
        count: number of rounds.
        head_start: how many times the config's epochs the first round has, since it begins with the
            weights of no earlier round.

    Raises:
        InputError: a value is out of range.
    """

    size: float
    start: int = 4
    step: int = 4
    count: int = 5
    head_start: int = 1

    def __post_init__(self) -> None:
        for name, least in (("start", 1), ("step", 1), ("count", 2), ("head_start", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name}={getattr(self, name)}", f"must be at least {least}")

    def windows(self, number: int) -> int:
        """Count the windows of a round, whose numbers begin at 1."""
        return self.start + (number - 1) * self.step


@dataclass(frozen=True)
class Curve:
    """The scores of one way to choose windows.

    Attributes:
        way: the way, see :data:`network.maps.search.WAYS`.
        scores: test mIoU by seed and round, (seeds, rounds), 0 to 1.
    """

    way: str
    scores: np.ndarray


def run_study(
    base: Experiment,
    rounds: Rounds,
    ways: Sequence[str],
    seeds: Sequence[int],
    output: Path,
    accelerator: str = "auto",
) -> list[Curve]:
    """Run the rounds of each way and seed; finished rounds are not repeated.

    The first round of a seed is the same for all ways. Each later round begins with the weights of
    the round before. The config's ``data.repeat`` counts in the first round. It falls as labels are
    added, so that all rounds have about as many steps an epoch, if it is large enough.

    Args:
        base: the experiment; its data set has scenes. Only windows in the areas of its train split
            are labeled.
        rounds: number and size of the windows.
        ways: the ways to choose windows.
        seeds: the seeds, of windows and of trainings.
        output: folder of all files.
        accelerator: see :func:`network.training.train.train`.

    Returns:
        The test scores of each way.

    Raises:
        InputError: the data set has no scenes, there are not enough windows, or the folder belongs
            to another study.
    """
    split = base.data.train
    if not base.dataset.scenes(split):
        raise InputError(base.dataset.name, "has folders of images and masks, not scenes on Earth")
    samples = find_samples(base.dataset, base.root, split)
    # More rounds, ways and seeds go on in the same folder.
    kept = {k: v for k, v in settings(base).items() if defines_training(k) or k == "data.root"}
    facts = {name: value for name, value in asdict(rounds).items() if name != "count"} | kept
    for name in ("seed", "data.val"):  # each run sets these itself
        facts.pop(name, None)
    facts |= {"data.test": base.data.test, "labels": _digest(samples)}
    if base.data.unlabeled == split:
        facts["data.unlabeled"] = f"{split}{ALL_GROUND}"  # older code saw the windows alone
    # Older folders do not store the digest.
    claim(output, STUDY_FILE, facts, default_settings(base) | {"labels": facts["labels"]})
    truth: dict[str, Path] = {}
    scores = np.empty((len(ways), len(seeds), rounds.count))
    for place, seed in enumerate(seeds):
        for way, found in zip(ways, scores[:, place], strict=True):
            previous = None
            for number in range(1, rounds.count + 1):
                name = f"seed{seed}/{_FIRST if previous is None else way}/round{number}"
                print(f"{way}, {name}: {rounds.windows(number)} windows")
                previous = _Round(base, rounds, way, seed, number, output / name, previous)
                found[number - 1] = previous.run(samples, accelerator)
                _check_truth(previous.folder / "test", truth)
    return [Curve(way, found) for way, found in zip(ways, scores, strict=True)]


def _digest(samples: Sequence[Sample]) -> str:
    """Compute a digest of all labels of scenes."""
    digest = hashlib.sha256()
    for sample in samples:
        if sample.scene and sample.scene.labels:
            digest.update(f"{sample.name} {sample.scene.labels.digest}\n".encode())
    return digest.hexdigest()


def _check_truth(test: Path, truth: dict[str, Path]) -> None:
    """Raise an :class:`InputError` if a round was not tested on the labels of those before it.

    Args:
        test: folder of the test.
        truth: the first test on each kind of labels and digest; this one is added.
    """
    for kind, digest in read_result(test).protocol.labels_sha256.items():
        first = truth.setdefault(kind, test)
        if read_result(first).protocol.labels_sha256.get(kind) != digest:
            raise InputError(
                test,
                f"was tested on other labels than {first}",
                "put the labels back, or choose another output",
            )


@dataclass(frozen=True)
class _Round:
    """One round: choose windows, train on them, test.

    Attributes:
        base: the experiment of the config.
        rounds: number and size of the windows.
        way: how windows are chosen.
        seed: the seed.
        number: number of the round, from 1 on.
        folder: folder of its files.
        previous: the round before; None for the first.
    """

    base: Experiment
    rounds: Rounds
    way: str
    seed: int
    number: int
    folder: Path
    previous: "_Round | None"

    def run(self, samples: Sequence[Sample], accelerator: str = "auto") -> float:
        """Run the round unless it is finished; return the mIoU of the test.

        Args:
            samples: the training scenes with all of their labels.
            accelerator: where to train.
        """
        test = self.folder / "test"
        if not (test / SCORES_FILE).is_file():
            if not (self.folder / _WINDOWS).is_file():
                self._choose(samples)
            checkpoint = self._trained(accelerator)
            evaluate_scenes(
                self.experiment, checkpoint=checkpoint, output=test, split=self.base.data.test
            )
        scores = next(iter(read_result(test).scores.values()))
        miou = scores.overall["mIoU"]
        assert miou is not None  # there are labels
        return miou

    @property
    def experiment(self) -> Experiment:
        """The experiment of this round, whose training areas are its windows."""
        info, data = self.base.dataset, self.base.data
        areas = AreaFile(path=(self.folder / _WINDOWS).resolve())
        dataset, unlabeled = _within(info, data.train, areas), data.unlabeled
        if unlabeled == data.train:  # all its ground, and not that of the windows
            unlabeled = f"{data.train}{ALL_GROUND}"
            splits = {**dataset.splits, unlabeled: info.splits[data.train]}
            dataset = replace(dataset, splits=splits)
        epochs = self.base.optim.epochs * (1 if self.previous else self.rounds.head_start)
        repeat = round(data.repeat * self.rounds.start / self.rounds.windows(self.number))
        return replace(
            self.base,
            name=f"{self.base.name}/{self.folder.parent.parent.name}/{self.folder.parent.name}"
            f"/{self.folder.name}",
            seed=self.seed,
            dataset=dataset,
            data=replace(data, repeat=max(1, repeat), val=None, unlabeled=unlabeled),
            optim=replace(self.base.optim, epochs=epochs),
        )

    def _choose(self, samples: Sequence[Sample]) -> None:
        """Choose the windows that this round adds, and write all windows so far."""
        # The drawn labels lie just where windows may be.
        drawn = [next(iter(sample.masks.values())) for sample in samples]
        maps, way, before, count = drawn, RANDOM, None, self.rounds.start
        if self.previous is not None:
            before, count = self.previous.folder / _WINDOWS, self.rounds.step
            if self.way != RANDOM:
                maps, way = self._map(samples), self.way
        search = Search(
            size=self.rounds.size,
            number=count,
            by=way,
            labeled=() if before is None else (before,),
            seed=1000 * self.seed + self.number,
        )
        found = suggest_windows(maps, search)
        if len(found.windows) < count:
            raise InputError(
                f"size={self.rounds.size:g}",
                f"round {self.number} needs {count} windows, only {len(found.windows)} are left",
                "lower the size, the windows of a round, or the number of rounds",
            )
        polygons, numbers = [window.polygon for window in found.windows], [self.number] * count
        if before is not None:
            older = geopandas.read_file(plain(before))
            polygons = [*older.to_crs(found.crs).geometry, *polygons]
            numbers = [*older["round"], *numbers]
        layer = Layer("windows", pyproj.CRS(found.crs), {"round": int})
        rows = Rows(shapely.orient_polygons(np.array(polygons)), {"round": np.array(numbers)})
        write_geopackage(self.folder / _WINDOWS, layer, [rows])

    def _map(self, samples: Sequence[Sample]) -> list[Path]:
        """Map the training scenes by the network of the round before."""
        assert self.previous is not None
        folder = self.previous.folder / f"maps_{self.way}"
        layer = LAYERS[self.way]
        predict_images(
            self.previous.experiment,
            checkpoint=self.previous.checkpoint,
            images=[sample.image for sample in samples],
            output=folder,
            tta="lr" if layer is DISAGREEMENT else "none",
            options=MapOptions(layers=(layer,), format="tif"),
        )
        return [folder / f"{sample.image.stem}.tif" for sample in samples]

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of the finished training."""
        return Path((self.folder / _CHECKPOINT).read_text(encoding="utf-8").strip())

    def _trained(self, accelerator: str) -> Path:
        """Train from the weights of the round before, unless that is done."""
        if not (self.folder / _CHECKPOINT).is_file():
            begin = self.previous.checkpoint if self.previous else None
            run = train(self.experiment, init_from=begin, devices="1", accelerator=accelerator)
            with replacing(self.folder / _CHECKPOINT) as partial:
                partial.write_text(f"{run / 'last.ckpt'}\n", encoding="utf-8")
        return self.checkpoint


def _within(info: DatasetInfo, split: str, areas: AreaFile) -> DatasetInfo:
    scenes = tuple(replace(scenes, areas=areas) for scenes in info.scenes(split))
    return replace(info, splits={**info.splits, split: scenes})


# Results ----------------------------------------------------------------------------------------


def write_curves(curves: Sequence[Curve], rounds: Rounds, output: Path) -> None:
    """Write the scores as a table, and as a figure.

    Args:
        curves: the scores of each way.
        rounds: number and size of the windows.
        output: folder of the two files.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["way", "round", "windows", "mean_miou", "std_miou", "seeds"])
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axis = figure.subplots()
    numbers = [rounds.windows(number + 1) for number in range(rounds.count)]
    for curve in curves:
        means, spreads = spread(curve)
        for number, (mean, deviation) in enumerate(zip(means, spreads, strict=True)):
            cells = [f"{mean:.4f}", f"{deviation:.4f}", len(curve.scores)]
            writer.writerow([curve.way, number + 1, numbers[number], *cells])
        axis.errorbar(
            numbers,
            100 * means,
            100 * spreads,
            fmt="o-",
            capsize=3,
            ms=4,
            color=_COLORS.get(curve.way, "0.4"),
            label=curve.way,
        )
    axis.set(xlabel=f"labeled windows of {rounds.size:g} m", ylabel="test mIoU, percent")
    axis.set_xticks(numbers)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
    with replacing(output / TABLE) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")
    save_figure(figure, output / FIGURE)


def spread(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Compute the mean of each round over the seeds, and the deviation of a sample.

    With a single seed, the deviation is 0.
    """
    deviations = [
        statistics.stdev(scores) if len(scores) > 1 else 0.0 for scores in curve.scores.T.tolist()
    ]
    return curve.scores.mean(axis=0), np.array(deviations)
