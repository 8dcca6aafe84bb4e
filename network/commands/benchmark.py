"""Measure speed and memory, mostly as ratios to the shortest possible time, which is measured too.

For the arguments, see ``tools/benchmark.py``.
"""

import argparse
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import network.models  # noqa: F401  repairs torchvision first where it must be
from network.benchmark.complexity import benchmark_models
from network.benchmark.engines import benchmark_engines
from network.benchmark.gpu import benchmark_gpu
from network.benchmark.loading import benchmark_loading
from network.benchmark.model import Case, benchmark_model
from network.benchmark.naive_bicor import NaiveOrder
from network.benchmark.naive_d2ls import NaiveD2LSOrder
from network.benchmark.parts import measure_parts
from network.benchmark.patches import benchmark_patches
from network.benchmark.testing import benchmark_testing
from network.commands.arguments import command_parser, execute
from network.compute import find_device
from network.config import Experiment, load_experiment, settings
from network.console import text_console
from network.datasets.info import POTSDAM
from network.datasets.schema import MAX_CLASSES
from network.errors import InputError
from network.models.bicor import BiCoRSeg
from network.models.d2ls import D2LS
from network.models.smp import ARCHITECTURES
from network.settings import PRECISIONS
from network.tta import TTA_NAMES
from network.writing import replacing

SUBJECTS = ("model", "models", "gpu", "parts", "loading", "patches", "testing", "engines")
# Flags of each subject that take several values, and flags that count once. All have the last four.
FLAGS = {
    "model": ("config size batch classes precision", "channels_last compile each no_naive device"),
    "models": ("config encoders", "size precision channels_last compile device"),
    "gpu": ("encoders", "config size batch device"),
    "parts": ("", "config size batch classes"),
    "loading": ("config", ""),
    "patches": ("", ""),
    "testing": ("config size batch precision", "channels_last compile each tta device"),
    "engines": ("files", "config size classes"),
}
COMMON_FLAGS = ("subject", "repeats", "threads", "json", "overrides")

# The model whose cost the paper gives, with seven classes and two layers.
DEFAULT_CONFIG = Path("config/loveda/bicor.py")

# Config and override of each row of 'models', all for seven classes.
MODELS = (
    *(("config/loveda/bicor.py", f"model.layers={layers}") for layers in (2, 1, 3)),
    *(("config/loveda/d2ls.py", f"model.layers={layers}") for layers in (1, 2, 3)),
    ("config/loveda/unetformer.py", "model.dim=64"),
    *(("config/baselines/loveda.py", f"model.architecture={name}") for name in ARCHITECTURES),
)

# Encoders of 'gpu', and the seconds after which it begins no further row.
GPU_ENCODERS = ("convnext_base.fb_in1k", "vit_large_patch16_dinov3")
GPU_SECONDS = 420.0

# The switches of --each, which each get a row beside the plain one.
SWITCHES = (
    "compute.channels_last=True",
    "compute.precision=bf16-mixed",
    "compute.precision=16-mixed",
    "model.checkpoint_encoder=True",
    "model.checkpoint_decoder=True",
    "compute.compile=True",
)

# Heading, key in a row, and format of each column.
COLUMNS = (
    ("model", "model", "{}"),
    ("size", "size", "{}"),
    ("batch", "batch", "{}"),
    ("switches", "switches", "{}"),
    ("params M", "params_m", "{:.2f}"),
    ("GMACs", "gmacs", "{:.2f}"),
    ("forward ms", "forward_ms", "{:.0f}"),
    ("/ encoder", "forward_ratio", "{:.3f}"),
    ("training ms", "train_ms", "{:.0f}"),
    ("/ encoder", "train_ratio", "{:.3f}"),
    ("with loss", "train_ratio_with_loss", "{:.3f}"),
    ("images/s", "images_per_s", "{:.2f}"),
    ("peak MB", "peak_memory_mb", "{:.0f}"),
    ("decoder keeps MB", "decoder_saved_mb", "{:.0f}"),
    ("its peak MB", "decoder_peak_mb", "{:.0f}"),
)


def main(description: str) -> None:
    """Parse the command line, measure, and print the results."""
    execute(make_parser(description), run)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    if args.subject not in SUBJECTS:
        raise InputError(f"'{args.subject}'", "cannot be measured", f"known: {', '.join(SUBJECTS)}")
    check_flags(args)
    for flag, values in (("size", args.size), ("batch", args.batch), ("classes", args.classes)):
        if values and min(values) < 1:
            raise InputError(f"--{flag} {min(values)}", "must be at least 1")
    for flag, value in (("repeats", args.repeats), ("threads", args.threads)):
        if value is not None and value < 1:
            raise InputError(f"--{flag} {value}", "must be at least 1")
    if args.threads:
        torch.set_num_threads(args.threads)
    # A table that is too wide for the terminal wraps whole lines, so cells stay readable.
    console = text_console(180)
    console.print(machine())
    results = {
        "model": model_rows,
        "models": models_rows,
        "gpu": gpu_rows,
        "parts": parts_rows,
        "loading": loading_rows,
        "patches": patches_rows,
        "testing": testing_rows,
        "engines": engines_rows,
    }[args.subject](args)
    if args.subject == "model":
        print_models(console, results)
    else:
        print_plain(console, results)
    if args.json:
        # The first row is also on top, for scripts that measure only one.
        document = {"machine": machine(), **results[0], "rows": results}
        with replacing(args.json) as temporary:
            temporary.write_text(json.dumps(document, indent=2) + "\n")


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of the command line, on which overrides may stand anywhere."""
    parser = command_parser(description)
    add = parser.add_argument
    add("subject", nargs="?", default="model", metavar="{" + ",".join(SUBJECTS) + "}")
    add("-c", "--config", type=Path, nargs="+", default=[DEFAULT_CONFIG], help="one row each")
    add("--size", type=int, nargs="+", default=[512], help="height and width, a row each")
    add("--batch", type=int, nargs="+", default=[1], help="images a step, a row each")
    add("--classes", type=int, nargs="+", default=[], help="class counts, a row each")
    add("--precision", nargs="+", choices=PRECISIONS, default=[], help="a row each")
    add("--channels-last", action="store_true")
    add("--compile", action="store_true")
    add("--each", action="store_true", help="a plain row, and one for every switch alone")
    add(
        "--encoders",
        nargs="+",
        default=[],
        metavar="NAME",
        help="a row each: in 'models' instead of all networks, in 'gpu' instead of two",
    )
    add("--files", type=Path, nargs="+", default=[], help="exported files, in 'engines'")
    add("--no-naive", action="store_true", help="leave out the naive order of computation")
    add("-t", "--tta", choices=TTA_NAMES, default="d4", help="views in 'testing' (default d4)")
    add("--repeats", type=int, help="rounds (default 16; gpu and patches 5, models and testing 6)")
    add("--threads", type=int, help="threads of torch (default: all cores)")
    add("--device", default="auto", help="cpu, cuda, ... (default auto)")
    add("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser


def check_flags(args: argparse.Namespace) -> None:
    """Raise an :class:`InputError` for flags and values that would change nothing."""
    several, once = (words.split() for words in FLAGS[args.subject])
    defaults = vars(make_parser("").parse_args([]))
    for name, default in defaults.items():
        value = getattr(args, name)
        if name in COMMON_FLAGS or name in several or value == default:
            continue
        words = [*map(str, value)] if isinstance(value, list) else [str(value)]
        where = " ".join([f"--{name.replace('_', '-')}", *([] if value is True else words)])
        if name not in once:
            raise InputError(where, f"changes nothing in '{args.subject}'", "leave it out")
        if len(words) > 1:
            raise InputError(where, f"'{args.subject}' takes one value", "give one of them")
    if args.subject == "patches" and args.overrides:
        raise InputError(args.overrides[0], "changes nothing in 'patches'", "leave it out")


def machine() -> str:
    """Describe the machine and the versions of the packages in one line."""
    processor = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = names[0].partition(": ")[2] if names else processor
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm"))
    return (
        f"{processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads{gpu}; {packages}"
    )


def experiments(args: argparse.Namespace) -> list[tuple[Experiment, str]]:
    """Load each config with each set of switches, and describe the switches as text."""
    common = [f"compute.{key}=True" for key in ("channels_last", "compile") if getattr(args, key)]
    sets = [[f"compute.precision={name}"] for name in args.precision] or [[]]
    if args.each:
        sets += [[switch] for switch in SWITCHES]
    found = []
    for config, switches in product(args.config, sets):
        switches = common + switches
        experiment = load_experiment(config, [*args.overrides, *switches])
        if "model.drop_path" in settings(experiment):
            # Stochastic depth would leave out different blocks in each step.
            experiment = load_experiment(config, [*args.overrides, *switches, "model.drop_path=0"])
        text = " ".join(switch.partition(".")[2] for switch in switches)
        found += [
            (with_classes(experiment, count), f"{text} classes={count}".strip())
            for count in args.classes
        ] or [(experiment, text)]
    return found


def with_classes(experiment: Experiment, count: int) -> Experiment:
    """Change the number of classes of an experiment.

    Raises:
        InputError: there are too many classes, or the config builds model or loss with a fixed
            number of them.
    """
    if count > MAX_CLASSES:
        raise InputError(f"--classes {count}", f"must be at most {MAX_CLASSES}")
    if not isinstance(experiment.model, partial) or not isinstance(experiment.loss, partial):
        raise InputError("--classes", f"{experiment.config} fixes its model's class count")
    shades = tuple((number % 256, number // 256, 0) for number in range(count))
    names = tuple(map(str, range(count)))
    info = replace(experiment.dataset, classes=names, palette=shades, ignore_index=255, scored=())
    return replace(
        experiment,
        dataset=info,
        model=partial(experiment.model.func, count, **experiment.model.keywords),
        loss=partial(experiment.loss.func, count, **experiment.loss.keywords),
    )


def model_rows(args: argparse.Namespace) -> list[dict]:
    """Measure a model and its bare encoder, one row for each case."""
    device, rows = find_device(args.device), []
    for (experiment, switches), size, batch in product(experiments(args), args.size, args.batch):
        case = Case(
            experiment=experiment,
            size=size,
            batch=batch,
            repeats=args.repeats or 16,
            device=device,
            # Only rows without switches are compared with the naive order of computation.
            yardstick=None if args.no_naive or switches else naive_order,
        )
        rows.append({"switches": switches, **benchmark_model(case)})
    return rows


def naive_order(model: torch.nn.Module) -> NaiveOrder | NaiveD2LSOrder | None:
    """Build the paper's order of computation around a model, if ours differs; otherwise None."""
    if isinstance(model, BiCoRSeg):
        return NaiveOrder(model)
    return NaiveD2LSOrder(model) if isinstance(model, D2LS) else None


def models_rows(args: argparse.Namespace) -> list[dict]:
    """Measure all networks, or a network with several encoders, one row for each."""
    root = Path(__file__).resolve().parents[2]
    common = [f"compute.precision={name}" for name in args.precision[:1]]
    common += [f"compute.{key}=True" for key in ("channels_last", "compile") if getattr(args, key)]
    encoders = [f"model.encoder={name}" for name in args.encoders]
    if not encoders and [root / config for config in args.config] != [root / DEFAULT_CONFIG]:
        where = " ".join(["--config", *map(str, args.config)])
        raise InputError(
            where, "'models' has configs of its own", "leave it out, or add --encoders"
        )
    chosen = product(args.config, encoders) if encoders else MODELS
    return benchmark_models(
        [load_experiment(root / config, [own, *common, *args.overrides]) for config, own in chosen],
        size=args.size[0],
        repeats=args.repeats or 6,
        device=find_device(args.device),
    )


def gpu_rows(args: argparse.Namespace) -> list[dict]:
    """Measure a network on a GPU in each precision, a row for each encoder."""

    def load(overrides: Sequence[str]) -> Experiment:
        words = ["model.drop_path=0", *overrides, *args.overrides]
        return load_experiment(args.config[0], words)

    return benchmark_gpu(
        args.encoders or GPU_ENCODERS,
        load,
        size=args.size[0],
        batch=args.batch[0],
        repeats=args.repeats or 5,
        seconds=GPU_SECONDS,
        device=find_device(args.device),
    )


def parts_rows(args: argparse.Namespace) -> list[dict]:
    """Measure the parts of a model as percentages of the encoder, one row for each part."""
    experiment = experiments(args)[0][0]
    case = Case(
        experiment=experiment,
        size=args.size[0],
        batch=args.batch[0],
        repeats=args.repeats or 16,
    )
    return [
        {"part": name, "forward, % of encoder": forward, "training step, % of encoder": step}
        for name, (forward, step) in measure_parts(case).items()
    ]


def loading_rows(args: argparse.Namespace) -> list[dict]:
    """Measure the loading of training samples, a row for each config and format."""
    return [
        {"config": experiment.config, **row}
        for experiment, _ in experiments(args)
        for row in benchmark_loading(experiment, args.repeats or 16)
    ]


def patches_rows(args: argparse.Namespace) -> list[dict]:
    """Measure the cutting of Potsdam's tiles, in one row."""
    return [benchmark_patches(POTSDAM, repeats=args.repeats or 5)]


def testing_rows(args: argparse.Namespace) -> list[dict]:
    """Measure whole tests, one row for each case."""
    return [
        {"config": experiment.config, "switches": switches, "batch": batch}
        | benchmark_testing(
            experiment,
            tta=args.tta,
            size=size,
            batch_size=batch,
            repeats=args.repeats or 6,
            device=find_device(args.device),
        )
        for (experiment, switches), size, batch in product(experiments(args), args.size, args.batch)
    ]


def engines_rows(args: argparse.Namespace) -> list[dict]:
    """Measure exported files, one row for each program and precision."""
    experiment, _ = experiments(args)[0]
    return benchmark_engines(experiment, args.files, args.size[0], args.repeats or 16)


def print_models(console: Console, rows: Sequence[dict]) -> None:
    """Print one table, in which the naive order's row is below that of its model."""
    table = Table()
    for heading, _, _ in COLUMNS:
        table.add_column(heading, justify="right", overflow="fold")
    for row in rows:
        table.add_row(*cells(row))
        if "naive" in row:
            table.add_row(*cells({"switches": "naive order", **row["naive"]}))
    console.print(table)
    for row in rows:
        if "decoder_saved_mb_checkpointed" in row:
            console.print(
                f"{row['model']} {row['switches']}: the decoder keeps "
                f"{row['decoder_saved_mb']:.0f} MB an image without its auxiliary branch (peak "
                f"{row['decoder_peak_mb']:.0f}), "
                f"{row['decoder_saved_mb_checkpointed']:.0f} checkpointed (peak "
                f"{row['decoder_peak_mb_checkpointed']:.0f})",
                soft_wrap=True,
            )


def cells(row: dict) -> list[str]:
    """Format the values of a row; a value that was not measured is empty."""
    return [text.format(row[key]) if row.get(key) is not None else "" for _, key, text in COLUMNS]


def print_plain(console: Console, rows: Sequence[dict]) -> None:
    """Print a table whose headings are the keys of the rows."""
    table = Table()
    for key in rows[0]:
        table.add_column(key, justify="right")
    for row in rows:
        table.add_row(*(f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(table)
