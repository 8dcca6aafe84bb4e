"""Memory figures against hand computation."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from network.benchmark.memory import LiveTensors, process_peak, saved_bytes

FLOAT = 4


def test_saved_bytes_by_hand():
    weight = torch.randn(1000, requires_grad=True)
    x = torch.randn(1000, requires_grad=True)

    def forward():
        y = weight * x  # keeps both
        return y.exp() + y.sum()  # exp keeps its result, sum nothing

    assert saved_bytes(forward) == 3 * 1000 * FLOAT
    assert saved_bytes(forward, exclude=[weight]) == 2 * 1000 * FLOAT
    # A view of the same memory counts once.
    assert saved_bytes(lambda: (x * x.view(10, 100).flatten()).sum()) == 1000 * FLOAT


def test_saved_bytes_of_a_checkpoint_are_its_inputs():
    x = torch.randn(1000, requires_grad=True)

    def chain(x):
        return x.exp().sin().exp()

    # Both exponentials keep their results; the sine keeps its input, which is the first one.
    assert saved_bytes(lambda: chain(x)) == 2 * 1000 * FLOAT
    assert saved_bytes(lambda: checkpoint(chain, x, use_reentrant=False)) == 1000 * FLOAT


def test_live_tensors_by_hand():
    x = torch.randn(1000)
    with LiveTensors() as live:
        y = x + 1
        z = y * 2
        z.add_(1)  # in place: nothing new
        view = z[:10]
        assert live.now == 2 * 1000 * FLOAT
        del y
        assert live.now == 1000 * FLOAT
        del z
        assert live.now == 1000 * FLOAT  # the view still holds it
        del view
        assert live.now == 0
    assert live.peak == 2 * 1000 * FLOAT


def test_live_tensors_see_the_backward_pass():
    x = torch.randn(1000, requires_grad=True)
    with LiveTensors() as live:
        x.exp().exp().sum().backward()
    assert live.now == 1000 * FLOAT  # the gradient
    # Both exponentials and the first gradient, which frees the outer one; some scalars.
    assert 3 * 1000 * FLOAT <= live.peak <= 3 * 1000 * FLOAT + 4 * FLOAT


@pytest.mark.slow
def test_process_peak_sees_what_is_freed_again():
    def step():
        torch.ones(50_000_000)

    before = process_peak(lambda: None, torch.device("cpu"))
    if before is None:
        return  # this system does not tell
    assert process_peak(step, torch.device("cpu")) - before > 0.9 * 200e6
