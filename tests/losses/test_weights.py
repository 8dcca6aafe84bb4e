"""Weights of the classes: rules by hand, their limit and mean, and the losses that use them."""

import pytest
import torch
import torch.nn.functional as nnf
from hypothesis import given, settings
from hypothesis import strategies as st

from network.config import default_settings, override
from network.errors import InputError
from network.losses.bicor import BiCoRLoss
from network.losses.d2ls import D2LSLoss
from network.losses.joint import JointLoss
from network.losses.partial import PartialCrossEntropy
from network.losses.pixel import cross_entropy, cross_entropy_and_dice
from network.losses.weights import RULES, class_weights
from network.models.output import SegOutput

IGNORE = 255
COUNTS = st.lists(st.integers(0, 10**10), min_size=2, max_size=9).filter(any)


@pytest.mark.parametrize(
    ("rule", "shares"),
    [
        ("inverse", [1, 1 / 4, 1 / 100]),
        ("sqrt_inverse", [1, 1 / 2, 1 / 10]),
        ("effective", [1 / (1 - 0.9999**n) for n in (10, 40, 1000)]),
    ],
)
def test_rules(rule, shares):
    """In the ratios of the rule; a class without pixels weighs as much as the rarest one."""
    weights = [*shares, shares[0]]
    expected = [3 * weight / sum(shares) for weight in weights]
    found = class_weights([10, 40, 1000, 0], rule, mean="classes")
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    pixels = 10 * weights[0] + 40 * weights[1] + 1000 * weights[2]
    expected = [1050 * weight / pixels for weight in weights]
    assert class_weights([10, 40, 1000, 0], rule).tolist() == pytest.approx(expected, rel=1e-5)


def test_published_weights():
    """Potsdam's six, from the frequencies that they imply (to the three digits of these)."""
    frequencies = [0.255, 0.271, 0.258, 0.134, 0.0171, 0.0653]
    published = [0.2540, 0.2386, 0.2505, 0.4837, 3.7825, 0.9907]
    counts = [round(1e6 * f) for f in frequencies]
    found = class_weights(counts, "inverse", mean="classes")
    assert found.tolist() == pytest.approx(published, rel=0.02)


def test_drone_tiles_by_hand():
    """Shares of 64.7, 2.6, 30.4, 2.2 and 0.1 %: inverse frequencies would differ by 647."""
    counts = [647, 26, 304, 22, 1]
    raw = torch.tensor([1, 10, 647 / 304, 10, 10], dtype=torch.float64)
    expected = raw * 1000 / (raw * torch.tensor(counts)).sum()
    found = class_weights(counts, "inverse", max_ratio=10)
    torch.testing.assert_close(found, expected.float())
    unlimited = class_weights(counts, "inverse")
    assert (unlimited.max() / unlimited.min()).item() == pytest.approx(647)


@settings(deadline=None, max_examples=60)
@given(counts=COUNTS, rule=st.sampled_from(list(RULES)), ratio=st.floats(1, 100))
def test_mean_and_limit(counts, rule, ratio):
    counts = torch.tensor(counts, dtype=torch.float64)
    found = class_weights(counts, rule, ratio).double()
    assert (found * counts).sum() / counts.sum() == pytest.approx(1, rel=1e-5)
    assert found.max() / found.min() <= ratio * (1 + 1e-5)
    order = counts[counts > 0].argsort()
    assert found[counts > 0][order].diff().max().item() <= 1e-5 if len(order) > 1 else True
    assert torch.equal(class_weights(counts, (3.0,) * len(counts)), torch.ones(len(counts)))


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    share=st.floats(0, 0.9),
    smoothing=st.sampled_from([0.0, 0.05, 0.3]),
)
def test_torchs_cross_entropy(seed, share, smoothing):
    """Torch's sum of weighted pixels over their number; its smoothing, weighted by pixel."""
    torch.manual_seed(seed)
    logits, weights = 3 * torch.randn(2, 4, 6, 5), torch.rand(4)
    labels = torch.randint(0, 4, (2, 6, 5))
    labels[torch.rand(labels.shape) < share] = IGNORE
    labels[0, 0, 0] = 1
    number = (labels != IGNORE).sum()
    pixels = nnf.cross_entropy(
        logits, labels, ignore_index=IGNORE, label_smoothing=smoothing, reduction="none"
    )
    own = torch.cat([weights, torch.zeros(252)])[labels]
    expected = (own * pixels).sum() / number
    ce, dice = cross_entropy_and_dice(logits, labels, IGNORE, smoothing, weights)
    torch.testing.assert_close(ce, expected)
    torch.testing.assert_close(cross_entropy(logits, labels, IGNORE, smoothing, weights), expected)
    assert torch.equal(dice, cross_entropy_and_dice(logits, labels, IGNORE)[1])
    if not smoothing:
        total = nnf.cross_entropy(logits, labels, weights, ignore_index=IGNORE, reduction="sum")
        torch.testing.assert_close(ce, total / number)
        # Torch's own mean, which divides by the weights in the batch.
        mean = nnf.cross_entropy(logits, labels, weights, ignore_index=IGNORE)
        torch.testing.assert_close(ce * number / own.sum(), mean)


def test_gradients():
    logits = torch.randn(1, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[[0, 1, IGNORE], [2, 1, 1]]])
    weights = torch.tensor([0.2, 3.0, 1.0], dtype=torch.float64)

    def total(x):
        ce, dice = cross_entropy_and_dice(x, labels, IGNORE, 0.05, weights)
        return ce + dice + cross_entropy(x, labels, IGNORE, 0.05, weights)

    assert torch.autograd.gradcheck(total, logits)


@pytest.mark.parametrize("kind", [JointLoss, BiCoRLoss, D2LSLoss])
def test_parts_of_a_loss(kind):
    """Both cross-entropies change, and nothing else; without weights nothing does."""
    labels = torch.randint(0, 3, (2, 8, 8))
    embeddings = torch.randn(2, 3, 4)
    output = SegOutput(
        torch.randn(2, 3, 8, 8),
        torch.randn(2, 3, 8, 8),
        [torch.randn(2, 3, 2, 2)],
        [embeddings],
    )
    plain, given = kind(IGNORE), kind(IGNORE, weights="inverse", max_ratio=3.0)
    assert plain.counted is None
    before = plain(output, labels)
    uncounted = given(output, labels)
    assert all(uncounted[name].equal(part) for name, part in before.items())
    given.set_class_counts([100, 10, 50])
    assert not given.state_dict()
    weights = torch.tensor([1.0, 3.0, 2.0]) * 160 / (100 + 30 + 100)
    torch.testing.assert_close(given.class_weights, weights)
    assert given.describe(("road", "house", "tree")) == "road 0.696, house 2.09, tree 1.39"
    parts = given(output, labels)
    assert parts.keys() == before.keys()
    changed = {name for name, part in parts.items() if not part.equal(before[name])}
    assert changed == {"ce", "aux_ce"}
    torch.testing.assert_close(
        parts["ce"], cross_entropy(output.logits, labels, IGNORE, 0.05, weights)
    )
    torch.testing.assert_close(
        parts["aux_ce"], 0.4 * cross_entropy(output.aux_logits, labels, IGNORE, 0.05, weights)
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": "invers"}, "loss.weights=invers.*did you mean 'inverse'"),
        ({"weights": (1.0, -1.0)}, "must be numbers of at least 0"),
        ({"weights": (0.0, 0.0)}, "some above 0"),
        ({"weights": (1.0, float("nan"))}, "must be numbers"),
        ({"max_ratio": 0.5}, "loss.max_ratio=0.5: must be at least 1, or None"),
    ],
)
def test_wrong_settings(options, words):
    for kind in (JointLoss, BiCoRLoss, D2LSLoss, PartialCrossEntropy):
        with pytest.raises(InputError, match=words):
            kind(IGNORE, **options)


def test_wrong_number_of_weights():
    loss = JointLoss(IGNORE, weights=(1.0, 2.0))
    with pytest.raises(InputError, match="2 numbers, but there are 3 classes"):
        loss.set_class_counts([5, 5, 5])
    with pytest.raises(InputError, match="no class with a weight above 0 has training pixels"):
        JointLoss(IGNORE, weights=(1.0, 0.0)).set_class_counts([0, 5])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("None", None),
        ("sqrt_inverse", "sqrt_inverse"),
        ("(1,2,3.5)", (1.0, 2.0, 3.5)),
        ("1,2,1", (1.0, 2.0, 1.0)),
    ],
)
def test_on_a_command_line(tiny, text, expected):
    found = override(tiny, [f"loss.weights={text}"])
    assert found.loss.keywords["weights"] == expected
    assert default_settings(found)["loss.weights"] is None
    assert found.loss().weights == expected
