"""The output of every model of the project."""

from typing import NamedTuple

from torch import Tensor


class SegOutput(NamedTuple):
    """The logits of a model, with additional results for a loss or a figure.

    b batch, k classes, d channels of a class embedding, (h, w) the decoder's resolution.
    Everything except the logits is None unless the model is in training or details are requested.
    A class embedding of a layer is refined from the pixels with weights above 0 in ``pooling``.
    """

    logits: Tensor  # (b, k, H, W), at the size of the image
    aux_logits: Tensor | None = None  # (b, k, H, W)
    heatmaps: list[Tensor] | None = None  # per layer (b, k, h, w), as logits
    class_embeddings: list[Tensor] | None = None  # per layer (b, k, d)
    pooling: list[Tensor] | None = None  # per layer (b, k, h, w), weights; only details
