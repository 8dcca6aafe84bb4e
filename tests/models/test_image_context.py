"""Class embeddings and dictionaries of a whole image, from its windows."""

import pytest
import torch

from network.contracts import WholeImageNetwork
from network.errors import InputError
from network.maps.plan import Plan
from network.models.bicor import EPSILON, BiCoRSeg, HBISLayer, pooling_weights
from network.models.bicor_context import BiCoRContext, _Pool
from network.models.d2ls import D2LS, DictionaryGenerator
from network.models.d2ls_context import D2LSContext, D2LSParts

SIZES = [(330, 420), (256, 256), (97, 401)]


def network(layers: int = 2, **settings) -> BiCoRSeg:
    torch.manual_seed(layers)
    options = {"weights": None, "dim": 32, "topk_ratio": 0.05} | settings
    model = BiCoRSeg(5, "test_convnext", layers=layers, **options)
    for name, value in model.named_parameters():
        if name.endswith("alpha_logit"):
            value.data.fill_(-1.0)  # classes shall matter more than at first
    return model.eval()


def d2ls(layers: int = 2, **settings) -> D2LS:
    torch.manual_seed(layers)
    options = {"weights": None, "dim": 32} | settings
    return D2LS(5, "test_convnext", layers=layers, **options).eval()


def in_windows(model, image, segment) -> torch.Tensor:
    """The logits of windows with a halo over the receptive field, put together."""
    height, width = image.shape[-2:]
    found = torch.zeros(1, 5, height, width)
    for part in parts(height, width):
        logits = segment(image[..., part.window[0], part.window[1]], [part.corner]).logits
        found[..., part.core[0], part.core[1]] = logits[..., part.inside[0], part.inside[1]]
    return found


def parts(height: int, width: int, window: int = 224, halo: int = 64) -> list:
    plan = Plan(height, width, window=window, halo=halo)
    return [part for block in plan.blocks() for part in block.parts]


def seen(model, image):
    height, width = image.shape[-2:]
    context = model.whole_image(height, width)
    for _ in range(context.passes):
        for part in parts(height, width):
            context.see(image[..., part.window[0], part.window[1]], part.inside, part.corner)
        context.end_pass()
    return context


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_windows_give_the_prediction_of_the_whole_image(layers, size):
    model, image = network(layers), torch.randn(1, 3, *size)
    assert isinstance(model, WholeImageNetwork)
    whole = model.explain(image)
    context = seen(model, image)
    for ours, expected in zip(context.state(), whole.class_embeddings, strict=True):
        torch.testing.assert_close(ours, expected[0], atol=1e-6, rtol=1e-5)
    logits = in_windows(model, image, context.segment)
    torch.testing.assert_close(logits, whole.logits, atol=1e-6, rtol=1e-5)
    assert torch.equal(logits.argmax(1), whole.logits.argmax(1))
    # Without the context they differ, so this test can fail.
    alone = in_windows(model, image, lambda window, _: model(window))
    assert (alone.argmax(1) != whole.logits.argmax(1)).float().mean() > 0.005


@pytest.mark.parametrize(
    "settings", [{}, {"layers": 1}, {"layers": 3}, {"generator": False, "aux": False}]
)
@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_windows_give_the_prediction_of_d2ls(settings, size):
    """Also its positions, which tell where in the image a pixel lies."""
    model, image = d2ls(**settings), torch.randn(1, 3, *size)
    assert isinstance(model, WholeImageNetwork)
    whole = model.explain(image)
    context = seen(model, image)
    if whole.class_embeddings:
        torch.testing.assert_close(context.state()[0], whole.class_embeddings[0][0])
    logits = in_windows(model, image, context.segment)
    torch.testing.assert_close(logits, whole.logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(logits.argmax(1), whole.logits.argmax(1))
    alone = in_windows(model, image, lambda window, _: model(window))
    assert (alone.argmax(1) != whole.logits.argmax(1)).float().mean() > 0.005


@torch.inference_mode()
def test_windows_in_a_batch_have_their_own_positions():
    model, image = d2ls(), torch.randn(1, 3, 256, 256)
    context, windows, corners = seen(model, image), torch.randn(2, 3, 64, 96), [(0, 32), (160, 64)]
    together = context.segment(windows, corners).logits
    for number, corner in enumerate(corners):
        alone = context.segment(windows[number : number + 1], [corner]).logits
        torch.testing.assert_close(together[number : number + 1], alone)
    assert not torch.allclose(together[:1], context.segment(windows[:1], corners[1:]).logits)


@pytest.mark.parametrize("build", [network, d2ls])
@torch.inference_mode()
def test_a_stored_context_is_the_same(build):
    model, image = build(), torch.randn(1, 3, 256, 300)
    context, other = seen(model, image), model.whole_image(256, 300)
    other.restore(context.state())
    window, corners = torch.randn(2, 3, 96, 64), [(0, 0), (32, 64)]
    ours, theirs = (c.segment(window, corners).logits for c in (context, other))
    assert torch.equal(ours, theirs)


class Quarter(torch.nn.Module):
    """Stands for encoder and aggregator: a map (b, h/4, w/4, 16)."""

    def __init__(self):
        super().__init__()
        self.patches = torch.nn.Conv2d(3, 16, 4, stride=4)

    def forward(self, image):
        return self.patches(image).permute(0, 2, 3, 1)


class Stages(torch.nn.Module):
    """Stands for the encoder: a last stage (b, 8, h/32, w/32)."""

    def forward(self, image):
        return [torch.nn.functional.avg_pool2d(image, 32).repeat(1, 3, 1, 1)[:, :8]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_sums_of_many_pixels_in_half_precision(dtype):
    """Their sums are beyond the range of float16 and the precision of bfloat16."""
    torch.manual_seed(0)
    backbone, layer = Quarter(), HBISLayer(16, topk_ratio=1.0)
    classes, image = torch.randn(4, 16), torch.rand(1, 3, 1536, 1536) + 0.5
    context = BiCoRContext(backbone, [layer], torch.nn.Identity(), classes, [384**2], EPSILON)
    with torch.autocast("cpu", dtype):
        expected = layer(classes[None], backbone(image).flatten(1, 2))[0][0]
        for part in parts(1536, 1536, 512, 0):
            context.see(image[..., part.window[0], part.window[1]], part.inside, part.corner)
    context.end_pass()
    torch.testing.assert_close(context.state()[0], expected.float(), atol=0.01, rtol=0.01)


@torch.inference_mode()
def test_a_dictionary_of_many_windows_in_half_precision():
    torch.manual_seed(0)
    generator, classes = DictionaryGenerator(4, 8, 16), torch.randn(4, 16)
    image = torch.rand(1, 3, 1024, 1024) + 1
    net = D2LSParts(Stages(), None, generator, [], [], [], None, None, classes)
    context = D2LSContext(net, 1024, 1024)
    with torch.autocast("cpu", torch.bfloat16):
        expected = generator(classes, Stages()(image)[-1])[0]
        for part in parts(1024, 1024, 96, 32):
            context.see(image[..., part.window[0], part.window[1]], part.inside, part.corner)
    context.end_pass()
    torch.testing.assert_close(context.state()[0], expected.float(), atol=0.01, rtol=0.01)


@pytest.mark.parametrize("value", [0.0, 1e-9, 0.5])
def test_the_pool_is_that_of_all_pixels_at_once(value):
    """In parts of any size, also where all heatmap values are almost 0."""
    heatmap, features = torch.rand(4, 500) * value, torch.randn(500, 8)
    score = torch.logit(heatmap.double())[None].float()
    for count in (1, 64, 499, 500):
        pool = _Pool(count, 1e-6)
        for start, stop in ((0, 3), (3, 200), (200, 201), (201, 500)):
            pool.add(score[0, :, start:stop].sigmoid(), features[start:stop])
        expected = pooling_weights(score, count)[0] @ features
        torch.testing.assert_close(pool.result(), expected, atol=1e-5, rtol=1e-4)


def test_layers_that_pool_otherwise_are_refused():
    class Mean(HBISLayer):
        def pool(self, score, features_n):
            return features_n.mean(dim=1, keepdim=True).expand(-1, score.shape[1], -1)

    class Own(BiCoRSeg):
        def make_layer(self, *settings):
            return Mean(*settings)

    model = Own(5, "test_convnext", weights=None, dim=32)
    with pytest.raises(InputError, match="context=image: Mean pools the pixels"):
        model.whole_image(64, 64)
