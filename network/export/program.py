"""The traced program of a network, from which all formats are written."""

from typing import Any

import torch
from timm.layers import Conv2dSame
from timm.layers.pool2d_same import AvgPool2dSame, MaxPool2dSame
from timm.models import swin_transformer, swin_transformer_v2
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from network.datasets.transforms import Normalize
from network.errors import InputError
from network.export.options import LARGEST, MOST, STRIDE, ExportOptions
from network.exported.record import SMALLEST
from network.models import unetformer

_EXAMPLE = 2, 128, 160  # different numbers, and none is 1, so that torch takes none as a constant

_PADDED_BY_SIZE = (
    swin_transformer.WindowAttention,
    swin_transformer_v2.WindowAttention,
    unetformer.WindowAttention,
    *(AvgPool2dSame, Conv2dSame, MaxPool2dSame),  # of TensorFlow, as in tf_efficientnet_lite0
)
"""Modules whose padding depends on the size of their maps. With sides as symbols, torch takes many
minutes to trace the padding, and then the program refuses some sizes."""


class Exported(nn.Module):
    """A network with one input and one output, as other programs want it.

    Args:
        network: a :class:`network.contracts.Network` in the mode of prediction.
        normalization: mean and standard deviation of each band; None if the input is normalized.
        softmax: whether the output is probabilities instead of logits.
        scale: factor that turns the input into the values that are normalized.
    """

    def __init__(
        self,
        network: nn.Module,
        normalization: Normalize | None,
        softmax: bool,
        scale: float = 1.0,
    ):
        super().__init__()
        self.network, self.normalization, self.softmax = network, normalization, softmax
        self.scale = scale

    def forward(self, image: Tensor) -> Tensor:
        """Compute logits or probabilities (b, k, H, W).

        Args:
            image: (b, bands, H, W) float32, or uint8 if the network normalizes it.
        """
        if self.scale != 1:
            image = image * self.scale
        if self.normalization is not None:
            image = self.normalization(image)
        logits = self.network(image).logits
        return logits.softmax(dim=1) if self.softmax else logits


def trace(module: Exported, bands: int, options: ExportOptions, name: str) -> ExportedProgram:
    """Trace a network.

    Args:
        module: the network.
        bands: number of bands of each image.
        options: input and output.
        name: name of the network for an error.

    Raises:
        InputError: torch cannot trace the network, for images of any size or at all.
    """
    if options.size is None and any(isinstance(m, _PADDED_BY_SIZE) for m in module.modules()):
        raise InputError(
            name,
            "cannot be exported for images of any size, since the padding of some of its layers "
            "depends on the size",
            "give size=512",
        )
    batch, height, width = _EXAMPLE
    dims: dict[int, Any] = {}
    if options.batch is None:
        dims[0] = Dim("batch", min=1, max=MOST)
    else:
        batch = options.batch
    if options.size is None:
        low, high = SMALLEST // STRIDE, LARGEST // STRIDE
        rows, columns = (Dim(side, min=low, max=high) for side in ("rows", "columns"))
        dims |= {2: STRIDE * rows, 3: STRIDE * columns}
    else:
        height, width = options.size
    dtype = torch.uint8 if options.uint8 else torch.float32
    image = torch.zeros(batch, bands, height, width, dtype=dtype)
    try:
        with torch.no_grad():
            return torch.export.export(module, (image,), dynamic_shapes=(dims,), strict=False)
    except Exception as error:  # of many kinds, from torch, sympy or the code of the network
        raise not_exported(name, options, error) from error


def not_exported(name: str, options: ExportOptions, error: Exception) -> InputError:
    """Make the error for a network that a library cannot export.

    Args:
        name: name of the network.
        options: input and output.
        error: what the library says.
    """
    reason = next((line for line in str(error).splitlines() if line.strip()), "")
    reason = f"{type(error).__name__}: {reason.strip()[:200]}"
    if options.size is None or options.batch is None:
        what = "images of any size" if options.size is None else "any number of images"
        fixed = "size=512" if options.size is None else "batch=1"
        return InputError(name, f"cannot be exported for {what} ({reason})", f"give {fixed}")
    return InputError(
        name,
        f"cannot be exported ({reason})",
        "change its forward so that it does not branch on the values of tensors",
    )
