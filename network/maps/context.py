"""Context of a whole image, so that the labels of a map do not depend on its windows."""

import math
from functools import partial
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from network.contracts import ImageContext, WholeImageNetwork
from network.errors import InputError
from network.maps.plan import Part, Plan
from network.models.output import SegOutput
from network.predictor import Predictor
from network.progress import progress_bar
from network.rasters.pixels import network_values
from network.rasters.source import Source
from network.writing import replacing

CONTEXTS = ("window", "image")

SEEN_PIXELS = 2**25
"""Number of pixels that the context is computed from. A larger image is seen in part, by windows
that are spread over it, since the memory grows with this number."""

_FILE = "context.pt"


class _InContext(nn.Module):
    """A network that segments windows in the context of their image."""

    def __init__(self, context: ImageContext):
        super().__init__()
        self.context = context

    def forward(self, image: Tensor) -> SegOutput:
        return self.context.segment(image)


def check_context(context: str, predictor: Predictor) -> None:
    """Raise an :class:`InputError` if a predictor cannot predict in this context.

    Args:
        context: ``"window"`` or ``"image"``.
        predictor: the predictor.
    """
    if context not in CONTEXTS:
        raise InputError(f"context={context}", f"must be one of {', '.join(CONTEXTS)}")
    if context == "window":
        return
    if not isinstance(predictor.model, WholeImageNetwork):
        raise InputError(
            "context=image",
            f"{type(predictor.model).__name__} cannot be given the context of a whole image",
            "use context=window; it makes no difference to a network without global operations",
        )
    if len(predictor.views) > 1:
        raise InputError(
            "context=image", "works without test-time augmentation only", "use tta=none"
        )


def in_context(predictor: Predictor, source: Source, plan: Plan, folder: Path) -> Predictor:
    """Make a predictor that sees each window of an image in the context of the whole image.

    The context is computed once and kept in a file, so a rerun and other processes use the same.

    Args:
        predictor: the predictor; see :func:`check_context`.
        source: the opened image.
        plan: plan of its windows.
        folder: folder of the finished blocks, which gets the file.

    Raises:
        InputError: a window cannot be read, or the disk refuses to write.
    """
    assert isinstance(predictor.model, WholeImageNetwork)
    parts = seen_parts(plan)
    share = sum(map(_pixels, parts)) / (plan.height * plan.width)
    with torch.inference_mode():
        context = predictor.model.whole_image(plan.height, plan.width, share)
        file = folder / _FILE
        if _stored(file, predictor) is None:
            _compute(context, predictor, source, parts)
            with replacing(file) as unfinished:
                torch.save([tensor.cpu() for tensor in context.state()], unfinished)
        # Also after it was computed: so all processes use the very same.
        context.restore(_stored(file, predictor) or context.state())
    return predictor.with_network(_InContext(context))


def _stored(file: Path, predictor: Predictor) -> list[Tensor] | None:
    """Read a stored context; None if there is none, or if it is damaged."""
    try:
        return torch.load(file, weights_only=True, map_location=predictor.device)
    except (RuntimeError, EOFError, OSError, UnpicklingError):
        return None


def seen_parts(plan: Plan) -> list[Part]:
    """Choose the windows that the context is computed from: all, or some all over the image."""
    parts = [part for block in plan.blocks() for part in block.parts]
    share = min(1.0, SEEN_PIXELS / (plan.height * plan.width))
    golden = (math.sqrt(5) - 1) / 2
    # Multiples of the golden ratio are spread evenly, and never in step with rows or columns.
    return [part for number, part in enumerate(parts) if number * golden % 1 < share]


def _pixels(part: Part) -> int:
    rows, columns = part.core
    return (rows.stop - rows.start) * (columns.stop - columns.start)


def _compute(
    context: ImageContext, predictor: Predictor, source: Source, parts: list[Part]
) -> None:
    """Run the passes over the windows; those without a valid pixel are left out."""
    total = context.passes * len(parts)
    with progress_bar(
        total=total, desc=f"Context of {Path(source.path).name}", unit="window"
    ) as bar:
        for _ in range(context.passes):
            for part in parts:
                values, valid = source.read(*part.window)
                if valid is None or valid[part.inside].any():
                    values = network_values(values, valid)
                    image = torch.from_numpy(values.transpose(2, 0, 1))[None]
                    predictor.compute(partial(context.see, inside=part.inside), image)
                bar.update()
            context.end_pass()
