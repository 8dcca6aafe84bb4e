"""Ways to adapt a pretrained encoder with few trained weights, or at rates that fall with depth.

Sources: LoRA (Hu et al., ICLR 2022), by the library peft; layer-wise decay of the learning rate
(Clark et al., ELECTRA, ICLR 2020; Bao et al., BEiT, ICLR 2022), by timm's groups of layers.
"""

from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn

from network.errors import InputError
from network.extras import require_extra

ATTENTION = ("attn.qkv", "attn.q_proj", "attn.v_proj")
"""Linear layers that LoRA adapts. timm's networks have either the first one or the other two."""

_PROBE_SIDE = 224  # a multiple of 14, 16 and 32
_BASE = ".base_layer"
_DOWN, _UP = ".lora_A.default", ".lora_B.default"
_MADE_BY_PEFT = (_BASE, _DOWN, _UP)


def add_lora(name: str, network: nn.Module, rank: int, options: Mapping[str, Any]) -> None:
    """Add LoRA to the attention of a timm network, in place; all other weights are frozen.

    Query and value of each block get a trainable update of low rank, which is 0 at first. Most of
    timm's networks compute query, key and value by a single layer, and then the update is one of
    this layer.

    Args:
        name: name of the timm model.
        network: the network.
        rank: rank of the update, at least 1.
        options: options with which timm built the network.

    Raises:
        InputError: peft is not installed, or LoRA has no effect on this network.
    """
    asked = f"model.lora={rank}"
    require_extra("lora", asked)
    with torch.device("meta"):  # only shapes, without computation
        probe = timm.create_model(name, **options)
        try:
            _inject(probe, rank)
        except ValueError as error:  # nothing has one of the names
            raise InputError(
                asked,
                f"encoder '{name}' has no attention that LoRA can adapt",
                "give model.lora=0, or a vision transformer",
            ) from error
        maps = probe(torch.zeros(1, options["in_chans"], _PROBE_SIDE, _PROBE_SIDE))
        total = sum(features.sum() for features in maps)
        if total.requires_grad:
            total.backward()
    if any(p.requires_grad and p.grad is None for p in probe.parameters()):
        raise InputError(
            asked,
            f"timm uses the weights of the attention of encoder '{name}' directly, so LoRA would "
            "have no effect",
            "give model.lora=0, or another encoder",
        )
    _inject(network, rank)


def _inject(network: nn.Module, rank: int) -> None:
    from peft import LoraConfig, inject_adapter_in_model  # an extra, and slow to import

    # With alpha = rank, the update is added as it is.
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(ATTENTION))
    inject_adapter_in_model(config, network)


def merge_lora(network: nn.Module) -> nn.Module:
    """Add the updates of LoRA to the weights that they adapt, in place.

    The network then computes the same in less time and has the names of a network without LoRA.
    Predictions are made with such a network. A checkpoint keeps both parts, so a training can
    resume from it.

    Args:
        network: any network.

    Returns:
        The same network.
    """
    if not any(hasattr(module, "lora_A") for module in network.modules()):
        return network
    from peft.tuners.lora import LoraLayer

    layers = [(n, m) for n, m in network.named_modules() if isinstance(m, LoraLayer)]
    for name, layer in layers:
        layer.merge()
        network.set_submodule(name, layer.get_base_layer())
    return network


def merged_lora(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add the updates of LoRA in named tensors to the weights that they adapt.

    Args:
        state: tensors of a network with or without LoRA.

    Returns:
        The tensors of the network without LoRA: W + B A for each adapted weight W.
    """
    found = {without_lora(name): value for name, value in state.items() if not is_update(name)}
    for name, down in state.items():  # A: (rank, in)
        if is_update(name) and _DOWN in name:
            weight, up = without_lora(name), state[name.replace(_DOWN, _UP)]  # B: (out, rank)
            found[weight] = found[weight] + (up @ down).to(found[weight].dtype)
    return found


def layer_numbers(name: str, network: nn.Module) -> dict[str, int]:
    """Number the layers of a timm network from its input on.

    The patch or stem convolution and the position embedding are layer 0, and each block is one
    further layer.

    Args:
        name: name of the timm model.
        network: the network, which gives maps and may have LoRA.

    Returns:
        For each parameter by its name, the number of its layer. Every number up to the largest
        one occurs.

    Raises:
        InputError: timm does not tell the layers of this network.
    """
    with torch.device("meta"):
        whole: Any = timm.create_model(name)
    try:
        groups = group_parameters(whole, whole.group_matcher(coarse=False), reverse=True)
        known = {_flat(parameter): number for parameter, number in groups.items()}
        found = {parameter: known[_flat(parameter)] for parameter, _ in network.named_parameters()}
    except (AttributeError, AssertionError, KeyError) as error:
        raise InputError(
            f"encoder '{name}'", "timm does not tell its layers", "give optim.layer_decay=1"
        ) from error
    order = sorted(set(found.values()))
    return {parameter: order.index(number) for parameter, number in found.items()}


def _flat(parameter: str) -> str:
    """Remove what differs between the names of a whole network and of one that gives maps.

    The latter calls ``stages.0`` ``stages_0``, or has the whole network as its part ``model``.
    """
    return without_lora(parameter).removeprefix("model.").replace(".", "_")


def without_lora(name: str) -> str:
    """Name the tensor of a network without LoRA that a tensor belongs to.

    Examples:
        >>> without_lora("blocks.0.attn.qkv.base_layer.weight")
        'blocks.0.attn.qkv.weight'
    """
    for part in _MADE_BY_PEFT:
        name = name.replace(part, "")
    return name


def is_update(name: str) -> bool:
    """Tell whether a tensor is a part of an update of LoRA."""
    return name != without_lora(name) and _BASE not in name


def keep_statistics(network: nn.Module) -> None:
    """Let batch normalization use its stored means and variances without changing them."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
