"""Time of exported files in the programs that run them, compared with the bare encoder in torch."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from network.benchmark.timing import interleave, median, ratio
from network.config import Experiment
from network.contracts import encoder_of
from network.errors import InputError, warn
from network.exported.choice import Backend
from network.exported.load import ExportedNetwork, find_program, load_exported
from network.exported.programs import PROGRAMS
from network.models.adaptation import merge_lora

_BASE = ("bare encoder", "torch", "32-true")


def benchmark_engines(
    experiment: Experiment, files: Sequence[Path], size: int, repeats: int
) -> list[dict]:
    """Measure one image in each program and in each of its precisions, one row for each.

    Times are medians in milliseconds, of the scores of a normalized image. Ratios are medians over
    rounds of the time divided by that of the bare encoder in torch, in single precision.

    Args:
        experiment: gives the network of the rows of torch, with random weights.
        files: exported files.
        size: height and width of the image in pixels.
        repeats: number of rounds.

    Raises:
        InputError: the network has no encoder, or a file cannot be used or takes other images.
    """
    bands = experiment.dataset.bands
    engines = [one for file in files for one in _open(file, size, bands)]
    torch.manual_seed(0)
    model = merge_lora(experiment.build_model(pretrained=False)).eval()
    encoder = encoder_of(model)
    if encoder is None:
        raise InputError(experiment.config, "has a network without an encoder to compare with")
    image = torch.randn(1, bands, size, size)
    functions: dict[tuple[str, str, str], Callable[[], object]] = {
        _BASE: _of_torch(encoder, image, "32-true"),
        ("network", "torch", "32-true"): _of_torch(model, image, "32-true"),
        ("network", "torch", "bf16-mixed"): _of_torch(model, image, "bf16-mixed"),
    }
    for network in engines:
        key = network.path.name, network.backend, network.precision
        engine = network.engine
        functions[key] = partial(engine.scores, engine.prepare(image.numpy()))
    labels = {" ".join(key): function for key, function in functions.items()}
    times, base = interleave(labels, repeats), " ".join(_BASE)
    return [
        {
            "what": what,
            "backend": backend,
            "precision": precision,
            "ms": median(times[f"{what} {backend} {precision}"]),
            "/ encoder": ratio(times, f"{what} {backend} {precision}", base),
        }
        for what, backend, precision in functions
    ]


def _open(file: Path, size: int, bands: int) -> list[ExportedNetwork]:
    """Open a file by each program that is installed, in each of its precisions.

    Raises:
        InputError: no program opens the file, or it takes other images than one of this size.
    """
    first, _ = find_program(file)
    names = [name for name, program in PROGRAMS.items() if file.suffix in program.endings]
    opened: list[ExportedNetwork] = []
    missing: list[InputError] = []
    for name in names:
        try:
            PROGRAMS[name].check(f"backend={name}")
        except InputError as error:  # the other programs can be measured without it
            missing.append(error)
            continue
        for precision in PROGRAMS[name].precisions:
            opened.append(load_exported(file, Backend(name, precision)))
    if not opened:
        load_exported(file, Backend(first))  # says why
    for reason in missing:
        warn(f"{file.name} is not measured by one program: {reason}")
    batch, found, *sides = opened[0].record.input.shape
    # Such images would be filled up, and the time be that of others.
    if sides not in ([None, None], [size, size]):
        problem = f"takes {sides[0]} x {sides[1]} pixels, not {size} x {size}"
        remedy = f"give size={sides[0]}" if sides[0] == sides[1] else "export it for squares"
        raise InputError(file, problem, remedy)
    if batch not in (None, 1):
        problem = f"takes {batch} images at once, and one is measured"
        raise InputError(file, problem, "export it with batch=1")
    if found != bands:
        problem = f"takes {found} bands, and the config has {bands}"
        raise InputError(file, problem, "give its own config")
    return opened


def _of_torch(module: torch.nn.Module, image: torch.Tensor, precision: str) -> Callable[[], object]:
    @torch.inference_mode()
    def run() -> object:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            return module(image)

    return run
