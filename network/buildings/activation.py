"""Class-activation maps, expanded by prototypes of buildings and their surroundings.

Source: BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248); class-activation maps are Zhou et
al., CVPR 2016, prototypes from clusters LPCAM (Chen et al., CVPR 2023).

Notation: b batch, c channels of the last stage, h x w its size, H x W that of the image.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor
from torch.nn import functional

from network.buildings.classifier import BuildingClassifier
from network.models.encoder import DENSE_STRIDE

EPSILON = 1e-5


def resized(image: Tensor, scale: float) -> Tensor:
    """(b, 3, H, W) enlarged or reduced; one pixel at least."""
    if scale == 1:
        return image
    size = [max(1, round(side * scale)) for side in image.shape[-2:]]
    return functional.interpolate(image, size, mode="bilinear", antialias=scale < 1)


def upsampled(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(b, k, h, w) at stride 16 to (b, k, H, W), bilinear.

    The last cells may reach beyond the image: the maps are enlarged to whole cells, then cut.
    """
    whole = [-(-side // DENSE_STRIDE) * DENSE_STRIDE for side in size]
    maps = functional.interpolate(maps, whole, mode="bilinear")
    return maps[..., : size[0], : size[1]]


def both_ways(image: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Sum of ``function`` of the image and, flipped back, of its mirror image."""
    plain, mirrored = function(torch.cat([image, image.flip(-1)])).chunk(2)
    return plain + mirrored.flip(-1)


def _to_unit(maps: Tensor) -> Tensor:
    """(b, H, W), each divided by its maximum: 0 to 1."""
    return maps / (maps.amax(dim=(1, 2), keepdim=True) + EPSILON)


def class_activation(
    classifier: BuildingClassifier, image: Tensor, scales: Sequence[float]
) -> Tensor:
    """How much each pixel speaks for a building: (b, 3, H, W), normalized -> (b, H, W), 0 to 1."""

    def activation(view: Tensor) -> Tensor:
        return classifier.head(classifier.features(view)).relu()  # (b, 1, h, w)

    maps = [
        upsampled(both_ways(resized(image, scale), activation), image.shape[-2:])
        for scale in scales
    ]
    return _to_unit(torch.stack(maps).sum(dim=0)[:, 0])


def prototype_direction(foreground: Tensor, context: Tensor) -> Tensor:
    """The vector whose product with a unit vector is its mean cosine to the buildings' centers,
    less its mean cosine to those of the surroundings.

    Args:
        foreground: (k, c), k at least 1.
        context: (j, c), j may be 0.

    Returns:
        (c,)
    """
    direction = functional.normalize(foreground, dim=1).mean(dim=0)
    if len(context):
        direction = direction - functional.normalize(context, dim=1).mean(dim=0)
    return direction


def expanded_activation(
    classifier: BuildingClassifier, image: Tensor, direction: Tensor, scales: Sequence[float]
) -> Tensor:
    """How much more each pixel is like buildings than like their surroundings.

    Args:
        image: (b, 3, H, W), normalized.
        direction: (c,), see :func:`prototype_direction`.

    Returns:
        (b, H, W), 0 to 1
    """

    def likeness(scale: float) -> Tensor:
        features = both_ways(resized(image, scale), classifier.features)  # (b, c, h, w)
        cosine = torch.einsum("bchw,c->bhw", functional.normalize(features, dim=1), direction)
        return upsampled(cosine.relu()[:, None], image.shape[-2:])

    total = reduce(add, map(likeness, scales))
    return _to_unit(total[:, 0] / len(scales))


def refined_probabilities(
    refine: Callable[[Tensor, Tensor], Tensor], image: Tensor, scales: Sequence[float]
) -> Tensor:
    """Probabilities of background and building: (b, 3, H, W) of positive tiles -> (b, 2, H, W).

    Args:
        refine: an :class:`network.buildings.refiner.ActivationRefiner`.
    """

    def logits(view: Tensor) -> Tensor:
        return refine(view, view.new_ones(len(view)))

    maps = [
        upsampled(both_ways(resized(image, scale), logits) / 2, image.shape[-2:])
        for scale in scales
    ]
    return torch.stack(maps).mean(dim=0).softmax(dim=1)


def boosted(probabilities: Tensor, seed: Tensor) -> Tensor:
    """Outside the seed's background, each class as a share of its maximum in the image.

    Args:
        probabilities: (b, k, H, W).
        seed: (b, H, W), 0 where it is background.
    """
    largest = probabilities.amax(dim=(2, 3), keepdim=True)
    return probabilities.where((seed == 0)[:, None], probabilities / (largest + EPSILON))
