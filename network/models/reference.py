"""Translation of names of the released BiCoR-Seg and D2LS code and of torchvision's ConvNeXt.

A checkpoint of the released code is a Lightning file whose names begin with ``net.``; its encoder
is ``torchvision.models.convnext_base().features`` under ``net.encoder.0.``.
"""

import logging
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

_PREFIX = "net."
_ENCODER = "encoder.0."

# torchvision's names of a ConvNeXt block's parts, and timm's.
_BLOCK_PARTS = {
    "block.0": "conv_dw",
    "block.2": "norm",
    "block.3": "mlp.fc1",
    "block.5": "mlp.fc2",
}

# Names of the released decoders, and ours; {} stands for the number of a stage or layer.
_DECODER = {
    "linear_c.{}.proj": "aggregator.projections.{}",
    "aggregator": "aggregator.fuse",
    "pe_layer.positional_encoding_gaussian_matrix": "position.frequencies",
    "decoder.token.basic_queries.weight": "class_embeddings",
    "decoder.token.token_mlp": "generator.candidates",
    "decoder.feature_modulator.mlp1.proj": "generator.projection",
    "decoder.feature_modulator.gmp_branch.1": "generator.maximum",
    "decoder.feature_modulator.gap_branch.1": "generator.average",
    "decoder.feature_modulator.mlp2.0": "generator.mixture.layers.0",
    "decoder.feature_modulator.mlp2.2": "generator.mixture.layers.1",
    "decoder.interactor.layers.{}.cross_attn_token_to_image": "layers.{}.read_pixels",
    "decoder.interactor.layers.{}.norm2": "layers.{}.class_norm",
    "decoder.interactor.layers.{}.cross_attn_image_to_token": "layers.{}.read_classes",
    "decoder.interactor.layers.{}.norm4": "layers.{}.feature_norm",
    "decoder.interactor.final_attn_token_to_image": "last_read",
    "decoder.interactor.norm_final_attn": "last_norm",
    "decoder.output_hypernetwork_mlps.layers.{}": "head.classifier.layers.{}",
    "proj_layers.{}.proj": "aggregator.projections.{}",
    "feature_aggregator": "aggregator.fuse",
    "decoder.class_dict.class_embed.weight": "class_embeddings",
    "decoder.bicor_stack.layers.{}.dict_to_feat": "layers.{}.query",
    "decoder.bicor_stack.layers.{}.feat_to_dict": "layers.{}.value",
    "decoder.bicor_stack.layers.{}.gate_mlp": "layers.{}.gate",
    "decoder.bicor_stack.layers.{}.cand_mlp": "layers.{}.candidate",
    "decoder.bicor_stack.layers.{}.gamma_proj": "layers.{}.gamma",
    "decoder.bicor_stack.layers.{}.beta_proj": "layers.{}.beta",
    "decoder.bicor_stack.layers.{}.feat_ln": "layers.{}.feature_norm",
    "decoder.bicor_stack.layers.{}.dict_ln": "layers.{}.class_norm",
    "decoder.upsampler.1": "head.norm",
    "decoder.classifier_proj": "head.classifier",
    "decoder.static_classifier": "aux_classifier",
}

_ATTENTION_PARTS = {
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "out_proj": "output",
}

# D2LS has weights that it never uses, in blocks that it constructs but does not call.
_DEAD = re.compile(r"decoder\.interactor\.layers\.\d+\.(self_attn|mlp|norm1|norm3)\.")

_log = logging.getLogger(__name__)


def is_torchvision_convnext(state: Mapping[str, Tensor]) -> bool:
    """Tell whether weights belong to a ConvNeXt of torchvision."""
    return "features.0.0.weight" in state and any("layer_scale" in name for name in state)


def from_torchvision_convnext(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of torchvision's ConvNeXt as in timm; the classifier is left out."""
    return {
        _timm_name(name.removeprefix("features.")): _without_unit_axes(name, value)
        for name, value in state.items()
        if name.startswith("features.")
    }


def _timm_name(name: str) -> str:
    """Translate ``1.0.block.0.weight`` to ``stages.0.blocks.0.conv_dw.weight``."""
    group, index, rest = name.split(".", 2)
    stage, is_downsampling = divmod(int(group) + 1, 2)
    if group == "0":
        return f"stem.{index}.{rest}"
    if is_downsampling:
        return f"stages.{stage}.downsample.{index}.{rest}"
    if rest == "layer_scale":
        return f"stages.{stage - 1}.blocks.{index}.gamma"
    part, _, parameter = rest.rpartition(".")
    return f"stages.{stage - 1}.blocks.{index}.{_BLOCK_PARTS[part]}.{parameter}"


def _without_unit_axes(name: str, value: Tensor) -> Tensor:
    return value.flatten() if name.endswith("layer_scale") else value


def is_reference(state: Mapping[str, Tensor]) -> bool:
    """Tell whether weights come from the released code, with or without ``net.``."""
    return any("decoder.bicor_stack." in name or "decoder.interactor." in name for name in state)


def from_reference(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Rename weights of the released code to the names of a model.

    The released BiCoR-Seg mixes with a constant alpha of 0.5, the initial value of alpha here.
    Weights that the released D2LS never uses are dropped, with a line in the log. Other names
    without a counterpart are kept, so that loading can name them.

    Args:
        state: weights of the released code.
        model: a BiCoRSeg or D2LS.
    """
    state = {name.removeprefix(_PREFIX): value for name, value in state.items()}
    dead = sorted(name for name in state if _DEAD.match(name))
    if dead:
        _log.warning("dropped %d weights that D2LS never uses: %s", len(dead), ", ".join(dead))
        state = {name: value for name, value in state.items() if name not in dead}
    encoder = {
        "features." + name.removeprefix(_ENCODER): value
        for name, value in state.items()
        if name.startswith(_ENCODER)
    }
    converted = {
        # timm flattens the first level of names if it gives only features.
        "encoder.body." + re.sub(r"^(stem|stages)\.", r"\1_", name): value
        for name, value in from_torchvision_convnext(encoder).items()
    }
    expected = model.state_dict()
    for name, value in state.items():
        if name.startswith(_ENCODER):
            continue
        ours = _our_name(name)
        # The released code writes some matrices as 1x1 convolutions.
        is_matrix = ours in expected and expected[ours].ndim == 2 and value.ndim == 4
        converted[ours] = value.flatten(1) if is_matrix else value
    for name in expected:
        if name.endswith(".alpha_logit"):
            converted[name] = torch.zeros_like(expected[name])
    return converted


def _our_name(name: str) -> str:
    for theirs, ours in _DECODER.items():
        match = re.match(re.escape(theirs).replace(r"\{\}", r"(\d+)") + r"(?=\.|$)", name)
        if match:
            rest = name[match.end() :]
            for part, our_part in _ATTENTION_PARTS.items():
                rest = rest.replace(f".{part}.", f".{our_part}.")
            return ours.format(*match.groups()) + rest
    return name
