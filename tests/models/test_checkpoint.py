"""Checkpoints: ours, those of the released code, and those that are neither."""

import pytest
import torch
import torchvision

from network.benchmark.naive_bicor import NaiveBiCoR
from network.errors import InputError
from network.models.bicor import BiCoRSeg
from network.models.checkpoint import load_weights, read_checkpoint

NAME = "test_convnext.r160_in1k"


def model(num_classes: int = 4, **options) -> BiCoRSeg:
    return BiCoRSeg(num_classes, NAME, weights=None, dim=32, **options)


@pytest.fixture(scope="module")
def reference_run():
    """A network under the released code's names, and its logits."""
    torch.manual_seed(0)
    features = torchvision.models.convnext_tiny().features
    reference = NaiveBiCoR(4, features, [96, 192, 384, 768], 32, [0.02, 0.02]).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        return reference.state_dict(), image, reference(image)[0]


@pytest.mark.parametrize("prefix", ["net.", ""])
def test_released_checkpoint_gives_its_logits(tmp_path, reference_run, prefix):
    state, image, logits = reference_run
    path = tmp_path / "reference.ckpt"
    checkpoint = {
        "state_dict": {prefix + name: value for name, value in state.items()},
        "epoch": 29,
        "optimizer_states": [{"fast_state": {}, "slow_state": {}}],
    }
    torch.save(checkpoint, path)
    ours = BiCoRSeg(4, "convnext_tiny", weights=None, dim=32).eval()
    load_weights(ours, path)
    with torch.no_grad():
        torch.testing.assert_close(ours(image).logits, logits, atol=1e-5, rtol=1e-4)


def test_released_checkpoint_with_another_layer_count(tmp_path, reference_run):
    torch.save({"state_dict": reference_run[0]}, tmp_path / "reference.ckpt")
    ours = BiCoRSeg(4, "convnext_tiny", weights=None, dim=32, layers=3)
    with pytest.raises(InputError, match=r"another model .*layers\.2"):
        load_weights(ours, tmp_path / "reference.ckpt")


@pytest.mark.parametrize("prefix", ["model.", ""])
def test_round_trip(tmp_path, prefix):
    saved, loaded = model(), model()
    state = {prefix + name: value for name, value in saved.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "best.ckpt")
    load_weights(loaded, tmp_path / "best.ckpt")
    for name, value in loaded.state_dict().items():
        assert value.equal(saved.state_dict()[name])


def test_another_class_count(tmp_path):
    torch.save({"state_dict": model(7).state_dict()}, tmp_path / "best.ckpt")
    with pytest.raises(InputError, match=r"class_embeddings has shape \(7, 32\).*\(4, 32\)"):
        load_weights(model(), tmp_path / "best.ckpt")


class Payload:
    """What a pickle could run."""

    def __reduce__(self):
        return (pytest.fail, ("the pickle was executed",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state_dict": {"fc.weight": torch.zeros(3)}}, "another model"),
        ({"epoch": 3}, "no weights in this file"),
        ([1, 2], "not a checkpoint"),
        ({"state_dict": Payload()}, "more than tensors and plain data"),
    ],
)
def test_foreign_checkpoint(tmp_path, content, words):
    torch.save(content, tmp_path / "foreign.ckpt")
    with pytest.raises(InputError, match=rf"foreign\.ckpt.*{words}"):
        load_weights(model(), tmp_path / "foreign.ckpt")


def test_damaged_checkpoint(tmp_path):
    path = tmp_path / "best.ckpt"
    with pytest.raises(InputError, match="no such checkpoint"):
        read_checkpoint(path)
    torch.save(model().state_dict(), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"best\.ckpt: (damaged|holds more)"):
        read_checkpoint(path)
    for content in (b"not a checkpoint at all", b"hello world", b"epoch,step,loss\n0,1,2\n", b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"best\.ckpt"):
            read_checkpoint(path)
