"""Encoders, which are timm networks that give a pyramid of feature maps or only the last map.

Source: timm, ``features_only=True``. For ConvNeXt these are the raw outputs of the four stages.
"""

from typing import Any

import timm
import torch
from timm.models import FeatureDictNet, FeatureInfo, is_model_in_modules
from torch import Tensor, nn
from torch.nn import functional

from network.errors import InputError, nearest
from network.models import pretrained

STRIDES = (4, 8, 16, 32)
DENSE_STRIDE = 16


class Encoder(nn.Module):
    """The encoder with four feature maps at strides 4, 8, 16 and 32.

    Args:
        name: name of a timm model, e.g. ``"convnext_base.fb_in1k"``.
        weights: ``"imagenet"``, a local file or None; see
            :func:`network.models.pretrained.build`.
        drop_path: rate of stochastic depth at the last block; it rises linearly from 0.
        checkpoint: whether training keeps only the inputs of the blocks and computes the rest
            again in the backward pass. This takes less memory and more time, with the same
            gradients.
        bands: number of bands of each image. Pretrained weights of three bands are inflated as
            timm does: those of the first convolution are repeated over the bands and scaled, so
            that their sum stays the same.

    Raises:
        InputError: timm has no such model, the model has no such pyramid, or its weights are
            missing or do not fit.
    """

    def __init__(
        self,
        name: str,
        weights: str | None = "imagenet",
        drop_path: float = 0.0,
        checkpoint: bool = False,
        bands: int = 3,
    ):
        super().__init__()
        options: dict[str, Any] = {"features_only": True, "out_indices": _pyramid_indices(name)}
        options |= {"in_chans": bands, **any_size_options(name)}
        if drop_path:
            options["drop_path_rate"] = drop_path
        self.body = pretrained.build(name, weights, options)
        if checkpoint:
            _checkpoint_blocks(name, self.body)
        self.channels: list[int] = _feature_info(self.body).channels()
        # Swin and similar models give (b, h, w, c).
        self.is_channels_last = getattr(self.body, "output_fmt", "NCHW") == "NHWC"

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute the maps, each (b, c_i, H / s_i, W / s_i).

        Args:
            image: (b, bands, H, W), H and W multiples of 32.
        """
        maps = self.body(image)
        if self.is_channels_last:
            maps = [features.permute(0, 3, 1, 2) for features in maps]
        return maps


class DenseEncoder(nn.Module):
    """The encoder with one map of the last stage, kept at stride 16 by convolutions of stride 1.

    Args:
        name: name of a timm model that has an ``output_stride``.
        weights: see :class:`Encoder`.

    Raises:
        InputError: timm has no such model, the model cannot have this stride, or its weights are
            missing or do not fit.
    """

    def __init__(self, name: str, weights: str | None = "imagenet"):
        super().__init__()
        _check_known(name)
        options: dict[str, Any] = {"num_classes": 0, "global_pool": "", "in_chans": 3}
        options |= {"output_stride": DENSE_STRIDE}
        needed = (
            f"encoder '{name}': timm cannot build it with output stride {DENSE_STRIDE}; choose "
            "another such as repvgg_b1g4.rvgg_in1k or resnet50.a1_in1k"
        )
        with torch.device("meta"):
            try:
                network = timm.create_model(name, **options).eval()
            except (TypeError, AssertionError, NotImplementedError) as error:
                raise InputError(needed) from error  # has no such option, or no such stride
            features = network(torch.zeros(1, 3, 64, 64))
            if features.ndim != 4 or features.shape[2] != 64 // DENSE_STRIDE:
                raise InputError(needed)
            rest = network(torch.zeros(1, 3, 72, 72)).shape[2]
        self.body = pretrained.build(name, weights, options)
        self.channels: int = features.shape[1]
        # ConvNeXt and similar models, whose convolutions do not overlap, drop the remaining rows.
        self.leaves_rest = rest == 72 // DENSE_STRIDE

    def forward(self, image: Tensor) -> Tensor:
        """Compute features (b, c, ceil(H / 16), ceil(W / 16)) of an image (b, 3, H, W)."""
        if self.leaves_rest:
            height, width = image.shape[-2:]
            image = functional.pad(image, (0, -width % DENSE_STRIDE, 0, -height % DENSE_STRIDE))
        return self.body(image)


def any_size_options(name: str) -> dict[str, Any]:
    """Find the options for timm with which a network accepts images of any size."""
    modules = ("swin_transformer", "swin_transformer_v2")
    is_swin = is_model_in_modules(name.partition(".")[0], modules)
    return {"strict_img_size": False} if is_swin else {}


def pretrained_tensors(name: str, weights: str, bands: int) -> dict[str, Tensor]:
    """Load the pretrained weights of all features of a timm network.

    Args:
        name: name of a timm model.
        weights: see :class:`Encoder`.
        bands: number of bands of each image.
    """
    return pretrained.build(name, weights, {"features_only": True, "in_chans": bands}).state_dict()


def _checkpoint_blocks(name: str, body: nn.Module) -> None:
    stages: list[Any] = [
        m for m in body.modules() if m is not body and hasattr(m, "grad_checkpointing")
    ]
    for stage in stages:
        stage.grad_checkpointing = True
    if stages:
        return
    if not isinstance(body, FeatureDictNet):
        raise InputError(
            f"encoder '{name}'",
            "timm cannot compute its blocks again in the backward pass",
            "give model.checkpoint_encoder=False",
        )
    # timm then checkpoints the parts between the maps, which saves less.
    body.set_grad_checkpointing(True)


def _check_known(name: str) -> None:
    try:
        is_known = timm.is_model(name)  # ignores the weights named after a dot
        timm.get_pretrained_cfg(name)
    except RuntimeError:  # there are no such weights
        is_known = False
    if not is_known:
        known = timm.list_models() + timm.list_pretrained()
        raise InputError(f"encoder '{name}'", f"timm has no such model{nearest(name, known)}")


def _feature_info(network: nn.Module) -> FeatureInfo:
    """Get timm's description of the maps of a network that it built with ``features_only``."""
    info = network.feature_info
    if not isinstance(info, FeatureInfo):
        raise AttributeError("it does not say which maps it has")
    return info


def _pyramid_indices(name: str) -> tuple[int, ...]:
    """Find the positions of the maps at ``STRIDES`` among all maps of a timm model."""
    _check_known(name)
    options = any_size_options(name)
    try:
        with torch.device("meta"):
            network = timm.create_model(name, features_only=True, **options)
            strides = _feature_info(network).reduction()
    except (RuntimeError, AttributeError) as error:
        raise InputError(f"encoder '{name}'", f"timm gives no feature pyramid ({error})") from error
    if not set(STRIDES) <= set(strides):
        raise InputError(
            f"encoder '{name}'",
            f"its maps have strides {strides}, but {list(STRIDES)} are needed",
            "choose a pyramid encoder such as convnext_base.fb_in1k or resnet18.a1_in1k",
        )
    known = timm.get_pretrained_cfg(name)  # None if it was registered without a configuration
    if known is None or known.fixed_input_size:
        _check_any_size(name, network)
    return tuple(strides.index(stride) for stride in STRIDES)


def _check_any_size(name: str, network: nn.Module) -> None:
    """Raise an :class:`InputError` if a network does not accept images of any size."""
    try:
        network.eval()(torch.zeros(1, 3, 64, 96, device="meta"))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"encoder '{name}'",
            "takes images of one size only",
            "choose another such as convnext_base.fb_in1k or swin_tiny_patch4_window7_224",
        ) from error
