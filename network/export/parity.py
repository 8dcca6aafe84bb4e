"""Comparison of an exported file with the network that it was made from."""

import numpy as np
import torch

from network.datasets.transforms import Normalize
from network.export.options import ExportOptions
from network.export.samples import Images
from network.export.source import Source
from network.exported.programs import Run
from network.exported.record import LARGEST_VALUE, Parity

TOLERANCE = 1e-3
"""Largest accepted difference, all in float32, as a share of the largest logit, or of 1 if more.

Programs round differently, by about 1e-6. Where a network pools the pixels with the largest values
of a heatmap, and two are nearly equal, another one may be chosen: the trained network of the demo
then differs by 1.5e-4 with one image and by 3.2e-3 with three.
"""


def compare(
    run: Run, runtime: str, source: Source, options: ExportOptions, images: Images
) -> Parity:
    """Compare the outputs of a file with those of the predictor.

    Args:
        run: runs the file.
        runtime: name and version of the program that does.
        source: the network.
        options: input and output of the file.
        images: images to compare on.
    """
    normalize = Normalize(source.card.mean, source.card.std)
    largest, equal, pixels, unit = 0.0, 0, 0, 1.0
    for shape in options.shapes:
        values = images.draw(*shape)
        with torch.inference_mode():
            expected = source.predictor.logits(values)
            if options.softmax:
                expected = expected.softmax(dim=1)
        given = values if options.normalize else normalize(values)
        if options.unit:
            given = given / LARGEST_VALUE
        found = run(given.numpy().astype(np.uint8 if options.uint8 else np.float32))
        theirs = expected.numpy()
        unit = max(unit, float(np.abs(theirs).max()))
        # As numbers: NaN is no small difference.
        difference = float(np.abs(found - theirs).max())
        largest = difference if np.isnan(difference) else max(largest, difference)
        equal += int((found.argmax(axis=1) == theirs.argmax(axis=1)).sum())
        pixels += theirs[:, 0].size
        if np.isnan(largest):
            break
    return Parity(
        images=images.words,
        are_real=images.are_real,
        shapes=options.shapes,
        largest_difference=largest,
        equal_labels=equal / pixels,
        tolerance=TOLERANCE * unit,
        runtime=runtime,
    )
