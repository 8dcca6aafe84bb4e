"""What the networks with a pyramid encoder share: images of any size, and recomputation."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as nnf
import torch.utils.checkpoint
from torch import Tensor, nn

from network.errors import InputError
from network.models.encoder import STRIDES
from network.models.output import SegOutput


class Segmenter(nn.Module):
    """A network of an ``encoder`` and, by :meth:`decode`, everything after it.

    Attributes:
        compute_settings: settings of any network that change how it is computed and where it
            starts, but not what it is; a training may go on with others.
        training_settings: those, and settings that a trained network no longer depends on.

    Args:
        has_aux: in training, :meth:`decode` gives auxiliary logits too.
        checkpoint_decoder: in training, compute what :meth:`run` is given again in the backward
            pass instead of keeping its activations.
    """

    compute_settings: ClassVar[frozenset[str]] = frozenset(
        {"weights", "checkpoint_encoder", "checkpoint_decoder"}
    )
    training_settings: ClassVar[frozenset[str]] = compute_settings | {"drop_path", "aux"}
    encoder: nn.Module

    def __init__(self, has_aux: bool, checkpoint_decoder: bool = False):
        super().__init__()
        self.has_aux, self.checkpoint_decoder = has_aux, checkpoint_decoder

    def forward(self, image: Tensor, details: bool = False) -> SegOutput:
        """Segment normalized images of any size.

        Args:
            image: (b, bands, H, W) float, normalized.
            details: also return what a figure may want, as in training.
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
        )

    def explain(self, image: Tensor) -> SegOutput:
        """Segment as :meth:`forward` does, and give heatmaps and class embeddings too."""
        return self.forward(image, details=True)

    def decode(self, stages: list[Tensor], details: bool = False) -> SegOutput:
        """Stages, each (b, c_i, h_i, w_i) -> output at four times the first stage's size."""
        raise NotImplementedError

    def run(self, part: Callable[..., Any], *inputs: Tensor) -> Any:
        """Call ``part``, in training without keeping its activations if so asked for."""
        if self.checkpoint_decoder and self.training:
            return torch.utils.checkpoint.checkpoint(part, *inputs, use_reentrant=False)
        return part(*inputs)


def check_setting(name: str, value: object, is_right: bool, expected: str) -> None:
    """Raise an :class:`InputError` that names the setting of a model."""
    if not is_right:
        raise InputError(f"model.{name}={value}", f"must be {expected}")


def pad(image: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples."""
    height, width = image.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    return nnf.pad(image, (0, right, 0, bottom), mode="replicate") if bottom or right else image


def crop(maps: Tensor, height: int, width: int) -> Tensor:
    """The top left of (..., H, W)."""
    return maps[..., :height, :width]
