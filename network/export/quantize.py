"""Files of OpenVINO whose layers compute in 8 bits, with nearly the same labels as in float32.

The library nncf chooses the range of each layer from a few images. Where labels suffer, some layers
stay in float32: the layers are cut into segments in the order of the computation, and those whose
quantization costs the most labels are kept, one segment after the other.
"""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from network.datasets.files import read_mask
from network.datasets.segmentation import Sample, find_samples
from network.errors import InputError
from network.evaluation.evaluate import predict
from network.evaluation.records import Counter, read_records
from network.evaluation.summary import Summary, summarize
from network.export.options import ExportOptions
from network.export.samples import Images
from network.export.source import Source
from network.exported.engine import ExportedEngine
from network.exported.programs import Run, compile_openvino
from network.exported.record import Accuracy, ExportRecord, Quantization
from network.prediction import PATCH, ImagePredictor
from network.progress import progress_bar

LARGEST_LOSS = 0.01
"""A class may lose so much of its IoU; above it, layers are kept in float32."""

FEWEST_EQUAL = 0.99
"""Share of the labels that must stay the same; below it, layers are kept in float32."""

SEGMENTS, MOST_KEPT = 8, 3
"""Number of segments of layers, and how many of them may be kept."""

MOST_IMAGES = 100
"""The accuracy is measured on at most so many images."""

SIDE = 512
"""Side of the images for the ranges if the file takes any size, in pixels."""

_LAYERS = ("Convolution", "GroupConvolution", "MatMul")
_MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Split", "VariadicSplit", "MaxPool")
"""Operators that only move values. With them, a quantized input stays so."""


def quantize(
    model: Any,
    source: Source,
    record: ExportRecord,
    options: ExportOptions,
    images: Images,
) -> tuple[Any, Quantization]:
    """Quantize a model of OpenVINO.

    Args:
        model: the model in float32.
        source: the network that it was made from.
        record: facts of the file.
        options: input and output of the file.
        images: images for the ranges, not those of the accuracy.

    Returns:
        The quantized model, and how exact it is.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    quantizer = _Quantizer(model, source, record, options, images)
    judge = _Judge(source, quantizer)
    before = judge.predict(quantizer.run(model))
    kept: list[int] = []
    found = quantizer.quantized(kept)
    result = judge.compare(before, judge.predict(quantizer.run(found)))
    if not result.is_exact:
        for segment in quantizer.ranking()[:MOST_KEPT]:
            kept.append(segment)
            found = quantizer.quantized(kept)
            result = judge.compare(before, judge.predict(quantizer.run(found)))
            if result.is_exact:
                break
    return found, Quantization(
        images=images.words,
        layers=len(quantizer.layers),
        float_layers=_float_layers(found),
        equal_labels=result.equal_labels,
        measured_on=judge.words,
        before=result.before,
        after=result.after,
    )


def _float_layers(model: Any) -> tuple[str, ...]:
    """List the layers of a quantized model that compute in float32."""
    return tuple(
        op.get_friendly_name()
        for op in model.get_ordered_ops()
        if op.get_type_name() in _LAYERS and not any(map(_is_quantized, op.input_values()))
    )


def _is_quantized(output: Any) -> bool:
    node = output.get_node()
    while node.get_type_name() in _MOVES:
        node = node.input_value(0).get_node()
    return node.get_type_name() == "FakeQuantize"


class _Quantizer:
    """Quantizes a model, with some segments kept.

    Args:
        model: see :func:`quantize`, like the others.
    """

    def __init__(
        self,
        model: Any,
        source: Source,
        record: ExportRecord,
        options: ExportOptions,
        images: Images,
    ):
        self._model, self.record, self.source = model, record, source
        size = options.size or (SIDE, SIDE)
        engine = self.engine(self.run(model))
        values = images.draw(images.count, *size).numpy()
        batch = options.batch or 1
        filled = np.pad(values, ((0, -len(values) % batch), (0, 0), (0, 0), (0, 0)), mode="edge")
        self.items = [
            engine.to_input(engine.prepare(filled[start : start + batch]))
            for start in range(0, len(filled), batch)
        ]
        ordered = model.get_ordered_ops()
        self.layers = [op.get_friendly_name() for op in ordered if op.get_type_name() in _LAYERS]
        self._segments = [list(part) for part in np.array_split(self.layers, SEGMENTS)]

    def run(self, model: Any) -> Run:
        """Compile a model in single precision, where it is not quantized."""
        return compile_openvino(model)

    def engine(self, run: Run) -> ExportedEngine:
        """Make the engine of a compiled model."""
        return ExportedEngine(run, self.record, self.source.card, "the quantized file")

    def names(self, segments: Sequence[int]) -> list[str]:
        """List the layers of segments, in the order of the computation."""
        return [str(name) for segment in sorted(segments) for name in self._segments[segment]]

    def quantized(self, kept: Sequence[int]) -> Any:
        """Quantize all layers but those of some segments."""
        import nncf

        ignored = nncf.IgnoredScope(names=self.names(kept), validate=False)
        return nncf.quantize(
            self._model,
            nncf.Dataset(self.items),
            subset_size=len(self.items),
            # It leaves attention and normalization alone, which all networks here have.
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=ignored,
        )

    def ranking(self) -> list[int]:
        """Rank the segments: first the one that saves the most labels if it is kept."""
        expected = self._labels(self._model)
        saved = []
        with progress_bar(total=SEGMENTS, desc="trying what to keep", unit="segment") as bar:
            for segment in range(SEGMENTS):
                found = self._labels(self.quantized([segment]))
                saved.append(float((found == expected).mean()))
                bar.update()
        return sorted(range(SEGMENTS), key=lambda segment: -saved[segment])

    def _labels(self, model: Any) -> np.ndarray:
        run = self.run(model)
        return np.concatenate([run(item).argmax(axis=1) for item in self.items])


@dataclass(frozen=True)
class _Result:
    """How exact a quantized model is."""

    equal_labels: float
    before: Accuracy | None
    after: Accuracy | None

    @property
    def is_exact(self) -> bool:
        if self.equal_labels < FEWEST_EQUAL:
            return False
        if self.before is None or self.after is None:
            return True
        pairs = ((iou, self.after.classes.get(name)) for name, iou in self.before.classes.items())
        # A class without an IoU, before or after, is in no mask, so nothing of it can be lost.
        return all(
            iou - new <= LARGEST_LOSS for iou, new in pairs if iou is not None and new is not None
        )


@dataclass(frozen=True)
class _Predicted:
    """The labels of all images, and their scores if there are masks."""

    labels: list[np.ndarray]
    summary: Summary | None


class _Judge:
    """Predicts the images of val by models, and compares their labels and scores.

    If there is no val, the images are those that the ranges were chosen from, without scores.
    """

    def __init__(self, source: Source, quantizer: _Quantizer):
        self._source, self._quantizer = source, quantizer
        self._samples, reason = _val(source)
        self.words = f"the images of the ranges, since {reason}"
        if self._samples:
            self.words = f"{len(self._samples)} images of {source.card.data_set}, val"

    def predict(self, run: Run) -> _Predicted:
        engine = self._quantizer.engine(run)
        if not self._samples:
            return _Predicted([run(item).argmax(axis=1) for item in self._quantizer.items], None)
        info = self._source.data_set
        assert info is not None  # it has samples
        patch = engine.fixed_size or (PATCH, PATCH)
        predictor = ImagePredictor(engine, info, patch=patch, overlap=0)
        with tempfile.TemporaryDirectory() as folder:
            output, counter = Path(folder), Counter(info, 3)
            predict(predictor, self._samples, output, counter, rgb=False, workers=0)
            found = read_records(output)
            labels = [read_mask(output / f"{s.name}.png", info) for s in self._samples]
        kind = next(iter(self._samples[0].masks))
        return _Predicted(labels, summarize([found[s.name] for s in self._samples], kind, info))

    def compare(self, before: _Predicted, after: _Predicted) -> _Result:
        equal = sum(int((a == b).sum()) for a, b in zip(before.labels, after.labels, strict=True))
        pixels = sum(labels.size for labels in before.labels)
        return _Result(equal / pixels, self._accuracy(before), self._accuracy(after))

    def _accuracy(self, predicted: _Predicted) -> Accuracy | None:
        summary = predicted.summary
        if summary is None:
            return None
        classes = self._source.card.classes
        return Accuracy(
            miou=summary.scores.overall["mIoU"],
            interval=summary.intervals.get("mIoU"),
            classes=dict(zip(classes, summary.scores.by_class["IoU"], strict=True)),
        )


def _val(source: Source) -> tuple[Sequence[Sample], str]:
    """Find images of val with masks, at most :data:`MOST_IMAGES`.

    Returns:
        The images, and why there are none.
    """
    info, root = source.data_set, source.root
    if info is None or root is None or "val" not in info.splits:
        return [], "no split val is known"
    if info.scenes("val"):
        return [], "scenes on Earth are not scored here"
    try:
        samples = find_samples(info, root, "val")
    except InputError as error:
        return [], f"{error.where}: {error.problem}"
    samples = samples[:: -(-len(samples) // MOST_IMAGES)]
    return (samples, "") if samples[0].masks else ([], "the images of val have no masks")
