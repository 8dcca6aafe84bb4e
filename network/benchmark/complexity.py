"""Comparison of all models by parameters, multiply-accumulates and images per second.

These are the columns about cost of table 4 of the paper of BiCoR-Seg, for every network here.
"""

from collections.abc import Sequence
from functools import partial

import torch

from network.benchmark.model import gmacs
from network.benchmark.timing import interleave, median, ratio
from network.compute import arrange, autocast, prepare
from network.config import Experiment, settings
from network.models.adaptation import merge_lora


def benchmark_models(
    experiments: Sequence[Experiment], *, size: int, repeats: int, device: torch.device
) -> list[dict]:
    """Measure the cost of a forward pass for each model, with one image of ``size`` x ``size``.

    Times are medians. ``time / first`` is the median over rounds of the time divided by the first
    model's time; a busy machine slows both times of a round, so the ratio hardly changes.

    Args:
        experiments: the models.
        size: height and width of the image in pixels.
        repeats: number of rounds.
        device: device that computes.

    Returns:
        One row for each model.
    """
    torch.manual_seed(0)
    rows, forwards = {}, {}
    for experiment in experiments:
        model = merge_lora(experiment.build_model(pretrained=False)).eval()
        bands = experiment.dataset.bands
        chosen = settings(experiment)
        name = f"{experiment.name} {_variant(chosen)}".strip()
        encoder = chosen.get("model.encoder")
        key = f"{name} {encoder}"
        rows[key] = {
            "model": name,
            "encoder": encoder,
            "params M": sum(p.numel() for p in model.parameters()) / 1e6,
            "GMACs": gmacs(model, size, bands),
        }
        prepare(model.to(device), experiment.compute)
        image = arrange(torch.randn(1, bands, size, size, device=device), experiment.compute)
        forwards[key] = partial(_forward, model, image, experiment)
    times = interleave(forwards, repeats, device=device, label="forward")
    first = next(iter(rows))
    for key, row in rows.items():
        row["images/s"] = 1000 / median(times[key])
        row["time / first"] = ratio(times, key, first)
    return list(rows.values())


def _variant(chosen: dict) -> str:
    return f"L={chosen['model.layers']}" if "model.layers" in chosen else ""


def _forward(model: torch.nn.Module, image: torch.Tensor, experiment: Experiment) -> None:
    with torch.inference_mode(), autocast(experiment.compute, image.device):
        model(image)
