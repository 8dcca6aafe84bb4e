"""The operations of :mod:`network.arrays` in torch."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor


class TorchArrays:
    """The operations in torch, see :class:`network.arrays.Arrays`."""

    def from_numpy(self, values: np.ndarray, like: Tensor) -> Tensor:
        return torch.from_numpy(values).to(like.device, torch.float32)

    def to_numpy(self, array: Tensor) -> np.ndarray:
        return array.cpu().numpy()

    def zeros(self, shape: Sequence[int], like: Tensor) -> Tensor:
        return torch.zeros(*shape, device=like.device)

    def float32(self, array: Tensor) -> Tensor:
        return array.float()

    def rounded(self, array: Tensor) -> Tensor:
        return array.round().to(torch.uint8)

    def concatenate(self, arrays: Sequence[Tensor], axis: int = 0) -> Tensor:
        return torch.cat(list(arrays), dim=axis)

    def flip(self, array: Tensor, axis: int) -> Tensor:
        return array.flip(axis)

    def turn(self, array: Tensor, quarters: int) -> Tensor:
        return torch.rot90(array, quarters, (2, 3))

    def resize(self, array: Tensor, size: tuple[int, int]) -> Tensor:
        return nnf.interpolate(array, size=size, mode="bicubic", align_corners=False)

    def softmax(self, array: Tensor, axis: int) -> Tensor:
        return array.softmax(dim=axis)

    def entropy(self, probabilities: Tensor, axis: int) -> Tensor:
        return torch.special.entr(probabilities).sum(dim=axis, keepdim=True)

    def largest(self, array: Tensor) -> Tensor:
        return array.amax(dim=0)

    def best(self, array: Tensor) -> tuple[Tensor, Tensor]:
        # Several times faster than argmax on a CPU.
        values, indices = array.max(dim=0)
        return values, indices.to(torch.uint8)

    def wait(self, array: Tensor) -> None:
        if array.device.type == "cuda":
            torch.cuda.synchronize(array.device)
