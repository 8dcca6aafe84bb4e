"""RepVGG-B1g2, the tile classifier and the refinement network: sizes, features, weights."""

import pytest
import timm
import torch
from timm.models.byobnet import RepVggBlock

from network.buildings.classifier import BuildingClassifier
from network.buildings.refiner import ActivationRefiner
from network.errors import InputError
from network.models import pretrained
from network.models.encoder import DenseEncoder

pytestmark = pytest.mark.slow


def parameters(module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_of_the_paper():
    """Numbers of the spec: with ImageNet's head, backbone, classifier head, refinement."""
    with torch.device("meta"):
        assert parameters(timm.create_model("repvgg_b1g2")) == pytest.approx(45.782e6, abs=500)
        classifier = BuildingClassifier(weights=None)
        refiner = ActivationRefiner(weights=None)
    assert parameters(classifier.encoder) == pytest.approx(43.73e6, abs=5e3)
    assert parameters(classifier.head) == 2048
    assert parameters(refiner) == pytest.approx(43.885e6, abs=500)
    assert parameters(refiner.votes) == 147_464
    assert parameters(refiner.label_encoder) == 4_096


@pytest.mark.parametrize(
    ("name", "channels"), [("repvgg_b1g2", 2048), ("resnet18", 512), ("convnext_tiny", 768)]
)
@pytest.mark.parametrize("side", [250, 256])
def test_stride_16(name, channels, side):
    """A cell for each 16 pixels that begin; ConvNeXt alone would leave out the last 10."""
    with torch.device("meta"):
        features = DenseEncoder(name, None)(torch.zeros(1, 3, side, side))
    assert features.shape == (1, channels, 16, 16)


def test_fused_repvgg_is_the_same():
    """The three branches of each block as one convolution give the same features."""
    encoder = DenseEncoder("repvgg_a0", None).eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.2, 0.5)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = encoder(image)
        for module in encoder.modules():
            if isinstance(module, RepVggBlock):
                module.reparameterize()
        fused = encoder(image)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(fused, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def reference_names(state: dict) -> dict:
    """timm's names of RepVGG as its authors' code has them."""
    renamed = {}
    for key, value in state.items():
        part, _, rest = key.partition(".")
        if part == "stem":
            key = f"stage0.{rest}"
        elif part == "stages":
            number, _, rest = rest.partition(".")
            key = f"stage{int(number) + 1}.{rest}"
        key = key.replace("conv_kxk", "rbr_dense").replace("conv_1x1", "rbr_1x1")
        renamed[key.replace("identity", "rbr_identity").replace("head.fc", "linear")] = value
    return renamed


@pytest.mark.slow
def test_weights_of_the_authors(tmp_path, monkeypatch):
    """A file with the authors' names, saved where the README says, gives the same features."""
    network = timm.create_model("repvgg_b1g2").eval()
    renamed = reference_names(network.state_dict())
    saved = {f"module.{key}": value for key, value in renamed.items()}  # of several GPUs
    torch.save(saved, tmp_path / "repvgg_b1g2.pth")
    assert "stage3.5.rbr_identity.weight" in renamed
    monkeypatch.setattr(pretrained, "PRETRAINED_DIR", tmp_path)
    loaded = DenseEncoder("repvgg_b1g2", "imagenet").state_dict()
    own = network.state_dict()
    assert {f"body.{key}" for key in own if not key.startswith("head.")} == loaded.keys()
    assert all(value.equal(own[key.removeprefix("body.")]) for key, value in loaded.items())


def test_missing_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "PRETRAINED_DIR", tmp_path)
    with pytest.raises(InputError, match=r"save some as .*repvgg_b1g2.pth"):
        DenseEncoder("repvgg_b1g2", "imagenet")


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "vit_tiny_patch16_224", "vgg16"])
def test_no_stride_16(name):
    with pytest.raises(InputError, match=r"output stride 16; choose another"):
        DenseEncoder(name, None)


def test_classifier_logit():
    """The logit is the product of the pooled features and the head's weight."""
    model = BuildingClassifier("test_resnet", None).eval()
    image = torch.rand(2, 3, 40, 64)
    features = model.features(image)
    assert features.shape[2:] == (3, 4)
    expected = features.mean(dim=(2, 3)) @ model.head_weight
    torch.testing.assert_close(model(image), expected)


def test_refiner_scales_channels_by_the_label():
    """Label 1 multiplies by W + b, label 0 by b; the votes are summed."""
    model = ActivationRefiner("test_resnet", None, rates=(1, 2)).eval()
    image = torch.rand(2, 3, 32, 32)
    logits = model(image, torch.tensor([1, 0]))
    weight, bias = model.label_encoder.weight[:, 0], model.label_encoder.bias
    scale = torch.stack([weight + bias, bias])[:, :, None, None]
    features = model.encoder(image) * scale
    torch.testing.assert_close(logits, model.votes[0](features) + model.votes[1](features))
    assert logits.shape == (2, 2, 2, 2)
