"""Train and test every variant of an ablation over several seeds; make a table and a figure.

For the arguments, see ``tools/ablate.py``.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import TextIO

import torch

import network.models  # noqa: F401  repairs torchvision first where it must be
from network.commands.arguments import command_parser, execute
from network.config import load_experiment
from network.datasets.workers import available_cores
from network.errors import InputError, nearest
from network.progress import progress_bar
from network.studies.ablation import (
    check_overrides,
    claim_folder,
    collect,
    is_done,
    measure_costs,
    prepare_labels,
    result_folder,
    run_variant,
    to_markdown,
    training_masks,
    variant_experiment,
    write_figure,
)
from network.studies.ablation_tables import TABLES, Variant
from network.training.optim import build_optimizer
from network.writing import owned, replacing


def main(description: str) -> None:
    """Run the ablation, or one run of it."""
    execute(make_parser(description), run)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    if len(set(args.seeds)) < len(args.seeds) or min(args.seeds) < 0:
        raise InputError(f"--seeds {' '.join(map(str, args.seeds))}", "give each once, 0 or above")
    table = TABLES[args.table]
    if args.variants:
        table = table.of(args.variants)
    check_overrides(args.overrides, TABLES[args.table])  # as each run does, by itself
    check_overrides(args.overrides, table)
    base = load_experiment(args.config, args.overrides)
    info = base.dataset
    split = args.split or base.data.test
    if split not in info.splits:
        raise InputError(f"--split {split}", f"{info.name} has none{nearest(split, info.splits)}")
    if not info.scenes(split) and not info.folders(split)[0].masks:
        raise InputError(f"--split {split}", "a server holds its labels", "give --split val")
    output = args.output or Path("fig_results/ablation") / args.table / info.name
    if args.run:
        slug, seed = args.run
        variant = next(v for v in table.variants if v.slug == slug)
        experiment = variant_experiment(base, args.table, variant, int(seed))
        # One device for each run, since several would make larger batches.
        accelerator = "cpu" if args.devices == ["cpu"] else "auto"
        folder = result_folder(output, variant, int(seed))
        run_variant(experiment, folder, split, devices="1", accelerator=accelerator)
        return
    check_devices(args.devices)
    runs = [(variant, seed) for seed in args.seeds for variant in table.variants]
    for variant, seed in runs:  # so that errors come before any training
        experiment = variant_experiment(base, args.table, variant, seed)
        if seed == args.seeds[0]:
            build_optimizer(experiment.build_model(pretrained=False), experiment.optim)
    masks = training_masks(base)
    with owned(output):
        claim_folder(output, args.table, base, split, masks)
        prepare_labels(base, table, masks, available_cores())
        todo = [run for run in runs if not is_done(result_folder(output, *run))]
        print(f"{len(todo)} of {len(runs)} runs to do in {output}")
        run_all(args, output, todo)
        comparisons = collect(output, table, args.seeds)
        costs = measure_costs(base, table, args.table) if table.has_costs else None
        text = to_markdown(table, comparisons, info.name, costs)
        print(text)
        with replacing(output / "table.md") as partial:
            partial.write_text(text, encoding="utf-8")
        write_figure(table, comparisons[0], output / "figure.png", costs)
        print(output / "table.md")
        print(output / "figure.png")


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = command_parser(description)
    add = parser.add_argument
    add("table", choices=TABLES)
    add(
        *("-c", "--config"),
        type=Path,
        required=True,
        help="config that gives data, optimizer and encoder",
    )
    add("-o", "--output", type=Path, help="default: fig_results/ablation/TABLE/DATASET")
    add(
        "--variants",
        nargs="+",
        metavar="NAME",
        help="only these rows of the table; the others can follow (default: all)",
    )
    add("--seeds", type=int, nargs="+", default=[1, 2, 3], help="default: 1 2 3")
    add(
        "--devices",
        nargs="+",
        default=["auto"],
        help="GPU numbers, or cpu (default: one GPU, or the CPU if there is none)",
    )
    add("--split", help="split to test on (default: the config's test split)")
    add("--run", nargs=2, metavar=("VARIANT", "SEED"), help="only this run (for the tool itself)")
    return parser


def check_devices(devices: list[str]) -> None:
    """Raise an :class:`InputError` for a device that torch cannot use here."""
    for device in devices:
        is_there = device.isdecimal() and int(device) < torch.cuda.device_count()
        if device not in ("auto", "cpu") and not is_there:
            raise InputError(
                f"--devices {device}",
                f"this machine has {torch.cuda.device_count()} GPUs that torch can use",
                "give their numbers from 0, or cpu",
            )


def run_all(args: argparse.Namespace, output: Path, todo: list[tuple[Variant, int]]) -> None:
    """Run each variant and seed in its own process, one at a time on each device.

    Args:
        args: the parsed command line.
        output: folder of the results.
        todo: variants and seeds to run.

    Raises:
        InputError: a run failed; no further run begins then.
    """
    free: SimpleQueue[str] = SimpleQueue()
    for device in args.devices:
        free.put(device)

    failed = Event()
    interrupted = Event()
    processes: list[subprocess.Popen] = []

    def start(command: list[str], log: TextIO, environment: dict[str, str]) -> int:
        with subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment
        ) as process:
            processes.append(process)
            if interrupted.is_set():
                process.terminate()
        return process.returncode

    def run(variant: Variant, seed: int) -> None:
        device = free.get()
        try:
            if not failed.is_set():
                run_process(args, output, variant, seed, device, start)
        except InputError:
            failed.set()
            raise
        finally:
            free.put(device)

    with ThreadPoolExecutor(len(args.devices)) as pool:
        futures = [pool.submit(run, variant, seed) for variant, seed in todo]
        try:
            for future in progress_bar(as_completed(futures), total=len(futures), unit="run"):
                future.result()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                failed.set()
                interrupted.set()
                for process in processes:
                    process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def run_process(
    args: argparse.Namespace,
    output: Path,
    variant: Variant,
    seed: int,
    device: str,
    start: Callable[[list[str], TextIO, dict[str, str]], int],
) -> None:
    """Train and test one variant with one seed; its output goes into its log.

    Args:
        args: the parsed command line.
        output: folder of the results.
        variant: the variant.
        seed: the seed.
        device: number of a GPU, ``"cpu"`` or ``"auto"``.
        start: runs a command with a log and an environment, and returns its exit code.

    Raises:
        InputError: the run failed.
    """
    log = result_folder(output, variant, seed).with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if device.isdecimal():
        # A cluster may give this process only some GPUs; the number counts among these.
        visible = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
        environment["CUDA_VISIBLE_DEVICES"] = visible[int(device)] if visible != [""] else device
    command = [sys.executable, str(Path(sys.argv[0]).resolve()), args.table, "-c", str(args.config)]
    command += ["-o", str(output), "--run", variant.slug, str(seed), *args.overrides]
    command += ["--split", args.split] if args.split else []
    command += ["--devices", "cpu"] if device == "cpu" else []
    with log.open("a") as file:
        before = file.tell()
        code = start(command, file, environment)
    if code:
        text = log.read_bytes()[before:].decode(errors="replace")
        lines = [line for line in text.splitlines() if line.startswith("error: ")]
        reason = lines[-1].removeprefix("error: ") if lines else "see there"
        raise InputError(log, f"the run '{variant.name}', seed {seed}, failed: {reason}")
