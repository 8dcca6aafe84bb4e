"""Encoders, which are timm networks that give a pyramid of feature maps or only the last map.

Source: timm, ``features_only=True``. For ConvNeXt these are the raw outputs of the four stages. A
plain vision transformer gets a pyramid of :mod:`network.models.transformer`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import timm
import torch
from timm.layers import DropPath
from timm.models import FeatureDictNet, FeatureInfo, is_model_in_modules
from torch import Tensor, nn
from torch.nn import functional

from network.errors import InputError, nearest
from network.models import adaptation, pretrained
from network.models.transformer import SimpleFeaturePyramid

STRIDES = (4, 8, 16, 32)
DENSE_STRIDE = 16


class AdaptationOptions(TypedDict, total=False):
    """Options that networks pass to their :class:`Encoder`, which describes them."""

    out_indices: tuple[int, ...] | None
    freeze: bool
    lora: int


class Encoder(nn.Module):
    """The encoder with four feature maps at strides 4, 8, 16 and 32.

    A plain vision transformer has maps of one stride only. From four of them, trained convolutions
    make the four maps, see :class:`network.models.transformer.SimpleFeaturePyramid`.

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
        out_indices: for a plain vision transformer, the four blocks whose maps are used, counted
            from 0. Blocks after the last of them are left out. By default, they are the blocks at
            a quarter, a half, three quarters and the end.
        freeze: whether the pretrained network stays as it is. Its weights get no gradient, and its
            dropout, stochastic depth and batch normalization work as in prediction. The pyramid of
            a plain transformer is trained.
        lora: rank of LoRA in the attention of the pretrained network, whose own weights are
            frozen; 0 for no LoRA. It needs the extra ``lora``.

    Attributes:
        body: the pretrained network.
        pyramid: the convolutions that make the maps of a plain transformer; None for others.
        channels: number of channels of each map.

    Raises:
        InputError: timm has no such model, the model has no such pyramid, its weights are
            missing or do not fit, or an option does not suit the model.
    """

    def __init__(
        self,
        name: str,
        weights: str | None = "imagenet",
        drop_path: float = 0.0,
        checkpoint: bool = False,
        bands: int = 3,
        out_indices: tuple[int, ...] | None = None,
        freeze: bool = False,
        lora: int = 0,
    ):
        super().__init__()
        self.name, self.freeze, self.lora = name, freeze, lora
        _check_adaptation(freeze, lora)
        if not 0 <= drop_path < 1:
            raise InputError(f"model.drop_path={drop_path}", "must be at least 0 and below 1")
        plan = _plan(name, out_indices)
        options: dict[str, Any] = {"features_only": True, "out_indices": plan.indices}
        options |= {"in_chans": bands, **plan.options}
        if drop_path:
            options["drop_path_rate"] = drop_path
        self.body = pretrained.build(name, weights, options)
        if checkpoint:
            _checkpoint_blocks(name, self.body)
        if freeze:
            self.body.requires_grad_(False)
        if lora:
            adaptation.add_lora(name, self.body, lora, options)
        channels: list[int] = _feature_info(self.body).channels()
        self.pyramid = SimpleFeaturePyramid(channels[0], plan.patch) if plan.patch else None
        self.channels = self.pyramid.channels if self.pyramid else channels
        # Swin and similar models give (b, h, w, c).
        self.is_channels_last = getattr(self.body, "output_fmt", "NCHW") == "NHWC"
        self.train()  # puts frozen parts into the mode of prediction

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute the maps, each (b, c_i, H / s_i, W / s_i).

        Args:
            image: (b, bands, H, W), H and W multiples of 32.
        """
        if self.pyramid:
            return self.pyramid(self.body(self.pyramid.pad(image)), *image.shape[-2:])
        maps = self.body(image)
        if self.is_channels_last:
            maps = [features.permute(0, 3, 1, 2) for features in maps]
        return maps

    def train(self, mode: bool = True) -> "Encoder":
        """Switch to training or back, except for parts that :attr:`freeze` or LoRA keep."""
        super().train(mode)
        if self.freeze:
            self.body.eval()
        elif self.lora:
            adaptation.keep_statistics(self.body)
        return self

    def layer_numbers(self) -> dict[nn.Parameter, int]:
        """Number the layers of the pretrained network from its input on, from 0 without a gap.

        Returns:
            The number of the layer of each parameter; those of the pyramid are left out. See
            :func:`network.models.adaptation.layer_numbers`.
        """
        numbers = adaptation.layer_numbers(self.name, self.body)
        return {p: numbers[parameter] for parameter, p in self.body.named_parameters()}


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


@dataclass(frozen=True)
class _Plan:
    """The maps of a timm model that an encoder uses.

    Args:
        indices: their positions among all maps of the model.
        options: options for timm with which the model accepts images of any size.
        patch: side of the patches of a plain vision transformer; 0 for other models.
    """

    indices: tuple[int, ...]
    options: dict[str, Any]
    patch: int = 0


def _check_adaptation(freeze: bool, lora: int) -> None:
    if lora < 0:
        raise InputError(f"model.lora={lora}", "must be at least 0")
    if freeze and lora:
        raise InputError(
            f"model.freeze=True and model.lora={lora}",
            "LoRA freezes the pretrained weights already, and its own are trained",
            "give only one of the two",
        )


def _plan(name: str, out_indices: Sequence[int] | None) -> _Plan:
    """Choose the maps of a timm model; see :class:`Encoder`."""
    _check_known(name)
    options = any_size_options(name)
    try:
        with torch.device("meta"):
            network = timm.create_model(name, features_only=True, **options)
            strides = _feature_info(network).reduction()
    except (RuntimeError, AttributeError) as error:
        raise InputError(f"encoder '{name}'", f"timm gives no feature pyramid ({error})") from error
    if len(set(strides)) == 1 and hasattr(network, "model"):
        whole: Any = network.model
        blocks = len(whole.feature_info)
        return _plan_plain(name, out_indices, blocks, patch=strides[0])
    if out_indices is not None:
        raise InputError(
            f"model.out_indices={tuple(out_indices)}",
            f"is for plain vision transformers, encoder '{name}' has maps at several strides",
            "give model.out_indices=None",
        )
    if not set(STRIDES) <= set(strides):
        raise InputError(
            f"encoder '{name}'",
            f"its maps have strides {strides}, but {list(STRIDES)} are needed",
            "choose a pyramid encoder such as convnext_base.fb_in1k or resnet18.a1_in1k",
        )
    known = timm.get_pretrained_cfg(name)  # None if it was registered without a configuration
    if known is None or known.fixed_input_size:
        _check_any_size(name, network)
    options |= _no_drop_path(network)
    return _Plan(tuple(strides.index(stride) for stride in STRIDES), options)


def _plan_plain(name: str, out_indices: Sequence[int] | None, blocks: int, patch: int) -> _Plan:
    """Choose four maps of a plain vision transformer with a number of blocks."""
    options: dict[str, Any] = {"dynamic_img_size": True}
    with torch.device("meta"):
        try:
            network = timm.create_model(name, features_only=True, **options)
        except TypeError:  # it has no such option, and perhaps needs none
            options = {}
            network = timm.create_model(name, features_only=True)
    _check_any_size(name, network, patch)
    levels = len(STRIDES)
    if out_indices is None:
        out_indices = [blocks * (level + 1) // levels - 1 for level in range(levels)]
    is_rising = sorted(set(out_indices)) == list(out_indices)
    if not (is_rising and len(out_indices) == levels and set(out_indices) <= set(range(blocks))):
        raise InputError(
            f"model.out_indices={tuple(out_indices)}",
            f"must be {levels} rising numbers from 0 to {blocks - 1}, one for each map",
        )
    return _Plan(tuple(out_indices), options | _no_drop_path(network), patch)


def _no_drop_path(network: nn.Module) -> dict[str, Any]:
    """Find the options that switch off stochastic depth, which Swin and others have by default."""
    parts = network.modules()
    has_some = any(isinstance(part, DropPath) and part.drop_prob for part in parts)
    return {"drop_path_rate": 0.0} if has_some else {}


def _check_any_size(name: str, network: nn.Module, unit: int = 32) -> None:
    """Raise an :class:`InputError` if a network does not accept images of any size.

    Args:
        name: name of the timm model.
        network: the network on the meta device.
        unit: number of pixels of which both sides must be multiples.
    """
    try:
        network.eval()(torch.zeros(1, 3, 2 * unit, 3 * unit, device="meta"))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"encoder '{name}'",
            "takes images of one size only",
            "choose another such as convnext_base.fb_in1k or swin_tiny_patch4_window7_224",
        ) from error
