"""Context of a whole image, so that its map has nearly the same labels whatever the windows are."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from torch import Tensor

from network.contracts import ImageContext, WholeImageNetwork
from network.datasets.windows import Part
from network.errors import InputError
from network.maps.plan import Plan
from network.maps.predict import Segment
from network.prediction import ImagePredictor, WindowPredictor, to_batch
from network.predictor import Predictor
from network.progress import progress_bar
from network.rasters.pixels import network_values
from network.rasters.source import Source, UnreadableImage
from network.writing import replacing

SEEN_PIXELS = 2**25
"""Number of pixels that the context is computed from. A larger image is seen in part, by windows
that are spread over it, since the memory grows with this number."""

_FILE = "context.pt"


def check_context(predictor: ImagePredictor) -> None:
    """Raise an :class:`InputError` if a predictor cannot use the context of a whole image."""
    if not isinstance(predictor, Predictor):
        raise InputError(
            "context=image",
            "an exported file sees each window alone",
            "use context=window, or predict with the checkpoint",
        )
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


def in_context(predictor: WindowPredictor, source: Source, plan: Plan, folder: Path) -> Segment:
    """Make a function that segments each window of an image in the context of the whole image.

    The context is computed once and kept in a file, so a rerun and other processes use the same.

    Args:
        predictor: the predictor; see :func:`check_context`.
        source: the opened image.
        plan: plan of its windows.
        folder: folder of the finished blocks, which gets the file.

    Raises:
        InputError: a window cannot be read, or the disk refuses to write.
    """
    assert isinstance(predictor, Predictor)
    assert isinstance(predictor.model, WholeImageNetwork)
    parts = seen_parts(plan)
    share = sum(map(_pixels, parts)) / (plan.height * plan.width)
    with torch.inference_mode():
        context = predictor.model.whole_image(plan.height, plan.width, share)
        file = folder / _FILE
        if _stored(file, predictor) is None:
            _compute(context, predictor, source, _with_data(source, plan, parts))
            with replacing(file) as unfinished:
                torch.save([tensor.cpu() for tensor in context.state()], unfinished)
        # Read it even if this process has computed it, so that all use exactly the same.
        context.restore(_stored(file, predictor) or context.state())

    @torch.inference_mode()
    def segment(images: np.ndarray, parts: Sequence[Part]) -> Tensor:
        some = partial(context.segment, corners=[part.corner for part in parts])
        return predictor.compute(some, torch.from_numpy(images)).logits

    return segment


def _stored(file: Path, predictor: Predictor) -> list[Tensor] | None:
    """Read a stored context; None if there is none, or if it is damaged."""
    try:
        return torch.load(file, weights_only=True, map_location=predictor.device)
    except (RuntimeError, EOFError, OSError, UnpicklingError):
        return None


def seen_parts(plan: Plan) -> list[Part]:
    """Choose the windows that the context is computed from, if they have data.

    Of a large image these are some that are spread over it, otherwise all.
    """
    share = min(1.0, SEEN_PIXELS / (plan.height * plan.width))
    return [part for turn, part in _turns(plan) if turn < share]


def _turns(plan: Plan) -> Iterator[tuple[float, Part]]:
    """Yield all windows row by row, each with its turn from 0 to 1: the first ones are seen."""
    cropped = replace(plan, blend="crop")  # so each pixel counts once
    parts = (part for block in cropped.blocks() for part in block.parts)
    golden = (math.sqrt(5) - 1) / 2
    # Multiples of the golden ratio are spread evenly, and never in step with rows or columns.
    return ((number * golden % 1, part) for number, part in enumerate(parts))


def _with_data(source: Source, plan: Plan, chosen: list[Part]) -> list[Part]:
    """Return chosen windows, or others that have data if these have none.

    Others are as many pixels at most, as far as the image has them. So the share of the image that
    the context is computed from does not depend on its pixels.

    Args:
        source: the opened image.
        plan: plan of its windows.
        chosen: the windows that :func:`seen_parts` chooses.
    """
    if not source.may_lack_data or any(_has_data(source, part) for part in chosen):
        return chosen
    found, pixels, wanted = [], 0, sum(map(_pixels, chosen))
    others = [part for _, part in sorted(_turns(plan), key=itemgetter(0))][len(chosen) :]
    about = f"Windows of {Path(source.path).name} with data"
    for part in progress_bar(others, desc=about, unit="window"):
        if _has_data(source, part):
            found.append(part)
            pixels += _pixels(part)
        if pixels >= wanted:
            break
    return found or chosen


def _has_data(source: Source, part: Part) -> bool:
    """Tell whether a pixel of a window's core is valid; none is if it cannot be read."""
    try:
        _, valid = source.read(*part.core)
    except UnreadableImage:
        return False
    return valid is None or bool(valid.any())


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
                    image = torch.from_numpy(to_batch(values))
                    see = partial(context.see, inside=part.inside, corner=part.corner)
                    predictor.compute(see, image)
                bar.update()
            context.end_pass()
