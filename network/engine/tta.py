"""Test-time augmentation: views of an image, and the mean of their logits."""

from collections.abc import Callable

import ttach
from torch import Tensor

from network.datasets.info import DatasetInfo

TTA_NAMES = ("none", "lr", "d4", "dihedral")


def build_views(name: str, info: DatasetInfo, size: tuple[int, int]) -> ttach.Compose:
    """The views of images of one size.

    Args:
        name: ``none``; ``lr``: both flips, 4 views; ``d4``: what the field's scripts call so on
            this data set, flips, turns and scales, bicubic; ``dihedral``: the true group of 8.
        size: (height, width) of the images.
    """
    flips = [ttach.HorizontalFlip(), ttach.VerticalFlip()]
    if name == "none":
        return ttach.Compose([])
    if name == "lr":
        return ttach.Compose(flips)
    if name == "dihedral":
        # Half turns are both flips: with a quarter turn these are all 8.
        return ttach.Compose([*flips, ttach.Rotate90([0, 90])])
    if name != "d4":
        raise ValueError(f"unknown test-time augmentation '{name}'; known: {TTA_NAMES}")
    # ttach.Scale would come back a pixel short from odd sizes; Resize returns to `size`.
    sizes = [(round(size[0] * scale), round(size[1] * scale)) for scale in info.d4.scales]
    resize = ttach.Resize(sizes, original_size=size, interpolation="bicubic", align_corners=False)
    transforms = [resize, flips[0]]
    if info.d4.vertical_flip:
        transforms.append(flips[1])
    if info.d4.rotations != (0,):
        transforms.append(ttach.Rotate90(list(info.d4.rotations)))
    return ttach.Compose(transforms)


def mean_logits(predict: Callable[[Tensor], Tensor], image: Tensor, views: ttach.Compose) -> Tensor:
    """Mean of the logits over views, each turned back; (b, 3, H, W) -> (b, k, H, W)."""
    total = None
    for view in views:
        logits = view.deaugment_mask(predict(view.augment_image(image)))
        total = logits.float() if total is None else total + logits
    return total / len(views)
