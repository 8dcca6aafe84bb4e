"""Tiny data sets of many forms, and the experiment that is written for them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from network.commands.config_text import config_text
from network.config import Experiment, load_experiment
from network.datasets.discovery.describe import describe
from network.datasets.discovery.description import AREAS, Description
from network.datasets.discovery.layout import find_layout
from network.datasets.files import write_image
from network.datasets.on_earth.split import write_division
from network.datasets.segmentation import Labels, Sample, check_samples, find_samples
from tests.conftest import ROOT

COLORS = np.array([(0, 90, 200), (240, 200, 20), (30, 160, 60)], np.uint8)


def labels_of(seed: int, side: int = 64) -> np.ndarray:
    """Random labels 0 to 2 in squares, of which the first three are all different."""
    squares = np.random.default_rng(seed).integers(0, 3, (side // 8, side // 8))
    squares[0, :3] = (0, 1, 2)
    return np.kron(squares, np.ones((8, 8), int)).astype(np.uint8)


def image_of(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """An image (h, w, 3) uint8 whose colors tell the label."""
    noise = np.random.default_rng(seed).integers(0, 60, (*labels.shape, 3), dtype=np.uint8)
    return COLORS[labels] // 2 + noise


def write_pairs(images: Path, masks: Path, names: list[str], *, rgb: bool = False) -> None:
    """Images and masks of labels, or of colors."""
    for seed, name in enumerate(names):
        labels = labels_of(seed)
        write_image(images / f"{name}.png", image_of(labels, seed))
        write_image(masks / f"{name}.png", COLORS[labels] if rgb else labels)


def found_in(*words: Path, labels: tuple[Path, ...] = (), **options) -> Description:
    """The description of a data set."""
    layout = find_layout([str(word) for word in words], [str(word) for word in labels])
    return describe(layout, "fields", **options)


def experiment_of(found: Description, folder: Path) -> Experiment:
    """The experiment of the config that is written into a folder; it is formatted by ruff."""
    config = folder / "bicor.py"
    folder.mkdir(parents=True, exist_ok=True)
    config.write_text(config_text(found, Path("config/bicor.py")), encoding="utf-8")
    if found.division is not None:
        write_division(found.division, folder / AREAS)
    ruff = Path(sys.executable).with_name("ruff")
    options = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", str(config)]
    # The path of a folder may be long.
    for words in (["check", "--ignore", "E501"], ["format", "--diff"]):
        done = subprocess.run(
            [ruff, *words, *options], capture_output=True, text=True, env=dict(os.environ)
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return load_experiment(config)


def samples_of(experiment: Experiment) -> dict[str, list[Sample]]:
    """The samples of every split, whose masks have been read."""
    found = {}
    for split in experiment.dataset.splits:
        found[split] = find_samples(experiment.dataset, experiment.root, split)
        checked(experiment, split, found[split])
    return found


def checked(experiment: Experiment, split: str, samples: list[Sample]) -> Labels:
    """The labels of a split, of which none is unknown."""
    return check_samples(samples, experiment.dataset, split)
