"""The network RepVGG-B1g2, which timm does not have, registered among timm's models.

Source: RepVGG (Ding et al., CVPR 2021): each block sums a 3 x 3 and a 1 x 1 convolution and, where
the shapes allow it, the identity, each branch with its own batch normalization. Every second layer
is in two groups. It has 45.782 M parameters with the ImageNet classifier.

To get its weights, save ``RepVGG-B1g2-train.pth`` of github.com/DingXiaoH/RepVGG as
``model_weights/pretrained/repvgg_b1g2.pth``.
"""

import re
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from torch import Tensor, nn

GROUPS = 2
DEPTHS = (4, 6, 16, 1)
CHANNELS = (128, 256, 512, 2048)

_FIRST_CONVOLUTIONS = ("stem.conv_kxk.conv", "stem.conv_1x1.conv")

default_cfgs = generate_default_cfgs(
    {
        "repvgg_b1g2": {
            "input_size": (3, 224, 224),
            "num_classes": 1000,
            "first_conv": _FIRST_CONVOLUTIONS,
            "classifier": "head.fc",
        }
    }
)


def _group_size(channels: int, block: int) -> int:
    """Compute the channels of a group in block number ``block`` of a stage; 0 without groups."""
    return channels // GROUPS if block % 2 else 0


MODEL_CFG = ByoModelCfg(
    blocks=tuple(
        ByoBlockCfg(type="rep", d=depth, c=channels, gs=_group_size)
        for depth, channels in zip(DEPTHS, CHANNELS, strict=True)
    ),
    stem_type="rep",
    stem_chs=64,
)

_BRANCHES = {"rbr_dense": "conv_kxk", "rbr_1x1": "conv_1x1", "rbr_identity": "identity"}


def from_reference_repvgg(state: dict[str, Tensor], model: nn.Module | None = None) -> dict:
    """Rename weights from the names of RepVGG's own code to timm's; other names stay the same.

    Args:
        state: the weights.
        model: unused; timm passes it.
    """
    names = {}
    for key, value in state.items():
        name = re.sub(r"^stage0\.", "stem.", key.removeprefix("module."))
        name = re.sub(r"^stage([1-4])\.", lambda m: f"stages.{int(m[1]) - 1}.", name)
        name = re.sub(r"^linear\.", "head.fc.", name)
        names[re.sub("|".join(_BRANCHES), lambda m: _BRANCHES[m[0]], name)] = value
    return names


@register_model
def repvgg_b1g2(pretrained: bool = False, **kwargs: Any) -> ByobNet:
    """Build RepVGG-B1g2; the arguments are those of timm's models."""
    return build_model_with_cfg(
        ByobNet,
        "repvgg_b1g2",
        pretrained,
        model_cfg=MODEL_CFG,
        pretrained_filter_fn=from_reference_repvgg,
        feature_cfg={"flatten_sequential": True},
        **kwargs,
    )
