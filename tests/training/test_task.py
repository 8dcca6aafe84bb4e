"""A network that returns something wrong ends the training with one line."""

import pytest
import torch
from torch import nn

from network.errors import InputError
from network.models.output import SegOutput
from network.training.task import SegmentationTask
from tests.conftest import tiny_experiment


class Wrong(nn.Module):
    """Returns something else than it should."""

    def __init__(self, result):
        super().__init__()
        self.scale, self.result = nn.Parameter(torch.ones(())), result

    def forward(self, image):
        return self.result(image * self.scale)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (lambda x: x, "model: returns a Tensor; return SegOutput"),
        (lambda x: SegOutput(x), r"logits of the shape \(2, 3, 32, 32\), not \(2, 6, 32, 32\)"),
        (lambda x: SegOutput(x[..., ::4, ::4].repeat(1, 2, 1, 1)), r"the shape \(2, 6, 8, 8\)"),
    ],
)
def test_what_a_network_returns(tmp_path, result, words):
    task = SegmentationTask(tiny_experiment(tmp_path), model=Wrong(result))
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(InputError, match=words):
        task.training_step({"image": images, "labels": images[:, 0]}, 0)
