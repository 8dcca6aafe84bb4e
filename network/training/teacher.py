"""Self-training: a teacher labels crops that the network sees strongly changed.

Source: mean teacher (Tarvainen and Valpola, NeurIPS 2017), with the hard labels and the threshold
of FixMatch (Sohn et al., NeurIPS 2020) and the mixed crops of CutMix (Yun et al., ICCV 2019), as is
usual for segmentation (French et al., BMVC 2020; Yang et al., CVPR 2023).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from network.losses.pixel import cross_entropy


@torch.no_grad()
def pseudo_labels(
    network: nn.Module,
    weights: Mapping[str, Tensor],
    images: Tensor,
    threshold: float,
    ignore_index: int,
) -> Tensor:
    """Label images by a network with other weights; pixels without a sure label are ignored.

    Args:
        network: the network, in training mode.
        weights: the weights of the teacher, by the names of the network's tensors.
        images: normalized images (b, bands, H, W).
        threshold: smallest probability of a label that is sure.
        ignore_index: label of the other pixels.

    Returns:
        (b, H, W) int64
    """
    network.eval()
    try:
        output = torch.func.functional_call(network, dict(weights), (images,))
    finally:
        network.train()
    confidence, labels = output.logits.softmax(dim=1).max(dim=1)
    return labels.masked_fill(confidence < threshold, ignore_index)


def mix(images: Tensor, labels: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """Replace a rectangle of images by that of the image before in the batch, with its labels.

    The sides of the rectangle are a quarter to three quarters of the image. Random numbers are of
    torch's own generator.

    Args:
        images: (b, bands, H, W)
        labels: (b, H, W)
        probability: probability that an image is mixed.
    """
    height, width = labels.shape[-2:]
    is_pasted = torch.zeros(labels.shape, dtype=torch.bool, device=labels.device)
    for number in range(len(labels)):
        is_mixed, *random = torch.rand(5).tolist()
        if is_mixed < probability:
            rows = _piece(height, *random[:2])
            is_pasted[number, rows, _piece(width, *random[2:])] = True
    others, other_labels = images.roll(1, dims=0), labels.roll(1, dims=0)
    return (
        torch.where(is_pasted[:, None], others, images),
        torch.where(is_pasted, other_labels, labels),
    )


def _piece(length: int, size: float, place: float) -> slice:
    """Choose a quarter to three quarters of a side by two random numbers, 0 to 1."""
    side = round((0.25 + 0.5 * size) * length)
    start = round(place * (length - side))
    return slice(start, start + side)


def unlabeled_loss(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Compute the mean cross-entropy over all pixels, in which pixels without a label count as 0.

    So crops of which the teacher is not sure have little weight.

    Args:
        logits: (b, k, H, W)
        labels: (b, H, W) int64, 0 to k-1 or ``ignore_index``.
        ignore_index: label of the pixels that do not count.
    """
    share = (labels != ignore_index).float().mean()
    return share * cross_entropy(logits, labels, ignore_index)
