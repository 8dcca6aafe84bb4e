"""Protocols of networks and losses, which training, testing and exporting rely on.

A class does not need to name these protocols, but it must have their methods. ``Network`` and
``Loss`` are required. The others are abilities of only some networks and losses, which
``isinstance`` checks.
"""

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from network.models.output import SegOutput


@runtime_checkable
class Network(Protocol):
    """A torch module that segments images.

    Notation: b images, k classes, (H, W) size of the images.
    """

    def forward(self, image: Tensor) -> SegOutput:
        """Segment images of any size.

        Args:
            image: (b, bands, H, W) float, normalized.

        Returns:
            Logits (b, k, H, W), and in training other results that the loss may use.
        """
        ...


@runtime_checkable
class ExplainingNetwork(Network, Protocol):
    """A network that can show how its logits come about."""

    def explain(self, image: Tensor) -> SegOutput:
        """Segment images, and give heatmaps and class embeddings if the network has them.

        Args:
            image: (b, bands, H, W) float, normalized.
        """
        ...


class ImageContext(Protocol):
    """The facts about a whole image that a network uses to segment windows of the image.

    It is computed in passes: :meth:`see` for each window, then :meth:`end_pass`.
    """

    passes: int
    """Number of passes over the windows."""

    def see(self, image: Tensor, inside: tuple[slice, slice], corner: tuple[int, int]) -> None:
        """Use a window for the current pass.

        Args:
            image: the window (1, bands, h, w), normalized.
            inside: rows and columns of its core; the cores of all windows do not overlap. They
                begin at multiples of 32, and end at multiples of 32 or at the end of the image.
            corner: row and column of the image where the window begins, multiples of 32.
        """
        ...

    def end_pass(self) -> None:
        """End a pass."""
        ...

    def state(self) -> list[Tensor]:
        """The result of all passes, which can be stored."""
        ...

    def restore(self, state: list[Tensor]) -> None:
        """Take a stored result instead of the passes."""
        ...

    def segment(self, image: Tensor, corners: Sequence[tuple[int, int]]) -> SegOutput:
        """Segment windows after all passes.

        Args:
            image: (b, bands, h, w), normalized.
            corners: row and column of the image where each window begins, multiples of 32.
        """
        ...


@runtime_checkable
class WholeImageNetwork(Network, Protocol):
    """A network that can be given the context of a large image.

    The logits of such a network depend on all pixels that it sees.
    """

    def whole_image(self, height: int, width: int, share: float = 1.0) -> ImageContext:
        """Begin to compute the context of an image.

        Args:
            height: height of the image in pixels.
            width: width of the image in pixels.
            share: share of the image that the context is computed from, above 0 and at most 1.
        """
        ...


@runtime_checkable
class DescribedNetwork(Network, Protocol):
    """A network whose class lists the settings that no longer matter after the training."""

    training_settings: ClassVar[frozenset[str]]
    """Names of the constructor's parameters that no longer matter after the training."""


@runtime_checkable
class LayeredEncoder(Protocol):
    """An encoder whose layers can be trained at different rates."""

    def layer_numbers(self) -> dict[nn.Parameter, int]:
        """Number the layers of the pretrained network from its input on, from 0 without a gap.

        Returns:
            The number of the layer of each parameter. Parameters that are not pretrained are left
            out.
        """
        ...


@runtime_checkable
class Loss(Protocol):
    """A torch module that compares the output of a network with labels."""

    def forward(self, output: SegOutput, labels: Tensor) -> dict[str, Tensor]:
        """Compute the weighted parts of the loss by name; their sum is minimized.

        Args:
            output: output of a network.
            labels: (b, H, W) int64, 0 to k-1 or the ignored label.
        """
        ...


@runtime_checkable
class CountingLoss(Loss, Protocol):
    """A loss that weights the classes by their numbers of pixels in the training masks."""

    counted: str | None
    """Masks that are counted: ``"labels"`` for the training masks, ``"dense"`` for the masks that
    points were drawn from; None if the loss needs no counts."""

    def set_class_counts(self, counts: Sequence[int]) -> None:
        """Set the number of pixels of each class, k numbers, before the first step."""
        ...


def encoder_of(model: nn.Module) -> nn.Module | None:
    """Find the encoder of a network, which is the part with pretrained weights.

    Returns:
        The submodule or property ``encoder``; None if the network has no such part.
    """
    # Not by a protocol: from Python 3.12 on, isinstance() does not see submodules of torch.
    try:
        found = model.encoder
    except AttributeError:
        return None
    return found if isinstance(found, nn.Module) else None
