"""Encoders: pyramids of timm, and where their weights come from."""

import socket

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from network.errors import InputError
from network.models import pretrained
from network.models.encoder import Encoder

NAME = "test_convnext.r160_in1k"


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("convnext_base", [128, 256, 512, 1024]),
        ("convnext_atto", [40, 80, 160, 320]),
        ("resnet18", [64, 128, 256, 512]),
        ("efficientnet_b0", [24, 40, 112, 320]),
        ("mobilenetv3_small_100", [16, 24, 48, 576]),
        ("test_mambaout", [16, 32, 48, 64]),
    ],
)
def test_pyramid(name, channels):
    with torch.device("meta"):
        encoder = Encoder(name, weights=None)
        maps = encoder(torch.zeros(1, 3, 64, 96))
    assert encoder.channels == channels
    sizes = [(c, 64 // s, 96 // s) for c, s in zip(channels, (4, 8, 16, 32), strict=True)]
    assert [tuple(m.shape[1:]) for m in maps] == sizes


def test_maps_are_the_raw_stages():
    encoder, network = Encoder(NAME, weights=None).eval(), timm.create_model(NAME).eval()
    encoder.load_state_dict(
        {
            "body." + name.replace("stem.", "stem_").replace("stages.", "stages_"): value
            for name, value in network.state_dict().items()
            if name.startswith(("stem", "stages"))
        }
    )
    image = torch.randn(1, 3, 64, 64)
    expected = network.stem(image)
    for stage, features in zip(network.stages, encoder(image), strict=True):
        expected = stage(expected)
        torch.testing.assert_close(features, expected)


@pytest.mark.parametrize("name", ["convnext_atto", "swin_tiny_patch4_window7_224"])
def test_drop_path(name):
    """Swin has stochastic depth in timm by default, but none here unless it is asked for."""

    def largest(rate: float) -> float:
        parts = Encoder(name, None, drop_path=rate).modules()
        return max((p.drop_prob for p in parts if isinstance(p, timm.layers.DropPath)), default=0)

    assert largest(0.5) == pytest.approx(0.5)
    assert largest(0.0) == 0


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_local_weights(tmp_path, suffix):
    network, path = timm.create_model(NAME), tmp_path / f"weights{suffix}"
    state = network.state_dict()
    save_file(state, path) if suffix == ".safetensors" else torch.save({"state_dict": state}, path)
    encoder = Encoder(NAME, weights=str(path))
    assert encoder.body.stages_3.blocks[0].conv_dw.weight.equal(
        network.stages[3].blocks[0].conv_dw.weight
    )


def test_imagenet_weights_from_the_local_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "PRETRAINED_DIR", tmp_path)
    network = timm.create_model(NAME)
    save_file(network.state_dict(), tmp_path / f"{NAME}.safetensors")
    assert Encoder(NAME, "imagenet").body.stem_0.weight.equal(network.stem[0].weight)


def test_imagenet_weights_of_the_right_tag(tmp_path, monkeypatch):
    """A name without a tag stands for timm's default one, whatever comes first in the alphabet."""
    monkeypatch.setattr(pretrained, "PRETRAINED_DIR", tmp_path)
    name, tag = NAME.split(".")
    other, own, plain = (timm.create_model(NAME).state_dict() for _ in range(3))
    save_file(other, tmp_path / f"{name}.clip_x.safetensors")
    with pytest.raises(InputError, match=rf"clip_x.*: .* like .*{tag}; .*={name}\.clip_x, or"):
        Encoder(name, "imagenet")
    save_file(own, tmp_path / f"{NAME}.safetensors")
    assert Encoder(name, "imagenet").body.stem_0.weight.equal(own["stem.0.weight"])
    assert Encoder(NAME, "imagenet").body.stem_0.weight.equal(own["stem.0.weight"])
    save_file(plain, tmp_path / f"{name}.safetensors")
    assert Encoder(name, "imagenet").body.stem_0.weight.equal(plain["stem.0.weight"])
    assert Encoder(NAME, "imagenet").body.stem_0.weight.equal(own["stem.0.weight"])


@pytest.mark.slow
def test_torchvision_weights(tmp_path):
    """The file that users of the released code have in their cache."""
    theirs = torchvision.models.convnext_tiny().eval()
    torch.save(theirs.state_dict(), tmp_path / "convnext_tiny-983f1562.pth")
    ours = Encoder("convnext_tiny", str(tmp_path / "convnext_tiny-983f1562.pth")).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(image)[3], theirs.features(image), atol=1e-4, rtol=1e-4)


def test_no_internet(tmp_path, monkeypatch):
    """The message says which file to fetch and where to put it, and comes at once."""

    def fail(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(pretrained, "PRETRAINED_DIR", tmp_path)
    monkeypatch.setattr(pretrained, "getproxies", dict)
    with pytest.raises(InputError) as error:
        Encoder("convnext_base.fb_in1k", "imagenet")
    message = str(error.value)
    assert "timm/convnext_base.fb_in1k/resolve/main/model.safetensors" in message
    assert str(tmp_path / "convnext_base.fb_in1k.safetensors") in message


def test_incomplete_weights(tmp_path):
    """timm itself would leave what is missing at random values, and say nothing."""
    path = tmp_path / "part.pth"
    state = timm.create_model(NAME).state_dict()
    torch.save({k: v for k, v in state.items() if not k.startswith("stages.2")}, path)
    with pytest.raises(InputError, match=r"part\.pth: not the weights of .*, \d+ of \d+ tensors"):
        Encoder(NAME, str(path))
    # Norms and biases begin with the same values in each network, as they may also end.
    for name in ("stages.1.blocks.0.norm.weight", "stages.1.blocks.0.conv_dw.bias"):
        torch.save({k: v for k, v in state.items() if k != name}, path)
        with pytest.raises(InputError, match=r", 1 of \d+ tensors are missing, .* is stages_1"):
            Encoder(NAME, str(path))


def test_foreign_weights(tmp_path):
    path = tmp_path / "other.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    with pytest.raises(InputError, match=r"other\.pth: (not the weights|these weights do not fit)"):
        Encoder(NAME, str(path))


def test_weights_of_another_size(tmp_path):
    path = tmp_path / "femto.pth"
    torch.save(timm.create_model("convnext_femto").state_dict(), path)
    with pytest.raises(InputError, match=r"femto\.pth: these weights do not fit"):
        Encoder("convnext_atto", str(path))


@pytest.mark.parametrize("name", [NAME, "test_resnet", "efficientnet_lite0"])
def test_inflated_weights(tmp_path, name):
    """Six bands that are the three twice, and one band that is each of the three."""
    path, image = tmp_path / "weights.pth", torch.randn(1, 1, 64, 64)
    torch.save(timm.create_model(name).state_dict(), path)
    rgb = torch.randn(1, 3, 64, 64)
    three = Encoder(name, str(path)).eval()
    six, one = (Encoder(name, str(path), bands=bands).eval() for bands in (6, 1))
    with torch.no_grad():
        for found, expected in (
            (six(torch.cat([rgb, rgb], dim=1)), three(rgb)),
            (one(image), three(image.repeat(1, 3, 1, 1))),
        ):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_weights_for_the_same_bands(tmp_path):
    """Taken as they are; those for others are refused."""
    path, network = tmp_path / "weights.pth", timm.create_model(NAME, in_chans=5)
    torch.save(network.state_dict(), path)
    encoder = Encoder(NAME, str(path), bands=5)
    assert encoder.body.stem_0.weight.equal(network.stem[0].weight)
    for bands in (3, 4):
        with pytest.raises(InputError, match=f"weights for 5 bands, the images have {bands}"):
            Encoder(NAME, str(path), bands=bands)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("convnext_bsae", "did you mean 'convnext_base'"),
        ("mixer_b16_224", "takes images of one size only"),
        ("resnet18.a1_in1", "did you mean 'resnet18.a1_in1k'"),
        ("none_at_all_xyz", "timm has no such model"),
    ],
)
def test_wrong_encoder(name, words):
    with pytest.raises(InputError, match=words):
        Encoder(name, weights=None)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such checkpoint"):
        Encoder(NAME, weights=str(tmp_path / "none.pth"))


def test_encoder_that_cannot_be_checkpointed():
    with pytest.raises(InputError, match=r"encoder 'hrnet_w18_small'.*checkpoint_encoder=False"):
        Encoder("hrnet_w18_small", weights=None, checkpoint=True)


def test_encoder_without_known_weights(monkeypatch):
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda name: None)
    assert Encoder(NAME, weights=None).channels
    with pytest.raises(InputError, match="timm has no ImageNet weights for it"):
        Encoder(NAME)


def test_weights_for_bands_of_several_first_convolutions(tmp_path):
    name, path = "repvgg_a0", tmp_path / "weights.pth"
    torch.save(timm.create_model(name, in_chans=4).state_dict(), path)
    with pytest.raises(InputError, match="weights for 4 bands, the images have 5"):
        Encoder(name, str(path), bands=5)


@pytest.mark.parametrize("rate", [-0.5, 1.0, 5.0])
def test_wrong_rates_of_stochastic_depth(rate):
    with pytest.raises(InputError, match=rf"model.drop_path={rate}: must be at least 0"):
        Encoder("test_convnext", None, drop_path=rate)
