"""Measure the mean and the standard deviation of each band of a config's images.

For the arguments, see ``tools/measure_bands.py``.
"""

import argparse
import math
from pathlib import Path

from rich.table import Table

from network.commands.arguments import (
    add_workers_flags,
    chosen_workers,
    command_parser,
    execute,
)
from network.config import load_experiment
from network.console import text_console
from network.datasets.checks.bands import Band, measure_bands
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, find_samples
from network.errors import InputError, nearest


def main(description: str) -> None:
    """Parse the command line and measure the bands."""
    execute(make_parser(description), run)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    experiment = load_experiment(args.config, args.overrides)
    info = experiment.dataset
    splits = args.splits or [experiment.data.train]
    found: dict[tuple[Path, ...], Sample] = {}
    for split in splits:
        if split not in info.splits:
            raise InputError(f"--splits {split}", f"no such split{nearest(split, info.splits)}")
        # A file counts only once, even if two splits share its folder. Splits of a scene, however,
        # have labels in other areas of it.
        for sample in find_samples(info, experiment.root, split):
            labels = sample.masks.values() if sample.scene else ()
            found[sample.image, *labels] = sample
    samples = list(found.values())
    bands = measure_bands(samples, info, all_pixels=args.all_pixels, workers=chosen_workers(args))
    is_labeled = any(sample.masks for sample in samples) and not args.all_pixels
    what = "pixels with a class" if is_labeled else "all pixels"
    unlabeled = sum(not sample.masks for sample in samples)
    if is_labeled and unlabeled:
        what += f" ({unlabeled} images have no masks: all pixels)"
    images = len({sample.image for sample in samples})
    print_bands(bands, f"{info.name}, {' and '.join(splits)}: {images} images, {what}")
    constant = [number for number, band in enumerate(bands, start=1) if band.low == band.high]
    if constant:
        raise InputError(
            experiment.root,
            f"band {constant[0]} has one value everywhere",
            "leave it out of the images",
        )
    print(config_text(bands, info))


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = command_parser(description)
    add = parser.add_argument
    add("-c", "--config", type=Path, required=True, help="config/.../x.py")
    add("--splits", nargs="+", default=[], help="default: the config's training split")
    add("--all-pixels", action="store_true", help="count ignored pixels too (not of scenes)")
    add_workers_flags(parser)
    return parser


def print_bands(bands: list[Band], title: str) -> None:
    """Print a table with the pixel values of each band."""
    table = Table(title=title)
    for heading in ("band", "lowest", "highest", "mean", "std"):
        table.add_column(heading, justify="right")
    for number, band in enumerate(bands, start=1):
        # Floats may all lie between 0 and 1.
        style = ".6g" if isinstance(band.low, float) else ".2f"
        values = (band.low, band.high, band.mean, band.std)
        cells = [str(n) if isinstance(n, int) else f"{n:{style}}" for n in values]
        table.add_row(str(number), *cells)
    text_console().print(table)


def config_text(bands: list[Band], info: DatasetInfo) -> str:
    """Write ``mean`` and ``std`` as arguments of ``Data``, in the units that it wants."""
    if info.is_measured:
        mean = tuple(_rounded(band.mean, band.std) for band in bands)
        std = tuple(_rounded(band.std, band.std) for band in bands)
    else:
        largest = 2**info.bits - 1
        mean = tuple(float(f"{band.mean / largest:.6g}") for band in bands)
        std = tuple(float(f"{band.std / largest:.6g}") for band in bands)
    return f"mean={mean}, std={std}"


def _rounded(value: float, std: float) -> float:
    """Round a number to a hundred thousandth of the deviation, however large the number is."""
    return round(value, 5 - math.floor(math.log10(std)))
