"""Plain vision transformers: a pyramid like that of a CNN, for any size and patch."""

import pytest
import timm
import torch
from timm.models import register_model
from timm.models.vision_transformer import _create_vision_transformer
from torch import nn

from network.benchmark.model import gmacs
from network.errors import InputError
from network.models import pretrained
from network.models.bicor import BiCoRSeg
from network.models.d2ls import D2LS
from network.models.encoder import Encoder
from network.models.transformer import SimpleFeaturePyramid
from network.models.unetformer import UNetFormer

VIT = "test_vit"
"""Six blocks of 64 channels, patches of 16 x 16 pixels."""


@register_model
def tiny_vit_patch14(pretrained: bool = False, **options) -> nn.Module:
    """Five blocks, patches of 14 x 14 pixels, register tokens, as DINOv2 has."""
    settings = {"patch_size": 14, "embed_dim": 32, "depth": 5, "num_heads": 2, "reg_tokens": 2}
    settings |= {"img_size": 70, "init_values": 1.0}
    return _create_vision_transformer("tiny_vit_patch14", pretrained, **settings, **options)


VIT14 = "tiny_vit_patch14"


@pytest.mark.parametrize(
    ("name", "channels"), [(VIT, 32), (VIT14, 16), ("vit_small_patch16_dinov3", 192)]
)
def test_pyramid(name, channels):
    with torch.device("meta"):
        encoder = Encoder(name, weights=None)
        maps = encoder(torch.zeros(1, 3, 64, 96))
    assert encoder.channels == [channels] * 4
    assert [tuple(m.shape[1:]) for m in maps] == [
        (channels, 64 // stride, 96 // stride) for stride in (4, 8, 16, 32)
    ]


@pytest.mark.parametrize("name", [VIT, VIT14])
@pytest.mark.parametrize("build", [BiCoRSeg, D2LS, UNetFormer])
def test_one_step_at_an_odd_size(name, build):
    """Each trained parameter gets a gradient and changes, but for what has no effect on logits."""
    options = {} if build is UNetFormer else {"checkpoint_encoder": True}
    network = build(4, name, None, dim=32, drop_path=0.1, bands=5, **options)
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    output = network(torch.randn(2, 5, 37, 75))
    assert output.logits.shape == (2, 4, 37, 75)
    nn.functional.cross_entropy(output.logits, torch.randint(4, (2, 37, 75))).backward()
    torch.optim.AdamW(network.parameters(), lr=1e-3).step()
    of_encoder = {n: p for n, p in network.named_parameters() if n.startswith("encoder.")}
    assert [n for n, p in of_encoder.items() if p.equal(before[n])] == []


def test_the_four_depths():
    """The maps of the blocks before the pyramid, without class and register tokens."""
    encoder = Encoder(VIT14, None, out_indices=(0, 1, 2, 3)).eval()
    transformer = encoder.body.model
    assert len(transformer.blocks) == 4  # the last one is not needed
    image = torch.randn(1, 3, 70, 70)  # the size of the position embedding
    features = transformer.norm_pre(
        transformer._pos_embed(transformer.patch_embed(image))
    )  # class token, two registers, 5 x 5 patches
    for block, found in zip(transformer.blocks, encoder.body(image), strict=True):
        features = block(features)
        expected = features[:, 3:].transpose(1, 2).unflatten(2, (5, 5))
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("name", "expected"), [(VIT, [0, 2, 3, 5]), (VIT14, [0, 1, 2, 4])])
def test_the_default_depths(name, expected):
    """A quarter, a half, three quarters and the end of six or five blocks, rounded down."""
    with torch.device("meta"):
        assert list(Encoder(name, None).body.out_indices) == expected


@pytest.mark.parametrize("patch", [8, 14, 32])
def test_patches_of_another_side_keep_their_place(patch):
    """A map of the centers of its patches gives the centers of the 16 x 16 pixels of a sample."""
    pyramid = SimpleFeaturePyramid(8, patch)
    pyramid.levels = nn.ModuleList(nn.Identity() for _ in range(4))
    height, width = 96, 160
    rows, columns = (patch * (torch.arange(-(-n // patch)) + 0.5) for n in (height, width))
    map_ = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]
    sampled = pyramid([map_] * 4, height, width)[0][0]
    assert sampled.shape == (2, 6, 10)
    inner = slice(1, -1)  # beyond the outer centers nothing can be interpolated
    for axis, found in enumerate((sampled[0].t(), sampled[1])):
        n = (height, width)[axis]
        expected = 16 * (torch.arange(n // 16) + 0.5)
        torch.testing.assert_close(found[0][inner], expected[inner])


def test_padding_repeats_the_last_column():
    pyramid = SimpleFeaturePyramid(8, 14).eval()
    image = torch.randn(1, 3, 224, 100)
    padded = pyramid.pad(image)
    assert padded.shape == (1, 3, 224, 112)
    assert padded[..., :100].equal(image)
    assert padded[..., 100:].equal(image[..., -1:].expand(-1, -1, -1, 12))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (VIT, {"out_indices": (0, 1, 2)}, r"out_indices=\(0, 1, 2\): must be 4 rising numbers"),
        (VIT, {"out_indices": (0, 2, 1, 3)}, "must be 4 rising numbers from 0 to 5"),
        (VIT, {"out_indices": (0, 1, 2, 6)}, "must be 4 rising numbers from 0 to 5"),
        ("test_convnext", {"out_indices": (0, 1, 2, 3)}, "is for plain vision transformers"),
        ("beit_base_patch16_224", {}, "takes images of one size only"),
    ],
)
def test_wrong_options(name, options, words):
    with pytest.raises(InputError, match=words), torch.device("meta"):
        Encoder(name, None, **options)


def test_weights_from_a_file_and_other_bands(tmp_path):
    """They are inflated for six bands, so bands given twice have the maps of the three."""
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model(VIT).state_dict(), path)
    three, six = (Encoder(VIT, str(path), bands=bands).body.eval() for bands in (3, 6))
    image = torch.randn(1, 3, 64, 96)
    for found, expected in zip(six(image.repeat(1, 2, 1, 1)), three(image), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_normalization_of_dinov3():
    """Published with the satellite weights; those from the web have ImageNet's."""
    mean, deviation = pretrained.pretrained_normalization("vit_large_patch16_dinov3.sat493m")
    assert (mean, deviation) == ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))
    mean, _ = pretrained.pretrained_normalization("vit_small_patch16_dinov3.lvd1689m")
    assert mean == (0.485, 0.456, 0.406)


def test_cost_by_hand():
    """Six blocks of width d, with an MLP of 3 d: 10 d^2 a token, and 2 d a pair of tokens."""
    tokens, d = 16 * 16 + 1, 64
    blocks = 6 * (10 * tokens * d**2 + 2 * tokens**2 * d)
    patches = 16 * 16 * (3 * 16 * 16) * d
    body = Encoder(VIT, None).eval().body
    assert gmacs(body, 256) == pytest.approx((blocks + patches) / 1e9)
