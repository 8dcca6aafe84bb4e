"""What every model of the project returns."""

from typing import NamedTuple

from torch import Tensor


class SegOutput(NamedTuple):
    """Logits, and what a loss or a figure may want beside them.

    b batch, k classes, d channels of a class embedding, (h, w) the decoder's resolution.
    Everything but the logits is None unless the model trains or is asked for details.
    """

    logits: Tensor  # (b, k, H, W), at the size of the image
    aux_logits: Tensor | None = None  # (b, k, H, W)
    heatmaps: list[Tensor] | None = None  # per layer (b, k, h, w), as logits
    class_embeddings: list[Tensor] | None = None  # per layer (b, k, d)
