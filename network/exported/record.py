"""The facts that an exported file carries, as JSON."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

KEY = "bicor_seg"
"""Name of the JSON text in an exported file."""

VERSION = 1
"""Version of the form of the facts; it changes if a reader of the old form would fail."""


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
    dtype: str
    shape: tuple[int | None, ...]
    holds: str


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
        parity: comparison with the network in torch; None before it is done.
        version: version of this form.
    """

    format: str
    input: TensorFact
    output: TensorFact
    multiple_of: int
    card: dict[str, Any]
    checkpoint: str
    checkpoint_sha256: str
    training: dict[str, Any]
    torch: str
    properties: dict[str, str] = field(default_factory=dict)
    parity: Parity | None = None
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
            record = TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"{where}: {first['msg']}") from error
        if record.version > VERSION:
            raise ValueError(f"version {record.version} of the form, {VERSION} is known")
        return record
