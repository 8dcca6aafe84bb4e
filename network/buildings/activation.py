"""Class-activation maps and their expansion by prototypes of buildings and surroundings.

Source: BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248). Class-activation maps come from Zhou
et al., CVPR 2016; the idea of prototypes from clusters comes from LPCAM (Chen et al., CVPR 2023).

Notation: b is the batch, c the channels of the last stage, h x w its size, and H x W the size of
the image.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor
from torch.nn import functional

from network.buildings.classifier import BuildingClassifier
from network.models.encoder import DENSE_STRIDE
from network.models.padding import crop, pad

EPSILON = 1e-5


def upsampled(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Enlarge maps (b, k, h, w) at stride 16 to (b, k, H, W) by bilinear interpolation.

    The last cells may reach beyond the image, so maps are enlarged to whole cells and then cut.

    Args:
        maps: the maps.
        size: height and width of the image.
    """
    whole = [-(-side // DENSE_STRIDE) * DENSE_STRIDE for side in size]
    return crop(functional.interpolate(maps, whole, mode="bilinear"), *size)


def _whole_cells(image: Tensor) -> Tensor:
    """Fill up images, so that their cells are whole at the scales 0.5, 1, 1.5 and 2.

    Otherwise the maps of these scales, and of the mirror image, would be shifted against each
    other. The released code leaves the images as they are, and stretches the maps.
    """
    return pad(image, 2 * DENSE_STRIDE)


def _view(image: Tensor, scale: float) -> Tensor:
    """Resize images by about a factor, to whole cells."""
    height, width = (
        max(1, round(side * scale / DENSE_STRIDE)) * DENSE_STRIDE for side in image.shape[-2:]
    )
    if (height, width) == tuple(image.shape[-2:]):
        return image
    return functional.interpolate(image, (height, width), mode="bilinear", antialias=scale < 1)


def both_ways(image: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Sum up a function's results on an image and on its mirror image, flipped back."""
    plain, mirrored = function(torch.cat([image, image.flip(-1)])).chunk(2)
    return plain + mirrored.flip(-1)


def _to_unit(maps: Tensor) -> Tensor:
    """Divide each map of (b, H, W) by its maximum, so it lies in 0 to 1."""
    return maps / (maps.amax(dim=(1, 2), keepdim=True) + EPSILON)


def class_activation(
    classifier: BuildingClassifier, image: Tensor, scales: Sequence[float]
) -> Tensor:
    """Compute class-activation maps (b, H, W) of buildings, 0 to 1.

    Args:
        classifier: the trained classifier.
        image: (b, 3, H, W), normalized.
        scales: factors by which the image is resized; the maps of all sizes are summed.
    """

    def activation(view: Tensor) -> Tensor:
        return classifier.head(classifier.features(view)).relu()  # (b, 1, h, w)

    whole = _whole_cells(image)
    maps = [
        upsampled(both_ways(_view(whole, scale), activation), whole.shape[-2:]) for scale in scales
    ]
    return _to_unit(crop(torch.stack(maps).sum(dim=0)[:, 0], *image.shape[-2:]))


def prototype_direction(foreground: Tensor, context: Tensor) -> Tensor:
    """Compute the direction (c,) from surroundings to buildings in the feature space.

    Its product with a unit vector is the vector's mean cosine to the centers of buildings, minus
    its mean cosine to the centers of the surroundings.

    Args:
        foreground: (k, c) centers of buildings, at least one.
        context: (j, c) centers of the surroundings; there may be none.
    """
    direction = functional.normalize(foreground, dim=1).mean(dim=0)
    if len(context):
        direction = direction - functional.normalize(context, dim=1).mean(dim=0)
    return direction


def expanded_activation(
    classifier: BuildingClassifier, image: Tensor, direction: Tensor, scales: Sequence[float]
) -> Tensor:
    """Compute an activation map, 0 to 1, of each image, (b, H, W).

    It shows how much more a pixel resembles buildings than their surroundings.

    Args:
        classifier: the trained classifier.
        image: (b, 3, H, W), normalized.
        direction: (c,), see :func:`prototype_direction`.
        scales: factors by which the image is resized; the maps of all sizes are averaged.
    """

    whole = _whole_cells(image)

    def likeness(scale: float) -> Tensor:
        features = both_ways(_view(whole, scale), classifier.features)  # (b, c, h, w)
        cosine = torch.einsum("bchw,c->bhw", functional.normalize(features, dim=1), direction)
        return upsampled(cosine.relu()[:, None], whole.shape[-2:])

    total = reduce(add, map(likeness, scales))
    return _to_unit(crop(total[:, 0], *image.shape[-2:]) / len(scales))


def refined_probabilities(
    refine: Callable[[Tensor, Tensor], Tensor], image: Tensor, scales: Sequence[float]
) -> Tensor:
    """Compute probabilities (b, 2, H, W) of background and building in positive tiles.

    Args:
        refine: an :class:`network.buildings.refiner.ActivationRefiner`.
        image: (b, 3, H, W), normalized.
        scales: factors by which the image is resized; the logits of all sizes are averaged.
    """

    def logits(view: Tensor) -> Tensor:
        return refine(view, view.new_ones(len(view)))

    whole = _whole_cells(image)
    maps = [
        upsampled(both_ways(_view(whole, scale), logits) / 2, whole.shape[-2:]) for scale in scales
    ]
    return crop(torch.stack(maps).mean(dim=0), *image.shape[-2:]).softmax(dim=1)


def boosted(probabilities: Tensor, seed: Tensor) -> Tensor:
    """Divide each class by its maximum in the image, except in the background of the seed.

    Args:
        probabilities: (b, k, H, W)
        seed: (b, H, W), 0 for background.
    """
    largest = probabilities.amax(dim=(2, 3), keepdim=True)
    return probabilities.where((seed == 0)[:, None], probabilities / (largest + EPSILON))
