"""The facts that an exported file carries, as JSON."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import PositiveInt, TypeAdapter, ValidationError

KEY = "bicor_seg"
"""Name of the JSON text in an exported file."""

QUANTIZED_BITS = 8
"""Bits of the weights and inputs of a quantized layer."""

SMALLEST = 64
"""The smallest side of images of any size, in pixels."""

LARGEST_VALUE = 255
"""Largest pixel value of images of 8 bits."""

VERSION = 1
"""Version of the form of the facts; it changes if a reader of the old form would fail."""


Holds = Literal[
    "pixel values",
    "pixel values divided by 255",
    "normalized values",
    "logits",
    "probabilities",
]


@dataclass(frozen=True, kw_only=True)
class TensorFact:
    """The input or the output of a file.

    Attributes:
        name: its name in the file.
        dtype: ``"float32"`` or ``"uint8"``.
        shape: batch, bands or classes, height, width; None where any number is allowed.
        holds: what it holds: ``"pixel values"``, ``"pixel values divided by 255"``,
            ``"normalized values"``, ``"logits"`` or ``"probabilities"``.
    """

    name: str
    dtype: Literal["float32", "uint8"]
    shape: tuple[PositiveInt | None, PositiveInt, PositiveInt | None, PositiveInt | None]
    holds: Holds

    def __post_init__(self) -> None:
        if (self.shape[2] is None) != (self.shape[3] is None):
            raise ValueError("one side is fixed, and the other is not")


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How well the outputs of a file agree with those of the network in torch.

    Attributes:
        images: what both have seen, in words.
        are_real: whether these are images of the data set, not noise.
        shapes: batch, height and width of each comparison.
        largest_difference: largest absolute difference of an output.
        equal_labels: share of the pixels with the same most probable class, 0 to 1.
        tolerance: largest difference that is accepted.
        runtime: the program that ran the file, with its version.
    """

    images: str
    are_real: bool
    shapes: tuple[tuple[int, int, int], ...]
    largest_difference: float
    equal_labels: float
    tolerance: float
    runtime: str

    def __str__(self) -> str:
        return (
            f"{self.runtime} and the network differ by at most {self.largest_difference:.2g}, "
            f"{100 * self.equal_labels:.4g} % of the labels are equal ({self.images})"
        )


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The scores of a file on images with masks.

    Attributes:
        miou: mean IoU over the scored classes, 0 to 1; None if no scored class has an IoU.
        interval: its 95 % bootstrap interval; None if there are too few images.
        classes: IoU of each class by name; None for a class that neither masks nor labels have.
    """

    miou: float | None
    interval: tuple[float, float] | None
    classes: dict[str, float | None]

    def __str__(self) -> str:
        if self.miou is None:
            return "unknown"
        low_high = self.interval and " to ".join(f"{100 * end:.2f}" for end in self.interval)
        return f"{100 * self.miou:.2f}" + (f" ({low_high})" if low_high else "")


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How a file was quantized to 8 bits, and how exact it is.

    Attributes:
        images: the images that the ranges were chosen from, in words.
        layers: number of layers with weights, or that multiply two maps.
        float_layers: names of those that are kept in float32, in the order of the computation.
        measured_on: the images of the following numbers, in words.
        equal_labels: share of the pixels with the same label as before, 0 to 1.
        before: scores in float32; None if there are no masks.
        after: scores of the quantized file; None if there are no masks.
    """

    images: str
    layers: int
    float_layers: tuple[str, ...]
    measured_on: str
    equal_labels: float
    before: Accuracy | None = None
    after: Accuracy | None = None

    def __str__(self) -> str:
        kept = len(self.float_layers)
        line = f"{self.layers - kept} of {self.layers} layers in 8 bits"
        if self.before and self.after:
            line += f"; mIoU {self.before} before, {self.after} after"
            for name, iou in self.before.classes.items():
                new = self.after.classes.get(name)
                if iou is not None and new is not None:
                    line += f", {name} {100 * iou:.2f} and {100 * new:.2f}"
        equal = f"{100 * self.equal_labels:.4g} % of the labels are equal"
        return f"{line}; {equal} ({self.measured_on})"


@dataclass(frozen=True)
class _Versioned:
    """The version of the facts alone."""

    version: int = VERSION


@dataclass(frozen=True, kw_only=True)
class ExportRecord:
    """The facts about an exported network.

    Attributes:
        format: ``"onnx"``, ``"openvino"`` or ``"torch"``.
        input: the input of the file.
        output: the output of the file.
        multiple_of: number of pixels of which the sides of an image must be multiples; 1 if the
            size is fixed.
        card: the facts with which the network predicts, see :class:`network.card.Card`: class and
            settings of the network, names and colors of the classes, bands, bits, mean and
            deviation of each band in pixel values, ground resolution in meters.
        checkpoint: name of the checkpoint file.
        checkpoint_sha256: its digest, in hexadecimal.
        training: settings of the training and its protocol, as in the checkpoint; empty if it has
            none.
        torch: version of torch that traced the network.
        properties: entries of the metadata of an ONNX file for other programs.
        parity: comparison with the network in torch, in float32; None before it is done.
        quantization: how the file was quantized; None if it was not.
        version: version of this form.
    """

    format: str
    input: TensorFact
    output: TensorFact
    multiple_of: PositiveInt
    card: dict[str, Any]
    checkpoint: str
    checkpoint_sha256: str
    training: dict[str, Any]
    torch: str
    properties: dict[str, str] = field(default_factory=dict)
    parity: Parity | None = None
    quantization: Quantization | None = None
    version: int = VERSION

    def to_json(self) -> str:
        """Write the facts as JSON."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "ExportRecord":
        """Read what :meth:`to_json` has written; other entries are left out.

        Raises:
            ValueError: the text is no such record, or one of a newer version.
        """
        try:
            # First the version: a newer form may have other facts.
            version = TypeAdapter(_Versioned).validate_json(text).version
            if version > VERSION:
                raise ValueError(f"version {version} of the form, {VERSION} is known")
            return TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"{where}: {first['msg']}") from error
