"""BiCoR-Seg against the golden tensors, the naive order of computation, and hand computation."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from network.benchmark.model import gmacs
from network.benchmark.naive_bicor import NaiveBiCoR
from network.errors import InputError
from network.models.bicor import BiCoRSeg, HBISLayer, pooling_weights, selected_pixels
from network.models.reference import from_reference

CHANNELS = [128, 256, 512, 1024]
SIZES = [(24, 20), (12, 10), (6, 5), (3, 3)]


def decoder(dim: int = 32, num_classes: int = 5, layers: int = 2, **options) -> BiCoRSeg:
    """The model without its encoder."""
    model = BiCoRSeg(num_classes, "convnext_base", weights=None, dim=dim, layers=layers, **options)
    model.encoder = nn.Identity()
    return model


@pytest.fixture(scope="module")
def golden_run(golden):
    """The golden decoder after its forward and backward pass."""
    arrays = golden("bicor_decoder")
    model = decoder()
    model.layers[0].topk_ratio = 0.3
    parameters = {k.removeprefix("param/"): v for k, v in arrays.items() if k.startswith("param/")}
    model.load_state_dict(from_reference(parameters, model))
    stages = [arrays[f"in/stage{i}"].requires_grad_() for i in range(4)]
    output = model.decode(stages)
    loss = output.logits.square().mean()
    loss = loss + sum(m.square().mean() for m in output.heatmaps + output.class_embeddings)
    loss.backward()
    return arrays, model, stages, output, loss


def test_golden_outputs(golden_run):
    arrays, model, stages, output, loss = golden_run
    actual = {
        "fused": model.aggregator(stages).permute(0, 3, 1, 2),
        "logits_train": output.logits,
        "aux_logits": output.aux_logits,
        "heatmap_logits0": output.heatmaps[0],
        "heatmap_logits1": output.heatmaps[1],
        "class_embeddings0": output.class_embeddings[0],
        "class_embeddings1": output.class_embeddings[1],
        "logits_eval": copy.deepcopy(model).eval().decode(stages).logits,
    }
    for name, value in actual.items():
        torch.testing.assert_close(value, arrays[f"out/{name}"], atol=1e-5, rtol=0)
    torch.testing.assert_close(loss, arrays["grad/loss"], atol=1e-5, rtol=0)


def test_golden_gradients(golden_run):
    arrays, model, stages, _, _ = golden_run
    gradients = {k.removeprefix("grad/"): v for k, v in arrays.items() if k.startswith("grad/")}
    translated = from_reference({k: v for k, v in gradients.items() if "." in k}, model)
    checked = {k: v for k, v in translated.items() if not k.endswith("alpha_logit")}
    assert len(checked) == 6
    ours = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, expected in checked.items():
        assert_relative(ours[name], expected)
    assert_relative(stages[0].grad, arrays["grad/stage0"])


def assert_relative(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Within 1e-4 of the largest magnitude."""
    torch.testing.assert_close(actual, expected, atol=1e-4 * expected.abs().max().item(), rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("ratios", [[0.02, 0.02], [0.3, 0.02, 1.0], [1.0]])
def test_cheap_order_equals_naive_order(ratios):
    """Outputs and all gradients, the auxiliary branch's included, in float64."""
    torch.set_default_dtype(torch.float64)
    try:
        naive = NaiveBiCoR(5, nn.Identity(), CHANNELS, 32, ratios)
        model = decoder(layers=len(ratios))
        for layer, ratio in zip(model.layers, ratios, strict=True):
            layer.topk_ratio = ratio
        state = from_reference(
            {k: v for k, v in naive.state_dict().items() if not k.startswith("encoder")}, model
        )
        model.load_state_dict(state)
        stages = [torch.randn(2, c, *size) for c, size in zip(CHANNELS, SIZES, strict=True)]
        flat = [_flatten(network.decode(stages)) for network in (model, naive)]
        for ours, theirs in zip(*flat, strict=True):
            torch.testing.assert_close(ours, theirs)
        for tensors in flat:
            sum((t * t.detach().cos()).sum() for t in tensors).backward()
        expected = from_reference(
            {k: p.grad for k, p in naive.named_parameters() if p.grad is not None}, model
        )
        for name, parameter in model.named_parameters():
            if not name.endswith("alpha_logit"):
                assert_relative(parameter.grad, expected[name])
    finally:
        torch.set_default_dtype(torch.float32)


def _flatten(output) -> list[torch.Tensor]:
    logits, aux_logits, heatmaps, class_embeddings, _ = output
    return [logits, aux_logits, *heatmaps, *class_embeddings]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layers", "millions", "cost"), [(1, 88.92, 81.45), (2, 89.51, 81.57), (3, 90.11, 81.69)]
)
def test_parameters_and_cost(layers, millions, cost):
    """The parameters of the paper's tables; it gives 87.8 as the cost of two layers."""
    model = BiCoRSeg(7, weights=None, layers=layers).eval()
    parameters = sum(p.numel() for p in model.parameters()) - layers  # without the alphas
    assert round(parameters / 1e6, 2) == millions
    assert round(gmacs(model), 2) == cost
    if layers == 1:
        assert round(sum(p.numel() for p in model.encoder.parameters()) / 1e6, 2) == 87.56
        assert round(gmacs(model.encoder), 2) == 80.22


@pytest.mark.parametrize(
    ("pixels", "ratio", "expected"),
    [
        (16384, 0.02, 328),
        (4225, 0.02, 84),
        (1000, 0.02, 64),
        (1000, 1.0, 1000),
        (50, 0.02, 50),
        (129, 0.5, 64),
        (131, 0.5, 66),
    ],
)
def test_selected_pixels(pixels, ratio, expected):
    """K = min(s, max(64, round(ratio * s))), halves to even: 64.5 -> 64, 65.5 -> 66."""
    assert selected_pixels(pixels, ratio) == expected


def test_pooling_weights_by_hand():
    score = torch.tensor([[[0.0, math.log(3), -100.0, math.log(1 / 3)]]])  # H = .5 .75 0 .25
    expected = torch.tensor([[[0.5, 0.75, 0.0, 0.0]]]) / (1.25 + 1e-6)
    torch.testing.assert_close(pooling_weights(score, 2), expected)
    torch.testing.assert_close(
        pooling_weights(score, 4), torch.tensor([[[0.5, 0.75, 0.0, 0.25]]]) / (1.5 + 1e-6)
    )


def test_pooling_weights_of_a_cold_heatmap():
    """Where the selected sum is at most 1e-6, all pixels are weighted."""
    score = torch.tensor([[[-16.0, -17.0, -18.0, -19.0], [0.0, -40.0, -40.0, -40.0]]])
    weights = pooling_weights(score, 2)
    cold = score[0, 0].sigmoid()
    assert cold[:2].sum() <= 1e-6
    torch.testing.assert_close(weights[0, 0], cold / (cold.sum() + 1e-6))
    torch.testing.assert_close(weights[0, 1], torch.tensor([1.0, 0, 0, 0]), atol=1e-5, rtol=0)


def test_selection_stops_the_gradient():
    """Through the pooled context no gradient reaches the query that made the scores."""
    layer = HBISLayer(16, topk_ratio=0.5)
    features, classes = torch.randn(1, 100, 16), torch.randn(1, 3, 16)
    layer(classes, features)[0].sum().backward()
    assert layer.query.weight.grad is None
    assert layer.value.weight.grad.abs().sum() > 0


def test_tau_by_hand():
    """tau divides the heatmap and the softmax; the selection sees the score without it."""
    cold, warm = HBISLayer(16, tau=1.0), HBISLayer(16, tau=2.0)
    warm.load_state_dict(cold.state_dict())
    features, classes = torch.randn(2, 100, 16), torch.randn(2, 3, 16)
    classes_1, features_1, heatmap_1 = cold(classes, features)
    classes_2, features_2, heatmap_2 = warm(classes, features)
    torch.testing.assert_close(heatmap_2, heatmap_1 / 2)
    torch.testing.assert_close(classes_1, classes_2)
    gamma = 1 + warm.gamma(classes_2).tanh()
    modulated = gamma[:, :, None] * features[:, None] + warm.beta(classes_2)[:, :, None]
    mixed = (heatmap_2.softmax(1)[..., None] * modulated).sum(1)
    torch.testing.assert_close(features_2, 0.5 * features + 0.5 * mixed)
    assert not torch.allclose(features_1, features_2)


def test_alpha():
    """Learnable and in (0, 1), 0.5 at the start; alpha near 1 leaves the features as they are."""
    layer = HBISLayer(16)
    assert layer.alpha_logit.requires_grad
    assert layer.alpha_logit.sigmoid() == 0.5
    assert not HBISLayer(16, learn_alpha=False).alpha_logit.requires_grad
    nn.init.constant_(layer.alpha_logit, 30.0)
    features = torch.randn(1, 100, 16)
    torch.testing.assert_close(layer(torch.randn(1, 3, 16), features)[1], features)


@pytest.mark.parametrize("wrong", [{"dim": 100}, {"tau": 0}, {"topk_ratio": -1}, {"layers": 0}])
def test_values_out_of_range(wrong):
    with pytest.raises(InputError, match=rf"model\.{next(iter(wrong))}="):
        BiCoRSeg(5, "test_convnext", weights=None, **wrong)


def test_class_order_does_not_matter():
    """Permuting the class embeddings permutes logits and heatmaps."""
    model = decoder().eval()
    stages = [torch.randn(1, c, *size) for c, size in zip(CHANNELS, SIZES, strict=True)]
    order = torch.tensor([3, 0, 4, 1, 2])
    before = model.decode(stages, details=True)
    with torch.no_grad():
        model.class_embeddings.copy_(model.class_embeddings[order])
    after = model.decode(stages, details=True)
    torch.testing.assert_close(after.logits, before.logits[:, order], atol=1e-5, rtol=0)
    torch.testing.assert_close(after.heatmaps[1], before.heatmaps[1][:, order], atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def small_model() -> BiCoRSeg:
    return BiCoRSeg(3, "test_convnext.r160_in1k", weights=None, dim=32).eval()


@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 100), width=st.integers(1, 100))
def test_any_size(small_model, height, width):
    """Logits at every pixel, and the same at the top left as without the padding's border."""
    image = torch.randn(1, 3, height, width)
    with torch.inference_mode():
        output = small_model(image, details=True)
    assert output.logits.shape == (1, 3, height, width)
    assert output.heatmaps[0].shape == (1, 3, math.ceil(height / 4), math.ceil(width / 4))
    bottom, right = -height % 32, -width % 32
    padded = nn.functional.pad(image, (0, right, 0, bottom), mode="replicate")
    with torch.inference_mode():
        expected = small_model(padded).logits[..., :height, :width]
    torch.testing.assert_close(output.logits, expected)


def test_output_contract(small_model):
    """In evaluation logits alone; in training everything, and the auxiliary branch is a switch."""
    image = torch.randn(2, 3, 64, 64)
    assert small_model(image)[1:] == (None, None, None, None)
    model = copy.deepcopy(small_model).train()
    output = model(image)
    assert output.aux_logits.shape == output.logits.shape == (2, 3, 64, 64)
    assert [tuple(h.shape) for h in output.heatmaps] == [(2, 3, 16, 16)] * 2
    assert [tuple(c.shape) for c in output.class_embeddings] == [(2, 3, 32)] * 2
    without = BiCoRSeg(3, "test_convnext.r160_in1k", weights=None, dim=32, aux=False)
    assert without(image).aux_logits is None


def test_every_parameter_learns(small_model):
    model = copy.deepcopy(small_model).train()
    output = model(torch.randn(2, 3, 64, 64))
    tensors = [output.logits, output.aux_logits, *output.heatmaps, *output.class_embeddings]
    sum(t.square().mean() for t in tensors).backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_auxiliary_branch_leaves_the_class_embeddings_alone(small_model):
    model = copy.deepcopy(small_model).train()
    model(torch.randn(2, 3, 64, 64)).aux_logits.square().mean().backward()
    assert model.class_embeddings.grad is None
    assert model.aggregator.fuse.weight.grad.any()
    assert model.head.norm.weight.grad.any()


def test_scores_stay_float32_under_autocast(small_model):
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        output = small_model(torch.randn(1, 3, 64, 64), details=True)
    assert output.heatmaps[0].dtype == torch.float32
    assert output.logits.isfinite().all()
