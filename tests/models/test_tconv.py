"""The transposed-convolution network: its size, and images of any size."""

import pytest
import torch

from network.models.tconv import TransposedConvNet


def test_size():
    """The published count, less 480 biases that BatchNorm takes out again."""
    with torch.device("meta"):
        model = TransposedConvNet(7, weights=None)
    count = sum(p.numel() for p in model.parameters())
    assert count == 13_965_255 - 480
    assert round(count / 1e6, 3) == 13.965


@pytest.mark.parametrize("size", [(150, 150), (64, 97), (20, 300)])
def test_shape(size):
    model = TransposedConvNet(7, "test_resnet", weights=None).eval()
    assert model(torch.randn(2, 3, *size)).logits.shape == (2, 7, *size)


def test_start():
    """Kaiming-normal by fan-out in the decoder, no bias."""
    torch.manual_seed(0)
    model = TransposedConvNet(7, weights=None)
    first, classifier = model.decoder[0][0].weight, model.classifier
    # torch counts the fan of a transposed convolution by its first axis, the inputs.
    assert first.std().item() == pytest.approx((2 / (512 * 16)) ** 0.5, rel=0.01)
    assert classifier.weight.std().item() == pytest.approx((2 / (7 * 9)) ** 0.5, rel=0.05)
    assert not classifier.bias.any()
