"""Switches of speed and memory: each gives the results of the plain way, within its precision."""

import shutil

import pytest
import torch
from torch import nn

from network.compute import arrange, autocast, prepare
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg
from network.settings import Compute

CPU = torch.device("cpu")


def model(encoder: str = "test_convnext", **options) -> BiCoRSeg:
    torch.manual_seed(0)
    return BiCoRSeg(5, encoder, weights=None, dim=32, **options).train()


def step(network: nn.Module, compute: Compute) -> dict[str, torch.Tensor]:
    """Logits, loss and the whole gradient of one training step on fixed images."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, 3, 64, 96, generator=generator)
    labels = torch.randint(0, 5, (2, 64, 96), generator=generator)
    torch.manual_seed(2)  # of stochastic depth
    with autocast(compute, CPU):
        output = network(arrange(image, compute))
        loss = sum(BiCoRLoss(255)(output, labels).values())
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
    return {"logits": output.logits.detach(), "loss": loss.detach(), "gradient": gradient}


def assert_close(actual: dict, expected: dict, tolerance: float) -> None:
    """Each by the norm of its difference."""
    for name, value in expected.items():
        assert actual[name].shape == value.shape
        assert (actual[name].float() - value).norm() <= tolerance * value.norm(), name


@pytest.mark.parametrize("encoder", ["test_convnext", "resnet18"])
@pytest.mark.parametrize("switch", ["checkpoint_encoder", "checkpoint_decoder"])
def test_checkpointing_changes_nothing(encoder, switch):
    """Stochastic depth included: the second forward pass leaves out the same blocks."""
    options = {"drop_path": 0.3} if encoder == "test_convnext" else {}
    plain = step(model(encoder, **options), Compute())
    checkpointed = step(model(encoder, **options, **{switch: True}), Compute())
    assert_close(checkpointed, plain, 1e-6)


def test_channels_last():
    plain = step(model(), Compute())
    compute = Compute(channels_last=True)
    network = prepare(model(), compute)
    convolution = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    assert_close(step(network, compute), plain, 1e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16-mixed", 0.05), ("16-mixed", 0.01)])
def test_autocast(precision, tolerance):
    plain = step(model(), Compute())
    mixed = step(model(), Compute(precision=precision))
    assert_close(mixed, plain, tolerance)
    assert not torch.equal(mixed["logits"], plain["logits"])
    assert mixed["loss"].dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
def test_forward_is_one_graph(training):
    """No branch on data, nothing that waits for the device: such code would break the graph."""
    torch.compiler.reset()
    network = model().train(training)
    compiled = torch.compile(network, backend="eager", fullgraph=True, dynamic=False)
    for size in ((64, 96), (50, 70)):
        image = torch.randn(2, 3, *size)
        expected, actual = network(image), compiled(image)
        torch.testing.assert_close(actual.logits, expected.logits, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_compiled_gradients():
    """As autograd is traced: operations in place must not spoil what it keeps."""
    torch.compiler.reset()
    plain = step(model(layers=1), Compute())
    compiled = torch.compile(model(layers=1), backend="aot_eager", dynamic=False)
    assert_close(step(compiled, Compute()), plain, 1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compile_keeps_names_and_results():
    """A tiny network, since its kernels compile in seconds; tests above trace a whole one."""
    torch.compiler.reset()
    network = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU()).eval()
    names = network.state_dict().keys()
    features = torch.randn(5, 8)
    with torch.inference_mode():
        expected = network(features)
        actual = prepare(network, Compute(compile=True))(features)
    assert network.state_dict().keys() == names
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)
