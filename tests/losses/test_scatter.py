"""The Fisher loss against golden values, hand computation and, distributed, the whole batch."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st

from network.losses.scatter import fisher_loss


def test_golden(golden):
    arrays = golden("losses")
    embeddings = arrays["in/class_embeddings"]
    expected = arrays["out/fisher_paper_eq14_18_eps1e-6"]
    torch.testing.assert_close(fisher_loss(embeddings), expected, atol=1e-5, rtol=0)
    expected = arrays["out/fisher_reference_pairwise"]
    torch.testing.assert_close(fisher_loss(embeddings, pairwise=True), expected, atol=1e-5, rtol=0)


def test_golden_of_the_decoder(golden):
    arrays = golden("bicor_decoder")
    actual = fisher_loss(arrays["out/class_embeddings1"], pairwise=True)
    torch.testing.assert_close(actual, arrays["out/fisher_reference"], atol=1e-5, rtol=0)


def test_by_hand():
    """Two images, two classes on a line: class 0 at 0 and 2, class 1 at 9 and 11."""
    embeddings = torch.tensor([[[0.0], [9.0]], [[2.0], [11.0]]])
    within, between = 1.0, 4.5**2
    torch.testing.assert_close(fisher_loss(embeddings), torch.tensor(within / (between + 1e-6)))
    pairs = 9.0**2
    actual = fisher_loss(embeddings, pairwise=True)
    torch.testing.assert_close(actual, torch.tensor(within / (pairs + 1e-6)))


def test_a_batch_of_one_is_exactly_zero():
    embeddings = torch.randn(1, 5, 8, requires_grad=True)
    loss = fisher_loss(embeddings)
    assert loss == 0
    loss.backward()
    assert not embeddings.grad.any()


@settings(deadline=None, max_examples=20)
@given(b=st.integers(2, 5), k=st.integers(2, 8), factor=st.floats(0.5, 4))
def test_invariances(b, k, factor):
    """Shifting or scaling all embeddings, and permuting images or classes, changes nothing."""
    embeddings = torch.randn(b, k, 16, dtype=torch.float64)
    loss = fisher_loss(embeddings)
    for changed in (embeddings + 3, embeddings.flip(0), embeddings.flip(1), factor * embeddings):
        torch.testing.assert_close(fisher_loss(changed), loss, rtol=1e-5, atol=0)


def _worker(rank: int, file: str, weight: torch.Tensor, batch: torch.Tensor, results) -> None:
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    weight = weight.clone().requires_grad_()
    loss = fisher_loss(batch[2 * rank : 2 * rank + 2] @ weight)
    loss.backward()
    dist.all_reduce(weight.grad)  # what DDP does: sum, then divide by the number of processes
    results[rank] = (loss.item(), weight.grad / 2)
    dist.destroy_process_group()


@pytest.mark.slow
def test_distributed_equals_the_whole_batch(tmp_path):
    """Loss and gradient of two processes with two images each are those of four images."""
    weight, batch = torch.randn(6, 8), torch.randn(4, 5, 6)
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(_worker, (str(tmp_path / "store"), weight, batch, results), nprocs=2)
        results = dict(results)
    whole = weight.clone().requires_grad_()
    loss = fisher_loss(batch @ whole)
    loss.backward()
    for rank_loss, gradient in results.values():
        assert rank_loss == pytest.approx(loss.item(), abs=1e-6)
        torch.testing.assert_close(gradient, whole.grad)
