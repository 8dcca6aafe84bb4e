"""The formats of exported files: how each is written, carries its facts and is run."""

import io
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.export import ExportedProgram

from network.errors import InputError
from network.exported.programs import INPUT, PROGRAMS, Program, Run, openvino_weights
from network.exported.record import KEY, ExportRecord
from network.extras import require_extra
from network.writing import replacing_together, unwritable

OPSET = 18
"""Version of the ONNX operators."""

IR_VERSION = 8
"""Version of the file format, which came with these operators. Older programs refuse newer ones."""

_MOST_BYTES = 2**31 - 2**24
"""Bytes that the weights of an ONNX file may have; the whole file may have 2 GB."""

_NAMES = "batch", None, "height", "width"


class Format(ABC):
    """A format of exported files.

    The methods are called in the order :meth:`check`, :meth:`convert`, :meth:`save`, :meth:`open`.
    """

    ending: ClassVar[str]
    """Ending of the files."""
    extra: ClassVar[str | None]
    """The extra of the project that the format needs."""
    program: ClassVar[Program]
    """The program that runs the files."""
    artifact_type: ClassVar[str]
    """Name of the format in the machine-learning-model extension of STAC."""
    media_types: ClassVar[tuple[str, ...]]
    """Media type of each file that an exported file consists of."""

    def check(self, name: str) -> None:
        """Raise an :class:`InputError` if a library is missing."""
        if self.extra:
            require_extra(self.extra, f"format={name}")

    @abstractmethod
    def convert(self, program: ExportedProgram, output: str) -> Any:
        """Convert a traced program into the format, in memory.

        Args:
            program: the program.
            output: name of its output.
        """

    @abstractmethod
    def save(self, model: Any, record: ExportRecord, path: Path) -> None:
        """Write a model and its facts.

        Args:
            model: what :meth:`convert` has made.
            record: the facts.
            path: the file.
        """

    def open(self, path: Path) -> Run:
        """Open a file with its own program, in single precision."""
        return self.program.open(path)[0]

    @contextmanager
    def replacing(
        self, path: Path, companions: Sequence[Path]
    ) -> Iterator[tuple[Path, list[Path]]]:
        """Yield temporary paths of a file and its companions.

        All get their names if the block succeeds, see
        :func:`network.writing.replacing_together`.

        Args:
            path: the file.
            companions: files that lie beside it and tell of it.
        """
        with replacing_together(path, companions) as partials:
            yield partials


class TorchFormat(Format):
    """A program of ``torch.export``, in a file that only torch reads."""

    ending, extra, program = ".pt2", None, PROGRAMS["torch"]
    artifact_type = "torch.export.save"
    media_types = ("application/octet-stream; framework=pytorch",)

    def convert(self, program: ExportedProgram, output: str) -> ExportedProgram:
        return program

    def save(self, model: ExportedProgram, record: ExportRecord, path: Path) -> None:
        with path.open("wb") as file:
            torch.export.save(model, file, extra_files={f"{KEY}.json": record.to_json()})


class OnnxFormat(Format):
    """A file of ONNX, which many programs run."""

    ending, extra, program = ".onnx", "export", PROGRAMS["onnx"]
    artifact_type = "ONNX"
    media_types: ClassVar[tuple[str, ...]] = ("application/octet-stream; framework=onnx",)

    def convert(self, program: ExportedProgram, output: str) -> Any:
        weights = (*program.state_dict.values(), *program.constants.values())
        total = sum(w.numel() * w.element_size() for w in weights if isinstance(w, torch.Tensor))
        if total > _MOST_BYTES:
            raise InputError(
                "the network",
                f"the weights have {total / 1e9:.1f} GB, and ONNX, also on the way to OpenVINO, "
                "holds 2 GB",
                "give format=torch",
            )
        from onnxscript import opset18

        def rounded(value: Any, digits: None = None) -> Any:
            """Round half to even, as Python does, which torch does not translate."""
            return opset18.Cast(opset18.Round(value), to=7)  # int64

        # It warns of each layer norm that it leaves as it is.
        logging.getLogger("onnxscript.optimizer").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch about its own code
            converted = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[output],
                custom_translation_table={round: rounded},
                verbose=False,
            )
        assert converted is not None  # without dynamo, torch returns nothing
        model = converted.model_proto
        model.ir_version = IR_VERSION
        # Shapes between the operators are long formulas of the sides. All programs infer them.
        del model.graph.value_info[:]
        for value in (*model.graph.input, *model.graph.output):
            for side, name in zip(value.type.tensor_type.shape.dim, _NAMES, strict=True):
                if side.dim_param and name:
                    side.dim_param = name
        return model

    def save(self, model: Any, record: ExportRecord, path: Path) -> None:
        from onnx.helper import set_model_props

        model.producer_name = "bicor-seg"
        set_model_props(model, {KEY: record.to_json(), **record.properties})
        path.write_bytes(model.SerializeToString())


class OpenVinoFormat(OnnxFormat):
    """An ``.xml`` file with the operators and a ``.bin`` file with the weights, for OpenVINO."""

    ending, extra, program = ".xml", "openvino", PROGRAMS["openvino"]
    artifact_type = "openvino.serialize"
    media_types = ("application/xml", "application/octet-stream; framework=openvino")

    def check(self, name: str) -> None:
        super().check(name)
        require_extra("export", f"format={name}", ("onnx", "onnxscript"))

    def convert(self, program: ExportedProgram, output: str) -> Any:
        import openvino

        model = super().convert(program, output)
        return openvino.Core().read_model(io.BytesIO(model.SerializeToString()))

    def save(self, model: Any, record: ExportRecord, path: Path) -> None:
        import openvino

        model.set_rt_info(record.to_json(), [KEY])
        named = path.with_name(f"{path.name}.xml")  # OpenVINO wants this ending
        try:
            openvino.serialize(model, named, openvino_weights(path))
            named.replace(path)
        except RuntimeError as error:  # of a full disk, too
            raise unwritable(path, error) from error
        finally:
            named.unlink(missing_ok=True)

    @contextmanager
    def replacing(
        self, path: Path, companions: Sequence[Path]
    ) -> Iterator[tuple[Path, list[Path]]]:
        weights = openvino_weights(path)
        with replacing_together(path, (weights, *companions)) as (partial, others):
            partial_weights = others.pop(0)
            try:
                yield partial, others
                openvino_weights(partial).replace(partial_weights)
            finally:
                openvino_weights(partial).unlink(missing_ok=True)


FORMATS: dict[str, Format] = {
    "onnx": OnnxFormat(),
    "openvino": OpenVinoFormat(),
    "torch": TorchFormat(),
}
"""The formats by their names."""
