"""Throughput and memory of prediction and training on a GPU, by precision and memory format."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from network.benchmark.memory import MB
from network.benchmark.model import Case, benchmark_model
from network.config import Experiment


@dataclass(frozen=True)
class Mode:
    """A way to compute.

    Attributes:
        name: how a table calls it.
        overrides: settings of the experiment.
        has_tf32: whether products of float32 numbers may round their inputs to TensorFloat-32.
    """

    name: str
    overrides: tuple[str, ...] = ()
    has_tf32: bool = False


_BF16 = "compute.precision=bf16-mixed"
_CHANNELS_LAST = "compute.channels_last=True"

# Compilation takes minutes, so it comes last.
MODES = (
    Mode("float32"),
    Mode("tf32", has_tf32=True),
    Mode("bf16", (_BF16,)),
    Mode("bf16, channels last", (_BF16, _CHANNELS_LAST)),
    Mode("bf16, compiled", (_BF16, "compute.compile=True")),
)


def benchmark_gpu(
    encoders: Sequence[str],
    load: Callable[[Sequence[str]], Experiment],
    *,
    size: int,
    batch: int,
    repeats: int,
    seconds: float,
    device: torch.device,
) -> list[dict]:
    """Measure a network with each encoder in each mode, one row for each.

    A row gives the images per second of prediction and of training with the loss, their times
    divided by those of the bare encoder, and the peak memory of a training step. All encoders are
    measured in a mode before the next one begins.

    Args:
        encoders: names of the encoders.
        load: builds the experiment from overrides.
        size: height and width of the images in pixels.
        batch: images in a step.
        repeats: number of rounds.
        seconds: no row begins later than this.
        device: device that computes.

    Returns:
        The rows. One that does not fit into the GPU's memory, or would begin too late, says so.
    """
    start, rows = time.monotonic(), []
    for mode in MODES:
        for encoder in encoders:
            row: dict = {"encoder": encoder, "mode": mode.name}
            rows.append(row)
            if time.monotonic() - start > seconds:
                row["note"] = "no time left"
                continue
            experiment = load([f"model.encoder={encoder}", *mode.overrides])
            case = Case(
                experiment=experiment, size=size, batch=batch, repeats=repeats, device=device
            )
            with _tensor_float_32(mode.has_tf32):
                try:
                    row |= _columns(benchmark_model(case))
                except torch.OutOfMemoryError:
                    row["note"] = "out of memory"
            torch.cuda.empty_cache()  # what the last row has freed; nothing without a GPU
    keys = dict.fromkeys(key for row in rows for key in row)
    return [{key: row.get(key, "") for key in keys} for row in rows]


def _columns(found: dict) -> dict:
    peak = found["peak_memory_mb"]
    return {
        "predicted images/s": found["images_per_s"],
        "predicting / encoder": found.get("forward_ratio", ""),
        "trained images/s": found["train_images_per_s"],
        "training with loss / encoder": found.get("train_ratio_with_loss", ""),
        "peak GB": "" if peak is None else peak * MB / 1e9,
    }


@contextmanager
def _tensor_float_32(is_on: bool) -> Iterator[None]:
    """Choose whether products and convolutions may use TensorFloat-32."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = is_on
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
