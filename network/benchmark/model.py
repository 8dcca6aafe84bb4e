"""Time, multiply-accumulates and memory of a whole model, compared with its bare encoder."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial, reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from network.benchmark.memory import MB, LiveTensors, process_peak, saved_bytes
from network.benchmark.naive_bicor import NaiveOrder
from network.benchmark.naive_d2ls import NaiveD2LSOrder
from network.benchmark.timing import interleave, median, ratio
from network.compute import arrange, autocast, prepare
from network.config import Experiment, settings
from network.contracts import encoder_of
from network.models.adaptation import merge_lora
from network.models.output import SegOutput
from network.models.segmenter import Segmenter

Yardstick = Callable[[nn.Module], NaiveOrder | NaiveD2LSOrder | None]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One case to measure.

    Args:
        experiment: model, loss and precision; the encoder has random weights.
        size: height and width of the images in pixels.
        batch: images in a step.
        repeats: number of rounds.
        device: device that computes.
        yardstick: builds the same computation in another order around the model's encoder. If it
            is given, that order is measured too.
    """

    experiment: Experiment
    size: int = 512
    batch: int = 1
    repeats: int = 16
    device: torch.device = field(default_factory=partial(torch.device, "cpu"))
    yardstick: Yardstick | None = None


def benchmark_model(case: Case) -> dict:
    """Measure sizes, times and memory of a model in one row.

    Times are medians in milliseconds. Ratios are medians over rounds of the time divided by the
    bare encoder's time; a model without an encoder has none. Memory is in MB (10^6 bytes). A
    training step is a forward and a backward pass without the optimizer. LoRA is merged for the
    forward pass and the sizes, as in a prediction, and not for the training step. ``decoder_*`` is
    for one image; the values ``*_with_aux`` include the auxiliary branch, and all others leave it
    out.
    """
    torch.manual_seed(0)
    experiment, compute = case.experiment, case.experiment.compute
    model = experiment.build_model(pretrained=False)
    merged = merge_lora(deepcopy(model)).eval()
    encoder, merged_encoder = encoder_of(model), encoder_of(merged)
    chosen = settings(experiment)
    row = {
        "model": experiment.name,
        "encoder": chosen.get("model.encoder"),
        "size": case.size,
        "batch": case.batch,
        "precision": compute.precision,
        "channels_last": compute.channels_last,
        "compile": compute.compile,
        "checkpoint_encoder": chosen.get("model.checkpoint_encoder", False),
        "checkpoint_decoder": chosen.get("model.checkpoint_decoder", False),
        "params_m": _millions(merged),
        "gmacs": gmacs(merged, case.size, case.experiment.dataset.bands),
    }
    measured: dict[str, nn.Module] = {"model": model}
    if encoder is not None and merged_encoder is not None:
        measured["encoder"] = encoder
        row["encoder_params_m"] = _millions(merged_encoder)
    naive, counted = (
        case.yardstick(network) if case.yardstick else None for network in (model, merged)
    )
    if naive is not None and counted is not None:
        measured["naive"] = naive
        row["naive"] = {
            "params_m": _millions(counted),
            "gmacs": gmacs(counted.eval(), case.size, case.experiment.dataset.bands),
        }
    del merged, merged_encoder, counted  # their memory would count in the peak
    for network in measured.values():
        network.to(case.device, torch.float64 if compute.precision == "64-true" else None)
    if encoder is not None:
        row |= decoder_memory(model, case)
    for network in measured.values():
        prepare(network, compute)
    times = _times(measured, case)
    if naive is not None:
        row["naive"] |= times.pop("naive") | decoder_memory(model, case, naive.decode)
    return row | times


def _millions(network: nn.Module) -> float:
    return sum(p.numel() for p in network.parameters()) / 1e6


def gmacs(network: nn.Module, size: int = 512, bands: int = 3) -> float:
    """Count the multiply-accumulates for one image in 10^9, which are half of the FLOPs.

    Args:
        network: the network, on the CPU.
        size: height and width of the image in pixels.
        bands: number of bands of the image.
    """
    with (
        FakeTensorMode(allow_non_fake_inputs=True),  # only shapes, without computation
        FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION) as counter,
    ):
        network(torch.zeros(1, bands, size, size))
    return counter.get_total_flops() / 2e9


def _attention_flops(
    query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any
) -> int:
    return sdpa_flop_count(query, key, value)


# torch's counter knows the attention of GPUs only, and would count none on the CPU.
_CPU_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


def random_images(case: Case, count: int) -> Tensor:
    """Draw images (count, bands, size, size) with mean 0 and standard deviation 1."""
    return torch.randn(count, case.experiment.dataset.bands, case.size, case.size)


def decoder_memory(model: nn.Module, case: Case, decode: Callable | None = None) -> dict:
    """Measure the MB that the decoder keeps for the backward pass, and its peak, for one image.

    Args:
        model: the model.
        case: the case to measure.
        decode: function from the encoder's stages to outputs. By default, the model's decoder is
            measured three times: without its auxiliary branch, with that branch if there is one,
            and with checkpointing.
    """
    if not isinstance(model, Segmenter):
        return {}
    image = random_images(case, 1).to(next(model.parameters()))
    with torch.no_grad():
        stages = [stage.requires_grad_() for stage in model.eval().encoder(image)]
    model.train()
    if decode:
        return _memory(decode, stages, case)
    has_aux, was_checkpointed = model.has_aux, model.checkpoint_decoder
    row = _memory(model.decode, stages, case, "_with_aux") if has_aux else {}
    model.has_aux = False
    row |= _memory(model.decode, stages, case)
    model.checkpoint_decoder = True
    row |= _memory(model.decode, stages, case, "_checkpointed")
    model.has_aux, model.checkpoint_decoder = has_aux, was_checkpointed
    return row


def _memory(decode: Callable, stages: list[Tensor], case: Case, suffix: str = "") -> dict:
    """Measure one decoder; both values include the encoder's maps, but no decoder parameters."""
    parameters = getattr(decode, "__self__", nn.Module()).parameters()
    with autocast(case.experiment.compute, case.device):
        saved = saved_bytes(lambda: decode(stages), exclude=parameters)
        with LiveTensors() as live:
            _total(decode(stages)).backward()
    peak = live.peak + sum(stage.untyped_storage().nbytes() for stage in stages)
    return {f"decoder_saved_mb{suffix}": saved / MB, f"decoder_peak_mb{suffix}": peak / MB}


def _times(networks: dict[str, nn.Module], case: Case) -> dict:
    image = random_images(case, case.batch).to(next(networks["model"].parameters()))
    image = arrange(image, case.experiment.compute)
    k = case.experiment.dataset.num_classes
    labels = torch.randint(k, (case.batch, case.size, case.size), device=case.device)
    loss = case.experiment.loss()
    steps = {name: partial(_train, network, image, case) for name, network in networks.items()}
    with_loss = partial(_train, networks["model"], image, case, lambda out: loss(out, labels))

    for network in networks.values():
        network.train()
    training = interleave(
        steps | {"with_loss": with_loss}, case.repeats, device=case.device, label="training step"
    )
    peak = process_peak(with_loss, case.device)
    merge_lora(networks["model"])  # also in the encoder of the others, which is the same one
    for network in networks.values():
        network.zero_grad(set_to_none=True)
        network.eval()
    forwards = {name: partial(_forward, net, image, case) for name, net in networks.items()}
    forward = interleave(forwards, case.repeats, device=case.device, label="forward")
    row: dict = {
        "forward_ms": median(forward["model"]),
        "train_ms": median(training["model"]),
        "train_with_loss_ms": median(training["with_loss"]),
        "images_per_s": 1000 * case.batch / median(forward["model"]),
        "train_images_per_s": 1000 * case.batch / median(training["with_loss"]),
    }
    if "encoder" in networks:
        row |= {
            "encoder_forward_ms": median(forward["encoder"]),
            "encoder_train_ms": median(training["encoder"]),
            "forward_ratio": ratio(forward, "model", "encoder"),
            "train_ratio": ratio(training, "model", "encoder"),
            "train_ratio_with_loss": ratio(training, "with_loss", "encoder"),
        }
    row["peak_memory_mb"] = None if peak is None else peak / MB
    if "naive" in networks:
        row["naive"] = {
            "forward_ms": median(forward["naive"]),
            "train_ms": median(training["naive"]),
            "forward_ratio": ratio(forward, "naive", "encoder"),
            "train_ratio": ratio(training, "naive", "encoder"),
            "images_per_s": 1000 * case.batch / median(forward["naive"]),
        }
    return row


def _forward(network: nn.Module, image: Tensor, case: Case) -> None:
    with torch.inference_mode(), autocast(case.experiment.compute, case.device):
        network(image)


def _train(network: nn.Module, image: Tensor, case: Case, loss: Callable | None = None) -> None:
    network.zero_grad(set_to_none=True)
    with autocast(case.experiment.compute, case.device):
        output = network(image)
        total = sum(loss(output).values()) if loss else _total(output)
    if total.requires_grad:  # not of a frozen encoder alone
        total.backward()


def _total(output: SegOutput | list[Tensor]) -> Tensor:
    """Sum up all outputs to a scalar, so each gets a gradient at almost no cost."""
    if isinstance(output, SegOutput):
        lists = (output.heatmaps or []) + (output.class_embeddings or [])
        aux = [] if output.aux_logits is None else [output.aux_logits]
        output = [output.logits, *aux, *lists]
    return reduce(add, (tensor.float().mean() for tensor in output))
