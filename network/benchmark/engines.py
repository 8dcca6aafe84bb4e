"""Time of exported files in the programs that run them, compared with the bare encoder in torch."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from network.benchmark.timing import interleave, median, ratio
from network.config import Experiment
from network.contracts import encoder_of
from network.errors import InputError
from network.exported.choice import Backend
from network.exported.load import load_exported
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
        InputError: the network has no encoder, or a file cannot be used.
    """
    torch.manual_seed(0)
    model = merge_lora(experiment.build_model(pretrained=False)).eval()
    encoder = encoder_of(model)
    if encoder is None:
        raise InputError(experiment.config, "has a network without an encoder to compare with")
    image = torch.randn(1, experiment.dataset.bands, size, size)
    functions: dict[tuple[str, str, str], Callable[[], object]] = {
        _BASE: _of_torch(encoder, image, "32-true"),
        ("network", "torch", "32-true"): _of_torch(model, image, "32-true"),
        ("network", "torch", "bf16-mixed"): _of_torch(model, image, "bf16-mixed"),
    }
    for file in files:
        for name, program in PROGRAMS.items():
            if file.suffix not in program.endings:
                continue
            for precision in program.precisions:
                engine = load_exported(file, Backend(name, precision)).engine
                given = engine.prepare(image.numpy())
                functions[file.name, name, precision] = partial(engine.scores, given)
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


def _of_torch(module: torch.nn.Module, image: torch.Tensor, precision: str) -> Callable[[], object]:
    @torch.inference_mode()
    def run() -> object:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            return module(image)

    return run
