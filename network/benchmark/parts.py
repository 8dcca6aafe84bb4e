"""Time of the parts of a forward pass and a training step, as shares of the encoder's time."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor

from network.benchmark.model import Case, random_images
from network.errors import InputError
from network.losses.bicor import BiCoRLoss
from network.losses.pixel import cross_entropy
from network.models.bicor import BiCoRSeg, HBISLayer, pooling_weights, selected_pixels
from network.models.output import SegOutput
from network.progress import progress_bar


class Timeline:
    """A timer that runs the parts of a network one by one and times both passes of each.

    Every part gets copies of its inputs without history, so its backward pass runs alone.
    """

    def __init__(self) -> None:
        self.forward_seconds: dict[str, float] = defaultdict(float)
        self.backward_seconds: dict[str, float] = defaultdict(float)
        self._steps: list[tuple[str, Sequence[Tensor]]] = []
        self._leaves: dict[int, list[Tensor]] = defaultdict(list)

    def run(self, name: str, part: Callable, *inputs: Tensor) -> Sequence[Tensor]:
        """Run a part and time its forward pass.

        Args:
            name: name of the part.
            part: function from tensors to a sequence of tensors, where a scalar is a loss.
            inputs: its inputs.

        Returns:
            The outputs of the part.
        """
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        for tensor, leaf in zip(inputs, leaves, strict=True):
            self._leaves[id(tensor)].append(leaf)
        start = time.perf_counter()
        outputs = part(*leaves)
        self.forward_seconds[name] += time.perf_counter() - start
        self._steps.append((name, outputs))
        return outputs

    def backward(self) -> None:
        """Run and time the backward pass of every part, from the last to the first."""
        for name, outputs in reversed(self._steps):
            reached, gradients = [], []
            for output in outputs:
                parts = [leaf.grad for leaf in self._leaves[id(output)] if leaf.grad is not None]
                if output.requires_grad and (parts or output.ndim == 0):
                    reached.append(output)
                    gradients.append(reduce(add, parts) if parts else torch.ones_like(output))
            start = time.perf_counter()
            if reached:
                torch.autograd.backward(reached, gradients)
            self.backward_seconds[name] += time.perf_counter() - start


def measure_parts(case: Case) -> dict[str, tuple[float, float]]:
    """Measure the time of each part in percent of the encoder's time, for forward and training.

    Forward is a forward pass in training mode, and training adds the backward pass. Both are
    medians over rounds. Names with ``of which`` are operations inside other parts, which run again
    on the same tensors.

    Raises:
        InputError: the model is no :class:`BiCoRSeg`, or the loss is no :class:`BiCoRLoss`.
    """
    torch.manual_seed(0)
    model = case.experiment.build_model(pretrained=False).train()
    loss = case.experiment.loss()
    if not (isinstance(model, BiCoRSeg) and isinstance(loss, BiCoRLoss)):
        raise InputError(
            case.experiment.config,
            f"has {type(model).__name__} with {type(loss).__name__}",
            "parts can be measured for BiCoRSeg with BiCoRLoss alone, give such a config",
        )
    labels = torch.randint(len(model.class_embeddings), (case.batch, case.size, case.size))
    shares: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number in progress_bar(range(1 + case.repeats), desc="parts", leave=False, unit="round"):
        model.zero_grad(set_to_none=True)
        timeline = Timeline()
        _run(timeline, model, loss, random_images(case, case.batch), labels)
        timeline.backward()
        base = timeline.forward_seconds["encoder"]
        base_step = base + timeline.backward_seconds["encoder"]
        if number:  # the first warms up
            for name, seconds in timeline.forward_seconds.items():
                step = seconds + timeline.backward_seconds[name]
                shares[name].append((100 * seconds / base, 100 * step / base_step))
    return {
        name: tuple(statistics.median(values) for values in zip(*pairs, strict=True))
        for name, pairs in shares.items()
    }


def _run(
    timeline: Timeline, model: BiCoRSeg, loss: BiCoRLoss, image: Tensor, labels: Tensor
) -> None:
    def segment(features: Tensor, vectors: Tensor) -> list[Tensor]:
        return [model.head.segment(features, vectors)]

    def total(parts: dict[str, Tensor]) -> list[Tensor]:
        return [reduce(add, parts.values())]

    stages = timeline.run("encoder", lambda x: model.encoder(x), image)
    (fused,) = timeline.run("aggregator", lambda *maps: [model.aggregator(maps)], *stages)
    b, h, w, d = fused.shape
    classes = model.class_embeddings.repeat(b, 1, 1)
    features = fused
    heatmaps, embeddings = [], []
    layers = [layer for layer in model.layers if isinstance(layer, HBISLayer)]
    for layer in layers:

        def synergy(classes: Tensor, features: Tensor, layer: Callable = layer) -> list[Tensor]:
            classes, features, score = layer(classes, features.view(b, h * w, d))
            return [classes, features.view(b, h, w, d), score.unflatten(-1, (h, w))]

        before = features
        classes, features, heatmap = timeline.run("HBIS layers", synergy, classes, features)
        heatmaps.append(heatmap)
        embeddings.append(classes)
    vectors = model.head.classifier(classes)
    (logits,) = timeline.run("head", segment, features, vectors)
    if model.has_aux:
        (aux_logits,) = timeline.run("auxiliary head", segment, fused, vectors)

    timeline.run("main loss", lambda x: total(loss(SegOutput(x), labels)), logits)
    options = (labels, loss.ignore_index, loss.smoothing)
    if model.has_aux:
        timeline.run("auxiliary loss", lambda x: [cross_entropy(x, *options)], aux_logits)
    timeline.run("heatmap losses", lambda *h: total(loss.heatmap_parts(list(h), labels)), *heatmaps)
    timeline.run("Fisher losses", lambda *c: total(loss.fisher_parts(list(c))), *embeddings)

    score, count = heatmaps[-1].flatten(2), selected_pixels(h * w, layer.topk_ratio)
    timeline.run("of which top-k, one layer", lambda x: [pooling_weights(x, count)], score)
    timeline.run("of which norm, one layer", lambda x: [layer.feature_norm(x).sum()], before)
    norm = model.head.norm
    timeline.run(
        "of which norm and GELUs, head",
        lambda x: [model.head.upsample(x, norm.weight, norm.bias).sum()],
        before,
    )
