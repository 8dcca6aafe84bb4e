"""The base class of networks with a pyramid encoder.

It handles images of any size and the recomputation of activations.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from network.errors import InputError
from network.models.encoder import STRIDES
from network.models.output import SegOutput
from network.models.padding import crop, pad


class Segmenter(nn.Module):
    """The base of a network with an ``encoder``, and the rest in :meth:`decode`.

    Attributes:
        compute_settings: settings that only change how a network is computed and with which
            weights it starts; a resumed training may change them.
        training_settings: the same, and settings that no longer matter after the training.

    Args:
        has_aux: whether :meth:`decode` also gives auxiliary logits in training.
        checkpoint_decoder: whether training computes the parts given to :meth:`run` again in the
            backward pass, instead of keeping their activations.
    """

    compute_settings: ClassVar[frozenset[str]] = frozenset(
        {"weights", "checkpoint_encoder", "checkpoint_decoder"}
    )
    training_settings: ClassVar[frozenset[str]] = compute_settings | {"drop_path", "aux", "freeze"}
    encoder: nn.Module

    def __init__(self, has_aux: bool, checkpoint_decoder: bool = False):
        super().__init__()
        self.has_aux, self.checkpoint_decoder = has_aux, checkpoint_decoder

    def forward(self, image: Tensor, details: bool = False) -> SegOutput:
        """Segment normalized images of any size.

        Args:
            image: (b, bands, H, W) float, normalized.
            details: whether to return heatmaps and class embeddings too, as in training.
        """
        height, width = image.shape[-2:]
        output = self.decode(self.encoder(pad(image, STRIDES[-1])), details)
        heatmap_size = -(-height // STRIDES[0]), -(-width // STRIDES[0])
        aux = output.aux_logits
        return SegOutput(
            logits=crop(output.logits, height, width),
            aux_logits=None if aux is None else crop(aux, height, width),
            heatmaps=output.heatmaps and [crop(h, *heatmap_size) for h in output.heatmaps],
            class_embeddings=output.class_embeddings,
            pooling=output.pooling and [crop(w, *heatmap_size) for w in output.pooling],
        )

    def explain(self, image: Tensor) -> SegOutput:
        """Segment as :meth:`forward` does, and tell how the logits come about.

        Returns:
            The output with heatmaps, class embeddings and the pixels that they are pooled from, as
            far as the network has them.
        """
        return self.forward(image, details=True)

    def decode(self, stages: list[Tensor], details: bool = False) -> SegOutput:
        """Compute the output at four times the first stage's size.

        Args:
            stages: maps of the encoder, each (b, c_i, h_i, w_i).
            details: whether to return heatmaps and class embeddings too, as in training.
        """
        raise NotImplementedError

    def run(self, part: Callable[..., Any], *inputs: Tensor) -> Any:
        """Call a part; with ``checkpoint_decoder``, keep no activations of it in training."""
        if self.checkpoint_decoder and self.training:
            return torch.utils.checkpoint.checkpoint(part, *inputs, use_reentrant=False)
        return part(*inputs)


def check_setting(name: str, value: object, is_right: bool, expected: str) -> None:
    """Raise an :class:`InputError` if a setting of a model is wrong.

    Args:
        name: name of the setting.
        value: its value.
        is_right: whether the value is right.
        expected: description of right values.
    """
    if not is_right:
        raise InputError(f"model.{name}={value}", f"must be {expected}")


def core_at(inside: tuple[slice, slice], image: Tensor, stride: int) -> tuple[slice, slice]:
    """Find the core of a window in its feature maps.

    Args:
        inside: rows and columns of the core in the window. They begin at multiples of the stride.
        image: the window (..., h, w) before it is padded. A core that ends with the window gets the
            padding too.
        stride: stride of the feature maps.
    """
    rows, columns = (
        slice(side.start // stride, None if side.stop == length else side.stop // stride)
        for side, length in zip(inside, image.shape[-2:], strict=True)
    )
    return rows, columns
