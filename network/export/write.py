"""The export of a trained network into one file."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from network.card import Card
from network.datasets.transforms import Normalize
from network.errors import InputError
from network.export.companions import Companion
from network.export.formats import FORMATS, Format
from network.export.options import STRIDE, ExportOptions
from network.export.parity import compare
from network.export.program import Exported, not_exported, trace
from network.export.samples import Images, find_sample_images
from network.export.source import Source
from network.exported.programs import INPUT
from network.exported.record import LARGEST_VALUE, ExportRecord, Holds, TensorFact
from network.extras import require_extra
from network.progress import progress_bar
from network.writing import writing


def export(
    source: Source,
    path: str | Path,
    format: str,
    options: ExportOptions,
    properties: Mapping[str, str] | None = None,
    ranges: Images | None = None,
    companions: Sequence[Companion] = (),
) -> ExportRecord:
    """Export a network, and check that the file computes the same.

    The files are written only if the check succeeds.

    Args:
        source: the network, see :func:`network.export.source.load_source`.
        path: the file to write, with the ending of its format.
        format: ``"onnx"``, ``"openvino"`` or ``"torch"``.
        options: input and output of the file.
        properties: further entries of the metadata of an ONNX file, for other programs.
        ranges: images to quantize the layers of an OpenVINO file by, see
            :func:`network.export.samples.find_calibration_images`; None for float32.
        companions: files that are made from the exported file and appear together with it.

    Returns:
        The facts of the file, with the result of the check.

    Raises:
        InputError: a library is missing, the network cannot be exported so, the file computes
            something else, or it cannot be written.
    """
    path, form = Path(path), find_format(format)
    form.check(format)
    if path.suffix != form.ending:
        raise InputError(
            path, f"format={format} has the ending {form.ending}", "choose such a name"
        )
    options.check(source.card.info)
    if ranges is not None:
        check_quantize(format)
    record = _record(source, format, options, dict(properties or {}))
    for companion in companions:
        companion.check(record)
    for target in (path, *(companion.path for companion in companions)):
        if target.is_dir():
            raise InputError(target, "is a folder", "choose another name for the file")
    images = find_sample_images(source)
    output = "probabilities" if options.softmax else "logits"
    normalize = Normalize(source.card.mean, source.card.std) if options.normalize else None
    scale = LARGEST_VALUE if options.unit else 1.0
    module = Exported(source.network, normalize, options.softmax, scale).eval()
    name = type(source.network).__name__
    with progress_bar(total=3, desc="tracing", unit="step") as bar:
        program = trace(module, source.card.bands, options, name)
        bar.update()
        bar.set_description(f"converting to {format}")
        with _explained(name, options):
            model = form.convert(program, output)
        bar.update()
        bar.set_description(f"comparing by {form.program.package}")
        with form.replacing(path, [one.path for one in companions]) as (partial, targets):
            form.save(model, record, partial)
            with _explained(name, options):
                parity = compare(form.open(partial), form.program.runtime, source, options, images)
            # Nothing is told by a comparison with outputs that are infinite.
            if not parity.largest_difference <= parity.tolerance < math.inf:
                raise InputError(
                    path,
                    f"is not written: {parity}, more than {parity.tolerance:g} is an error",
                    "try another format",
                )
            record = replace(record, parity=parity)
            if ranges is not None:
                from network.export.quantize import quantize  # needs an extra

                bar.set_description("quantizing")
                with _explained_quantizing(path):
                    model, facts = quantize(model, source, record, options, ranges)
                record = replace(record, quantization=facts)
            form.save(model, record, partial)
            names = (file.name for file in form.program.files(path))
            files = dict(zip(names, form.program.files(partial), strict=True))
            for companion, target in zip(companions, targets, strict=True):
                with writing(companion.path):
                    companion.write(target, files, record)
        bar.update()
    return record


@contextmanager
def _explained(name: str, options: ExportOptions) -> Iterator[None]:
    """Turn what a library says of an operator that it lacks or cannot run into one line."""
    try:
        yield
    except (InputError, OSError, MemoryError):
        raise
    except Exception as error:  # each library has its own kinds
        raise not_exported(name, options, error) from error


@contextmanager
def _explained_quantizing(path: Path) -> Iterator[None]:
    """Turn an error of the libraries that quantize into one line."""
    try:
        yield
    except (InputError, OSError, MemoryError):
        raise
    except Exception as error:  # each library has its own kinds
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            path, f"cannot be quantized ({lines[-1][:200]})", "export it without quantize"
        ) from error


def check_quantize(format: str) -> None:
    """Raise an :class:`InputError` if files of a format are not quantized, or nncf is missing."""
    if format != "openvino":
        problem = "only files of OpenVINO are quantized"
        raise InputError(f"format={format}", problem, "give format=openvino")
    require_extra("quantize", "quantize")


def find_format(name: str) -> Format:
    """Find a format by its name.

    Raises:
        InputError: there is no such format.
    """
    if name not in FORMATS:
        raise InputError(f"format={name}", f"must be one of {', '.join(FORMATS)}")
    return FORMATS[name]


def tensor_facts(card: Card, options: ExportOptions) -> tuple[TensorFact, TensorFact]:
    """Describe the input and the output of a file.

    Args:
        card: facts about the network.
        options: input and output of the file.
    """
    sides = options.size or (None, None)
    given = TensorFact(
        name=INPUT,
        dtype="uint8" if options.uint8 else "float32",
        shape=(options.batch, card.bands, *sides),
        holds=_values(options),
    )
    output: Holds = "probabilities" if options.softmax else "logits"
    shape = options.batch, len(card.classes), *sides
    return given, TensorFact(name=output, dtype="float32", shape=shape, holds=output)


def _record(
    source: Source, format: str, options: ExportOptions, properties: dict[str, str]
) -> ExportRecord:
    given, found = tensor_facts(source.card, options)
    return ExportRecord(
        format=format,
        input=given,
        output=found,
        multiple_of=1 if options.size else STRIDE,
        card=source.card.to_plain(),
        checkpoint=source.path.name,
        checkpoint_sha256=source.sha256,
        # The folder of the data belongs to one machine.
        training={key: value for key, value in source.training.items() if key != "data.root"},
        torch=torch.__version__,
        properties=properties,
    )


def _values(options: ExportOptions) -> Holds:
    if options.unit:
        return "pixel values divided by 255"
    return "pixel values" if options.normalize else "normalized values"
