"""What a network and a loss must offer: all that training, testing and exporting rely on.

A class need not name these protocols. It has to have their methods. The first two are the contract
itself; the others are abilities that only some networks and losses have, and that are asked for by
``isinstance``.
"""

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from network.models.output import SegOutput


@runtime_checkable
class Network(Protocol):
    """A torch module that segments images.

    Notation: b images, k classes, (H, W) their size.
    """

    def forward(self, image: Tensor) -> SegOutput:
        """Segment images of any size.

        Args:
            image: (b, bands, H, W) float, normalized.

        Returns:
            Logits (b, k, H, W), and while training what the loss may want beside them.
        """
        ...


@runtime_checkable
class ExplainingNetwork(Network, Protocol):
    """A network that can show what its logits come from."""

    def explain(self, image: Tensor) -> SegOutput:
        """Segment images, and give heatmaps and class embeddings where the network has them.

        Args:
            image: (b, bands, H, W) float, normalized.
        """
        ...


@runtime_checkable
class DescribedNetwork(Network, Protocol):
    """A network whose class says which of its settings no longer matter once it is trained."""

    training_settings: ClassVar[frozenset[str]]
    """Names of parameters of its constructor."""


@runtime_checkable
class Loss(Protocol):
    """A torch module that compares the output of a network with labels."""

    def forward(self, output: SegOutput, labels: Tensor) -> dict[str, Tensor]:
        """Give the weighted parts of the loss by name; their sum is minimized.

        Args:
            output: of a network.
            labels: (b, H, W) int64, 0 to k-1 or the ignored label.
        """
        ...


@runtime_checkable
class CountingLoss(Loss, Protocol):
    """A loss that weighs the classes by the pixels that they have in the training masks."""

    counted: str | None
    """Which masks are counted: ``"labels"``, those that are trained on; ``"dense"``, those that
    points were drawn from; None: none, and no counts are wanted."""

    def set_class_counts(self, counts: Sequence[int]) -> None:
        """Take the pixels of each class, k numbers, before the first step."""
        ...


def encoder_of(model: nn.Module) -> nn.Module | None:
    """Find the encoder of a network, the part that pretrained weights are for.

    Returns:
        The submodule or property ``encoder``; None if the network has no such part.
    """
    # Not by a protocol: from Python 3.12 on, isinstance() does not see submodules of torch.
    try:
        found = model.encoder
    except AttributeError:
        return None
    return found if isinstance(found, nn.Module) else None
