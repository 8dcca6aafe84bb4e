"""Checkpoints: ours, those of the released code, and those that are neither."""

import os
import zipfile

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

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


@pytest.mark.slow
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
        ({"state_dict": {3: torch.zeros(3)}}, "is named by .*, not by text"),
        ({0: torch.zeros(3)}, "is named by .*, not by text"),
        ({"settings": ["a"], "state_dict": {"a": torch.zeros(3)}}, "no settings of a run"),
        ({"settings": {"a": torch.zeros(3)}}, "no settings of a run"),
        ({"state_dict": {"a": torch.zeros(3, device="meta")}}, "a is no dense tensor"),
        ({"state_dict": {"a": torch.eye(3).to_sparse()}}, "a is no dense tensor"),
        ({"state_dict": {"a": torch.zeros(1).expand(10**6, 10**6)}}, "a is no dense tensor"),
        (
            {"a": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)},
            "a is no dense tensor",
        ),
        ({"module.a": torch.zeros(1), "module._orig_mod.a": torch.zeros(1)}, "be named module.a,"),
        ([1, 2], "not a checkpoint"),
        ({"state_dict": Payload()}, "more than tensors and plain data"),
    ],
)
def test_foreign_checkpoint(tmp_path, content, words):
    torch.save(content, tmp_path / "foreign.ckpt")
    with pytest.raises(InputError, match=rf"foreign\.ckpt.*{words}"):
        load_weights(model(), tmp_path / "foreign.ckpt")


def changed(name: str, change) -> dict:
    state = model().state_dict()
    state[name] = change(state[name])
    return {"state_dict": state}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda value: value.to(torch.int32),
            "holds torch.int32 where the model has",
        ),
        (lambda value: value.to(torch.complex64), "holds torch.complex64 where the model has"),
        (lambda value: value > 0, "holds torch.bool where the model has"),
        (lambda value: torch.full_like(value, torch.inf), "class_embeddings is not finite"),
        (lambda value: value.index_fill(1, torch.tensor(2), torch.nan), "is not finite"),
        (lambda value: value[:1].clone().expand_as(value), "no dense tensor"),
    ],
)
def test_weights_of_another_kind(tmp_path, change, words):
    torch.save(changed("class_embeddings", change), tmp_path / "x.ckpt")
    loaded = model()
    before = {name: value.clone() for name, value in loaded.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_weights(loaded, tmp_path / "x.ckpt")
    assert f"{tmp_path / 'x.ckpt'}: class_embeddings" in str(caught.value)
    assert words in str(caught.value)
    assert all(value.equal(before[name]) for name, value in loaded.state_dict().items())


def test_half_precision_is_the_same_weights(tmp_path):
    state = {name: value.half() for name, value in model().state_dict().items()}
    torch.save(state, tmp_path / "half.pth")
    loaded = model()
    load_weights(loaded, tmp_path / "half.pth")
    for name, value in loaded.state_dict().items():
        assert value.equal(state[name].to(value.dtype))


@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
@pytest.mark.parametrize(
    "wrap",
    [
        "module.{}",
        "_orig_mod.{}",
        "module._orig_mod.{}",
        "_orig_mod.module.{}",
        "model._orig_mod.{}",
        "model.module._orig_mod.{}",
        "module.model.{}",
        "module.module.{}",
    ],
)
def test_wrapped_by_torch(tmp_path, wrap, suffix):
    """As DDP and torch.compile name the weights, of the network or of a task around it."""
    saved, loaded, path = model(), model(), tmp_path / f"wrapped.{suffix}"
    state = {wrap.format(name): value for name, value in saved.state_dict().items()}
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    load_weights(loaded, path)
    assert all(v.equal(saved.state_dict()[name]) for name, v in loaded.state_dict().items())


def test_wrapped_parts(tmp_path):
    """Names as torch itself gives them, where parts of a network are wrapped."""
    saved, loaded = model(), model()
    expected = {name: value.clone() for name, value in saved.state_dict().items()}
    saved.encoder = torch.compile(saved.encoder)
    saved.aggregator = nn.DataParallel(saved.aggregator)
    names = saved.state_dict().keys()
    assert any("encoder._orig_mod." in name for name in names)
    assert any("aggregator.module." in name for name in names)
    torch.save(saved.state_dict(), tmp_path / "parts.pth")
    load_weights(loaded, tmp_path / "parts.pth")
    assert all(value.equal(expected[name]) for name, value in loaded.state_dict().items())


@pytest.mark.slow
def test_released_checkpoint_from_ddp(tmp_path, reference_run):
    state, image, logits = reference_run
    torch.save({"net.module." + name: v for name, v in state.items()}, tmp_path / "reference.ckpt")
    ours = BiCoRSeg(4, "convnext_tiny", weights=None, dim=32).eval()
    load_weights(ours, tmp_path / "reference.ckpt")
    with torch.no_grad():
        torch.testing.assert_close(ours(image).logits, logits, atol=1e-5, rtol=1e-4)


class Wrapped(nn.Module):
    """A network that has a part named as DDP names what it wraps."""

    def __init__(self):
        super().__init__()
        self.module = nn.Linear(2, 2)


@pytest.mark.parametrize("prefix", ["", "model.", "module."])
def test_a_part_named_module(tmp_path, prefix):
    saved, loaded = Wrapped(), Wrapped()
    state = {prefix + name: value for name, value in saved.state_dict().items()}
    torch.save(state, tmp_path / "x.pth")
    load_weights(loaded, tmp_path / "x.pth")
    assert loaded.module.weight.equal(saved.module.weight)


def test_records_that_grow(tmp_path):
    """A hundred kilobytes that would become a hundred megabytes."""
    torch.save({"a": torch.zeros(25_000_000)}, tmp_path / "plain.ckpt")
    path = tmp_path / "packed.ckpt"
    with (
        zipfile.ZipFile(tmp_path / "plain.ckpt") as plain,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for record in plain.infolist():
            packed.writestr(record.filename, plain.read(record))
    assert path.stat().st_size < 200_000
    with pytest.raises(InputError, match=r"packed\.ckpt: its records are compressed"):
        read_checkpoint(path)


def test_a_flipped_bit_is_seen(tmp_path):
    path = tmp_path / "best.ckpt"
    torch.save({"a": torch.full((1000,), 0.5)}, path)
    content = path.read_bytes()
    where = content.index(torch.full((10,), 0.5).numpy().tobytes())
    path.write_bytes(content[: where + 80] + b"?" + content[where + 81 :])
    with pytest.raises(InputError, match=r"best\.ckpt: damaged"):
        read_checkpoint(path)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.ckpt")
    for name in ("pipe.ckpt", "."):
        with pytest.raises(InputError, match="a folder or a device, not a file"):
            read_checkpoint(tmp_path / name)


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
