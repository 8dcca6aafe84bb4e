"""The programs that run exported files."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from network.datasets.workers import available_cores
from network.errors import InputError
from network.exported.record import KEY
from network.extras import require_extra

INPUT = "image"
"""Name of the input of each file."""

Run = Callable[[np.ndarray], np.ndarray]
"""Runs a file: from images (b, bands, H, W) to its output (b, k, H, W) float32."""


class Program(ABC):
    """A program that runs exported files on the CPU."""

    package: ClassVar[str]
    """The package of the program."""
    extra: ClassVar[str | None]
    """The extra of the project that brings it."""
    endings: ClassVar[tuple[str, ...]]
    """Endings of the files that it runs."""
    precisions: ClassVar[tuple[str, ...]] = ("32-true",)
    """Precisions that it can compute in, see :class:`network.settings.Compute`."""

    def check(self, needed_for: str) -> None:
        """Raise an :class:`InputError` if the program is not installed."""
        if self.extra:
            require_extra(self.extra, needed_for, (self.package,))
        elif find_spec(self.package) is None:
            raise InputError(
                needed_for,
                f"needs the library {self.package}, which is not installed",
                "install the whole project (pip install -e .), or export as onnx",
            )

    @property
    def runtime(self) -> str:
        """Name and version of the program."""
        return f"{self.package} {version(self.package)}"

    def files(self, path: Path) -> tuple[Path, ...]:
        """List the files that an exported file consists of; they may have temporary names."""
        return (path,)

    @abstractmethod
    def open(self, path: Path, precision: str = "32-true") -> tuple[Run, str | None]:
        """Open a file.

        Args:
            path: the file.
            precision: one of ``precisions``.

        Returns:
            The function that runs the file, and the JSON text with its facts; None if it has none.
        """


class OnnxRuntime(Program):
    """ONNX Runtime."""

    package, extra, endings = "onnxruntime", "export", (".onnx",)

    def open(self, path: Path, precision: str = "32-true") -> tuple[Run, str | None]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        facts = session.get_modelmeta().custom_metadata_map.get(KEY)
        return lambda images: session.run(None, {INPUT: images})[0], facts


class OpenVino(Program):
    """OpenVINO, which also runs ONNX files."""

    package, extra, endings = "openvino", "openvino", (".xml", ".onnx")
    precisions = ("32-true", "bf16-mixed")

    def files(self, path: Path) -> tuple[Path, ...]:
        return (path,) if path.suffix == ".onnx" else (path, openvino_weights(path))

    def open(self, path: Path, precision: str = "32-true") -> tuple[Run, str | None]:
        model = _read_by_openvino(path)
        return compile_openvino(model, precision), _facts_by_openvino(model)


def compile_openvino(model: Any, precision: str = "32-true") -> Run:
    """Compile a model of OpenVINO for the CPU.

    Args:
        model: the model.
        precision: ``"32-true"`` or ``"bf16-mixed"``. Layers of 8 bits stay so.
    """
    import openvino

    # Without a hint, some processors would compute in 16 bits.
    hint = {"32-true": "f32", "bf16-mixed": "bf16"}[precision]
    options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": str(threads())}
    compiled = openvino.Core().compile_model(model, "CPU", options)
    return lambda images: compiled(images)[0]


def _read_by_openvino(path: Path) -> Any:
    import openvino

    core = openvino.Core()
    if path.suffix == ".onnx":
        return core.read_model(path)
    # The content is given instead of the path: a file that is still being written has a temporary
    # ending, by which OpenVINO would not know its format.
    weights = openvino_weights(path)
    return core.read_model(path.read_bytes(), weights.read_bytes())


def _facts_by_openvino(model: Any) -> str | None:
    for place in ([KEY], ["framework", KEY]):  # the second holds the metadata of an ONNX file
        try:
            return str(model.get_rt_info(place).value)
        except RuntimeError:
            continue
    return None


def openvino_weights(path: Path) -> Path:
    """Find the file of the weights of an ``.xml`` file, which may have a temporary name."""
    return path.with_suffix(".bin") if path.suffix == ".xml" else path.with_name(f"{path.name}.bin")


class Torch(Program):
    """The programs of ``torch.export``."""

    package, extra, endings = "torch", None, (".pt2",)

    def open(self, path: Path, precision: str = "32-true") -> tuple[Run, str | None]:
        import torch

        files = {f"{KEY}.json": ""}
        program = torch.export.load(BytesIO(path.read_bytes()), extra_files=files)
        module = program.module()

        def run(images: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return module(torch.from_numpy(images)).numpy()

        return run, files[f"{KEY}.json"] or None


PROGRAMS: dict[str, Program] = {"onnx": OnnxRuntime(), "openvino": OpenVino(), "torch": Torch()}
"""The programs by the names of ``--backend``."""


def threads() -> int:
    """Count the threads that a program may use: ``OMP_NUM_THREADS``, or all cores."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else available_cores()
