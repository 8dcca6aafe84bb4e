"""D2LS against the golden tensors, the naive order of computation, and its acceptance tests."""

import copy

import pytest
import torch
from torch import nn

from network.benchmark.model import gmacs
from network.benchmark.naive_d2ls import NaiveD2LS, NaiveD2LSOrder
from network.errors import InputError
from network.losses.d2ls import D2LSLoss
from network.losses.scatter import fisher_loss
from network.models.checkpoint import load_weights
from network.models.d2ls import D2LS
from network.models.reference import from_reference
from tests.models.test_bicor import CHANNELS, SIZES, assert_relative


def decoder(dim: int = 64, num_classes: int = 5, layers: int = 2, **options) -> D2LS:
    """The model without its encoder."""
    model = D2LS(num_classes, "convnext_base", weights=None, dim=dim, layers=layers, **options)
    model.encoder = nn.Identity()
    return model


def random_stages(batch: int = 2) -> list[torch.Tensor]:
    return [torch.randn(batch, c, *size) for c, size in zip(CHANNELS, SIZES, strict=True)]


@pytest.fixture(scope="module")
def golden_run(golden):
    """The golden decoder after its forward and backward pass."""
    arrays = golden("d2ls_decoder")
    model = decoder()
    parameters = {k.removeprefix("param/"): v for k, v in arrays.items() if k.startswith("param/")}
    model.load_state_dict(from_reference(parameters, model))
    stages = [arrays[f"in/stage{i}"].requires_grad_() for i in range(4)]
    output = model.decode(stages)
    contrastive = fisher_loss(output.class_embeddings[0], pairwise=True)
    loss = output.logits.square().mean() + output.aux_logits.square().mean() + contrastive
    loss.backward()
    return arrays, model, stages, output, contrastive, loss


def test_golden_outputs(golden_run):
    arrays, model, stages, output, contrastive, loss = golden_run
    actual = {
        "fused": model.aggregator(stages).permute(0, 3, 1, 2),
        "logits_dynamic_train": output.logits,
        "logits_static_train": output.aux_logits,
        "contrastive": contrastive,
        "logits_eval": copy.deepcopy(model).eval().decode(stages).logits,
    }
    for name, value in actual.items():
        torch.testing.assert_close(value, arrays[f"out/{name}"], atol=1e-5, rtol=0)
    torch.testing.assert_close(loss, arrays["grad/loss"], atol=1e-5, rtol=0)


def test_golden_gradients(golden_run):
    arrays, _, stages, *_ = golden_run
    for index in (0, 3):
        assert_relative(stages[index].grad, arrays[f"grad/stage{index}"])


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "num_classes"), [(1, 4), (2, 7), (3, 17)])
def test_cheap_order_equals_naive_order(layers, num_classes):
    """Outputs and all gradients, in float64, below and above the number of classes that pays."""
    torch.set_default_dtype(torch.float64)
    try:
        naive = NaiveD2LS(num_classes, CHANNELS, 32, layers)
        model = decoder(32, num_classes, layers)
        model.load_state_dict(from_reference(naive.state_dict(), model))
        stages = random_stages()
        outputs = [network.decode(stages) for network in (model, naive)]
        flat = [[o.logits, o.aux_logits, *o.class_embeddings] for o in outputs]
        for ours, theirs in zip(*flat, strict=True):
            torch.testing.assert_close(ours, theirs)
        for tensors in flat:
            sum((t * t.detach().cos()).sum() for t in tensors).backward()
        gradients = {name: p.grad for name, p in naive.named_parameters()}
        expected = from_reference(gradients, model)
        largest = max(gradient.abs().max() for gradient in expected.values())
        for name, parameter in model.named_parameters():
            # That of a key's bias is 0, up to rounding: the softmax does not see it.
            scale = largest if name.endswith("read_pixels.key.bias") else None
            close = torch.testing.assert_close
            close(parameter.grad, expected[name], atol=1e-10 * (scale or 1), rtol=1e-6, msg=name)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "parameters"), [(2, 89_822_380), (3, 90_086_828)])
def test_parameters_and_cost(layers, parameters):
    """No dead weights; what the released order costs is the 93.63 G of BiCoR-Seg's baseline."""
    model = D2LS(7, weights=None, layers=layers).eval()
    assert sum(p.numel() for p in model.parameters()) == parameters
    expected = {2: 91.40, 3: 93.63}[layers]
    # Their count has norms and activations in it, torch's has not.
    assert gmacs(NaiveD2LSOrder(model).eval()) == pytest.approx(expected, abs=0.35)
    assert gmacs(model) < expected - 7


@pytest.fixture(scope="module")
def small_model() -> D2LS:
    return D2LS(3, "test_convnext.r160_in1k", weights=None, dim=32, layers=1)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("num_classes", [4, 8])
def test_shapes(layers, num_classes):
    model = D2LS(num_classes, "test_convnext", weights=None, dim=32, layers=layers)
    output = model(torch.randn(2, 3, 96, 160))
    assert output.logits.shape == output.aux_logits.shape == (2, num_classes, 96, 160)
    assert [tuple(c.shape) for c in output.class_embeddings] == [(2, num_classes, 32)]
    assert output.heatmaps is None
    assert model.eval()(torch.randn(1, 3, 70, 33))[1:] == (None, None, None, None)
    assert model(torch.randn(1, 3, 70, 33)).logits.shape == (1, num_classes, 70, 33)


def test_every_parameter_learns(small_model):
    model = copy.deepcopy(small_model)
    labels = torch.randint(0, 3, (2, 64, 64))
    sum(D2LSLoss(255)(model(torch.randn(2, 3, 64, 64)), labels).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    still = [name for name, p in model.named_parameters() if not p.grad.any()]
    # Mathematically without effect: the softmax over pixels does not see a key's bias.
    assert all(
        name.endswith("read_pixels.key.bias") or name == "last_read.key.bias" for name in still
    )


def test_dictionary_is_a_mixture_of_own_candidates():
    """Convex, and another class's embedding does not matter."""
    model = decoder()
    deepest = random_stages()[-1]
    before = model.generator(model.class_embeddings, deepest)
    candidates = model.generator.candidates(model.class_embeddings).view(5, 4, 64)
    low, high = candidates.amin(1), candidates.amax(1)
    assert ((before >= low - 1e-6) & (before <= high + 1e-6)).all()
    with torch.no_grad():
        model.class_embeddings[3] += 1
    after = model.generator(model.class_embeddings, deepest)
    same = [0, 1, 2, 4]
    torch.testing.assert_close(after[:, same], before[:, same])
    assert not torch.allclose(after[:, 3], before[:, 3])


def test_positions_are_float32_under_autocast(small_model):
    expected = small_model.position(64, 96)
    with torch.autocast("cpu", torch.bfloat16):
        assert small_model.position(64, 96).equal(expected)


def test_positions_are_saved(small_model, tmp_path):
    """A checkpoint brings its own draw of the positions, and with it the same logits."""
    torch.save({"state_dict": small_model.state_dict()}, tmp_path / "weights.ckpt")
    torch.manual_seed(99)
    other = D2LS(3, "test_convnext.r160_in1k", weights=None, dim=32, layers=1)
    assert not torch.equal(other.position.frequencies, small_model.position.frequencies)
    load_weights(other, tmp_path / "weights.ckpt")
    image = torch.randn(1, 3, 64, 96)
    expected = copy.deepcopy(small_model).eval()(image).logits
    assert torch.equal(other.eval()(image).logits, expected)


@pytest.mark.slow
def test_released_checkpoint(tmp_path, caplog):
    """Weights that are never used are dropped by name; others that do not fit are an error."""
    model = decoder(32)
    naive = NaiveD2LS(5, CHANNELS, 32, 2)
    state = {f"net.{name}": value for name, value in naive.state_dict().items()}
    dead = ["self_attn.q_proj.weight", "mlp.lin1.bias", "norm1.weight", "norm3.bias"]
    extra = {f"net.decoder.interactor.layers.1.{name}": torch.zeros(3) for name in dead}
    torch.save({"state_dict": state | extra}, tmp_path / "released.ckpt")
    load_weights(model, tmp_path / "released.ckpt")
    assert "dropped 4 weights that D2LS never uses" in caplog.text
    assert "decoder.interactor.layers.1.self_attn.q_proj.weight" in caplog.text
    stages = random_stages()
    torch.testing.assert_close(model.decode(stages).logits, naive.decode(stages).logits)
    torch.save({"state_dict": state | {"net.other": torch.zeros(3)}}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="other is not in the model"):
        load_weights(model, tmp_path / "other.ckpt")


@pytest.mark.parametrize(
    ("options", "has_aux", "has_dictionary"),
    [
        ({}, True, True),
        ({"aux": False}, False, True),
        ({"generator": False}, False, False),
        ({"embeddings": "ones", "aux": False}, False, True),
        ({"embeddings": "zeros", "aux": False}, False, True),
    ],
)
def test_ablations(options, has_aux, has_dictionary):
    model = D2LS(4, "test_convnext", weights=None, dim=32, layers=1, **options)
    labels = torch.randint(0, 4, (2, 64, 64))
    output = model(torch.randn(2, 3, 64, 64))
    assert (output.aux_logits is not None) == has_aux
    assert bool(output.class_embeddings) == has_dictionary
    parts = D2LSLoss(255)(output, labels)
    optional = {"aux_ce": has_aux, "contrastive": has_dictionary}
    assert parts.keys() == {"ce", "dice", *(name for name, has in optional.items() if has)}
    sum(parts.values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    # Classes are told apart.
    assert output.logits.std(dim=1).mean() > 0


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"layers": 0}, "layers"),
        ({"dim": 100}, "dim"),
        ({"embeddings": "twos"}, "embeddings"),
        ({"embeddings": "ones"}, "aux"),
        ({"embeddings": "zeros", "aux": False, "generator": False}, "generator"),
    ],
)
def test_values_out_of_range(options, name):
    with pytest.raises(InputError, match=rf"model\.{name}="):
        D2LS(4, "test_convnext", weights=None, **options)


def test_loss_by_hand():
    """Intra over inter of a toy dictionary; 0 for one image and for equal images; scale-free."""
    dictionary = torch.tensor([[[0.0, 0.0], [4.0, 0.0]], [[2.0, 0.0], [4.0, 2.0]]])
    # Class means (1, 0) and (4, 1): every vector is 1 away from its own; they are 10 apart.
    assert fisher_loss(dictionary, pairwise=True).item() == pytest.approx(1 / 10, rel=1e-5)
    assert fisher_loss(7 * dictionary, pairwise=True).item() == pytest.approx(1 / 10, rel=1e-5)
    assert fisher_loss(dictionary[:1], pairwise=True) == 0
    assert fisher_loss(dictionary[:1].repeat(3, 1, 1), pairwise=True) == 0
