"""The choice of the program that runs an exported file, and of its precision."""

from dataclasses import dataclass
from pathlib import Path

from network.errors import InputError
from network.exported.programs import PROGRAMS


@dataclass(frozen=True)
class Backend:
    """The program that runs an exported file, and its precision.

    Attributes:
        name: ``"onnx"``, ``"openvino"`` or ``"torch"``; None for the first one that runs the file.
        precision: precision of the computation; None for single precision.

    Raises:
        InputError: there is no such program.
    """

    name: str | None = None
    precision: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None and self.name not in PROGRAMS:
            raise InputError(f"backend={self.name}", f"must be one of {', '.join(PROGRAMS)}")

    def check_device(self, device: str) -> None:
        """Raise an :class:`InputError` unless a device is the CPU, where exported files run."""
        if device not in ("auto", "cpu"):
            remedy = "leave it out, or predict with the checkpoint"
            raise InputError(f"device={device}", "exported files run on the CPU", remedy)

    def check_checkpoint(self, checkpoint: Path) -> None:
        """Raise an :class:`InputError` if the program does not run a checkpoint."""
        if self.name not in (None, "torch"):
            raise InputError(
                f"backend={self.name}",
                f"runs exported files, and {checkpoint.name} is a checkpoint",
                "export it by tools/export.py",
            )
