"""The options of an export: size and type of the input, and kind of the output."""

from dataclasses import dataclass

from network.datasets.schema import DatasetInfo
from network.errors import InputError

STRIDE = 32
"""Sides of images of any size must be multiples of this number of pixels."""

LARGEST = 1024 * STRIDE
"""The largest side of images of any size, in pixels."""

MOST = 1024
"""The largest batch, if it may have any number of images."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The input and the output of an exported network.

    Args:
        size: height and width of the images in pixels. With None, a file takes images whose sides
            are multiples of 32, from 64 pixels on.
        batch: number of images that are segmented at once; None for any number.
        normalize: whether the file normalizes the images. Otherwise whoever runs the file does.
        softmax: whether the output is the probabilities of the classes. Otherwise it is the logits.
        uint8: whether the input has 8 bits a value, as in image files. Otherwise it is float32.
        unit: whether the input is pixel values of 8 bits divided by 255, as some programs give
            them.

    Raises:
        InputError: a value is out of range, or options contradict each other.
    """

    size: tuple[int, int] | None = None
    batch: int | None = None
    normalize: bool = False
    softmax: bool = False
    uint8: bool = False
    unit: bool = False

    def __post_init__(self) -> None:
        if self.size and min(self.size) < STRIDE:
            sides = " ".join(map(str, self.size))
            raise InputError(f"size={sides}", f"must be at least {STRIDE} pixels")
        if self.batch is not None and not 1 <= self.batch <= MOST:
            raise InputError(f"batch={self.batch}", f"must be from 1 to {MOST}, or any")
        if self.uint8 and not self.normalize:
            raise InputError(
                "uint8=True",
                "the values of normalized images are no whole numbers",
                "add normalize=True",
            )
        if self.unit and (self.uint8 or not self.normalize):
            problem = "the file scales the values back and normalizes them, in float32"
            raise InputError("unit=True", problem, "give normalize=True and uint8=False")

    def check(self, info: DatasetInfo) -> None:
        """Raise an :class:`InputError` if the images of a data set do not fit the input."""
        if (self.uint8 or self.unit) and info.dtype != "uint8":
            raise InputError(
                "uint8=True" if self.uint8 else "unit=True",
                f"the network was trained on images of {info.name}, whose values are {info.dtype}",
                "leave it out",
            )

    @property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Batch, height and width of images to check a file with: two shapes if any may vary."""
        sizes = (self.size,) * 2 if self.size else ((256, 320), (96, 64))
        batches = (self.batch,) * 2 if self.batch else (1, 3)
        pairs = zip(batches, sizes, strict=True)
        return tuple(dict.fromkeys((batch, *size) for batch, size in pairs))
