"""Frozen encoders, LoRA, and the layers of an encoder."""

import pytest
import torch
from torch import nn

from network import extras
from network.errors import InputError
from network.models.adaptation import merge_lora
from network.models.bicor import BiCoRSeg
from network.models.encoder import Encoder

VIT = "test_vit"
"""Six blocks of 64 channels."""


def step(network: nn.Module) -> None:
    """One step of all parameters that are trained, with weight decay."""
    trained = [p for p in network.parameters() if p.requires_grad]
    network(torch.randn(2, 3, 64, 64)).logits.square().mean().backward()
    torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.1).step()


@pytest.mark.parametrize("name", [VIT, "test_resnet"])
def test_frozen_stays_frozen(name):
    """Weights, and means and variances of batch normalization."""
    network = BiCoRSeg(4, name, None, dim=32, drop_path=0.5, freeze=True)
    body = network.encoder.body
    before = {n: v.clone() for n, v in body.state_dict().items()}
    step(network)
    step(network.train())
    assert all(value.equal(before[n]) for n, value in body.state_dict().items())
    assert all(p.grad is None for p in body.parameters())
    image = torch.randn(1, 3, 64, 64)  # stochastic depth is off
    assert all(a.equal(b) for a, b in zip(body(image), body.eval()(image), strict=True))


def test_lora_by_hand():
    """The layer computes W x + b + B A x; A is random at first and B is 0."""
    encoder = Encoder(VIT, None, lora=3)
    layer = encoder.body.model.blocks[2].attn.qkv
    x = torch.randn(5, 64)
    plain = layer.base_layer(x)
    torch.testing.assert_close(layer(x), plain)
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert (down.shape, up.shape) == ((3, 64), (192, 3))
    nn.init.normal_(up)
    torch.testing.assert_close(layer(x), plain + x @ down.t() @ up.t())


def test_merging_gives_equal_logits():
    """After two steps, in which only the updates, the pyramid and the decoder are trained."""
    network = BiCoRSeg(4, VIT, None, dim=32, lora=2)
    before = {n: v.clone() for n, v in network.encoder.body.state_dict().items()}
    step(network)
    step(network)
    same = {n: v.equal(before[n]) for n, v in network.encoder.body.state_dict().items()}
    assert all(equal != ("lora_" in n) for n, equal in same.items())
    network.eval()
    image = torch.randn(1, 3, 50, 70)
    with torch.no_grad():
        expected = network(image).logits
        assert merge_lora(network) is network
        found = network(image).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    plain = BiCoRSeg(4, VIT, None, dim=32)
    assert network.state_dict().keys() == plain.state_dict().keys()
    assert merge_lora(plain).state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (VIT, {"lora": -1}, r"model\.lora=-1: must be at least 0"),
        (VIT, {"lora": 2, "freeze": True}, "give only one of the two"),
        ("test_convnext", {"lora": 2}, "has no attention that LoRA can adapt"),
        ("vit_small_patch16_dinov3_qkvb", {"lora": 2}, "LoRA would have no effect"),
    ],
)
def test_wrong_options(name, options, words):
    with pytest.raises(InputError, match=words), torch.device("meta"):
        Encoder(name, None, **options)


def test_lora_without_its_library(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    with pytest.raises(InputError, match=r"model\.lora=2: needs the library peft.*'.\[lora\]'"):
        Encoder(VIT, None, lora=2)


@pytest.mark.parametrize("lora", [0, 2])
def test_layers_of_a_plain_transformer(lora):
    """The embedding is 0, block i is i + 1; the pyramid is no pretrained layer."""
    encoder = Encoder(VIT, None, lora=lora, out_indices=(0, 1, 2, 4))
    numbers, names = encoder.layer_numbers(), {p: n for n, p in encoder.body.named_parameters()}
    assert numbers.keys() == set(encoder.body.parameters())
    for parameter, number in numbers.items():
        _, part, index, *_ = [*names[parameter].split("."), ""]
        assert number == (int(index) + 1 if part == "blocks" else 0), names[parameter]
    assert max(numbers.values()) == 5


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("test_convnext", 1 + 1 + 2 + 4 + 2),
        ("swin_tiny_patch4_window7_224", 1 + 2 + 2 + 6 + 2),
        ("efficientnet_lite0", 1 + 16),
        ("mobilenetv4_conv_small", 18),
    ],
)
def test_layers_of_others(name, count):
    """Stem and blocks, in their order from input to output."""
    with torch.device("meta"):
        encoder = Encoder(name, None)
        numbers = list(encoder.layer_numbers().values())
    assert sorted(set(numbers)) == list(range(count))
    assert numbers[0] == 0
    assert max(numbers) in numbers[-12:]
