"""Baselines: every architecture and the modern encoders by shapes and one step."""

import pytest
import timm
import torch
from torch import nn

from network.errors import InputError
from network.losses.d2ls import D2LSLoss
from network.losses.joint import JointLoss
from network.models.bicor import BiCoRSeg
from network.models.d2ls import D2LS
from network.models.smp import ARCHITECTURES, SMPSegmenter
from network.models.unetformer import UNetFormer, WindowAttention


def one_step(model: nn.Module, size: tuple[int, int] = (64, 96)) -> None:
    """Logits at every pixel, in training and evaluation, and a gradient in every parameter."""
    image, labels = torch.randn(2, 3, *size), torch.randint(0, 4, (2, *size))
    parts = D2LSLoss(255)(model.train()(image), labels)
    sum(parts.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    with torch.inference_mode():
        logits = model.eval()(image[:1, :, 5:, 9:]).logits
    assert logits.shape == (1, 4, size[0] - 5, size[1] - 9)
    assert logits.isfinite().all()


@pytest.mark.parametrize("encoder", ["test_resnet", "test_convnext"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_architectures(architecture, encoder):
    one_step(SMPSegmenter(4, architecture, encoder, weights=None))


def test_bands(tmp_path):
    """Six bands that are the three twice give what the three do."""
    path, rgb = tmp_path / "weights.pth", torch.randn(1, 3, 64, 64)
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    three, six = (SMPSegmenter(4, "fpn", "test_resnet", str(path), bands=n).eval() for n in (3, 6))
    first = {name for name, p in six.named_parameters() if p.shape[1:2] == (6,)}
    assert len(first) == 1
    six.load_state_dict(three.state_dict() | {n: six.state_dict()[n] for n in first})
    with torch.inference_mode():
        twice = six(torch.cat([rgb, rgb], dim=1)).logits
        torch.testing.assert_close(twice, three(rgb).logits)


@pytest.mark.parametrize("network", [BiCoRSeg, D2LS, UNetFormer])
def test_bands_of_our_networks(network):
    model = network(4, "test_resnet", weights=None, dim=32, bands=7)
    assert model(torch.randn(2, 7, 40, 50)).logits.shape == (2, 4, 40, 50)


def test_segformers_own_encoder():
    one_step(SMPSegmenter(4, "segformer", "mit_b0", weights=None))
    with pytest.raises(InputError, match=r"mit_b0.*weights=None"):
        SMPSegmenter(4, "segformer", "mit_b0")


ENCODERS = [
    "convnextv2_atto.fcmae",
    "convnext_tiny.dinov3_lvd1689m",
    "swin_tiny_patch4_window7_224.ms_in1k",
    "swinv2_tiny_window8_256.ms_in1k",
    "efficientnet_b0.ra_in1k",
]


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("network", [BiCoRSeg, D2LS])
def test_modern_encoders(network, encoder):
    model = network(4, encoder, weights=None, dim=32, layers=1, aux=network is D2LS)
    image = torch.randn(1, 3, 70, 90)
    output = model(image)
    assert output.logits.shape == (1, 4, 70, 90)
    output.logits.square().mean().backward()
    assert all(p.grad is not None for p in model.encoder.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["unet", "upernet"])
def test_baselines_on_swin(architecture):
    model = SMPSegmenter(4, architecture, "swin_tiny_patch4_window7_224", weights=None).eval()
    with torch.inference_mode():
        assert model(torch.randn(1, 3, 70, 90)).logits.shape == (1, 4, 70, 90)


@pytest.mark.parametrize("encoder", ["maxvit_tiny_tf_224", "coatnet_0_rw_224"])
def test_encoders_of_one_size(encoder):
    with pytest.raises(InputError, match=f"encoder '{encoder}': takes images of one size only"):
        D2LS(4, encoder, weights=None)


def test_weights_of_a_file(tmp_path):
    """The tensors of the file are those of the network, also where it has fewer stages."""
    source = timm.create_model("test_resnet", num_classes=0)
    torch.save(source.state_dict(), tmp_path / "resnet.pth")
    for architecture in ("unet", "pspnet", "deeplabv3plus"):
        model = SMPSegmenter(4, architecture, "test_resnet", str(tmp_path / "resnet.pth"))
        loaded = model.encoder.model.state_dict()
        expected = source.state_dict()
        assert len(loaded) > 10
        for name, value in loaded.items():
            assert value.equal(expected[name]), name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"architecture": "unett"}, "model.architecture=unett.*did you mean 'unet'"),
        ({"encoder": "resnet5"}, "encoder 'resnet5': timm has no such model; did you mean 'resnet"),
        (
            {"architecture": "deeplabv3plus", "encoder": "swin_tiny_patch4_window7_224"},
            "deeplabv3plus cannot be built on it",
        ),
        ({"encoder": "vit_tiny_patch16_224"}, "cannot be built on it"),
        ({"architecture": "pspnet", "encoder": "hrnet_w18_small"}, "cannot be built on it"),
    ],
)
def test_wrong_input(options, words):
    with pytest.raises(InputError, match=words):
        SMPSegmenter(4, **{"weights": None, "encoder": "test_resnet", **options})


def test_unetformer():
    """The paper's size, and one step with the auxiliary output."""
    model = UNetFormer(6, weights=None)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == 11.7
    one_step(UNetFormer(4, "test_resnet", weights=None, dim=32))
    without = UNetFormer(4, "test_resnet", weights=None, dim=32, aux=False)
    assert without(torch.randn(2, 3, 64, 64)).aux_logits is None
    with pytest.raises(InputError, match=r"model\.dim=100"):
        UNetFormer(6, weights=None, dim=100)
    parts = JointLoss(255)(model(torch.randn(2, 3, 64, 64)), torch.zeros(2, 64, 64).long())
    assert parts.keys() == {"ce", "dice", "aux_ce"}


def test_window_attention_by_torch():
    """Each window alone through torch's own attention, with the bias of relative positions."""
    attention = WindowAttention(16)
    x = torch.randn(2, 16, 16, 24)
    actual = attention(x)
    query, key, value = attention.qkv(x).chunk(3, dim=1)
    for top in (0, 8):
        for left in (0, 8, 16):
            window = (..., slice(top, top + 8), slice(left, left + 8))
            q, k, v = (m[window].reshape(2, 8, 2, 64).transpose(2, 3) for m in (query, key, value))
            bias = torch.empty(8, 64, 64)
            for i in range(64):
                for j in range(64):
                    offset = (i // 8 - j // 8 + 7) * 15 + i % 8 - j % 8 + 7
                    bias[:, i, j] = attention.position_bias[offset]
            weights = (q @ k.transpose(2, 3) / 2**0.5 + bias).softmax(-1)
            expected = (weights @ v).transpose(2, 3).reshape(2, 16, 8, 8)
            torch.testing.assert_close(actual[window], expected)
