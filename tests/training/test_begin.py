"""Beginning with trained weights: what is taken, class by class, and what says so afterwards."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from network.benchmark.naive_bicor import NaiveBiCoR
from network.datasets.info import LOVEDA, VAIHINGEN
from network.errors import InputError
from network.evaluation.protocol import (
    CLASSES_KEY,
    DATA_SET_KEY,
    INIT_KEY,
    TrainingRecord,
)
from network.models.adaptation import merge_lora
from network.models.bicor import BiCoRSeg
from network.models.checkpoint import SETTINGS_KEY
from network.models.d2ls import D2LS
from network.models.smp import SMPSegmenter
from network.models.unetformer import UNetFormer
from network.settings import IMAGENET_MEAN, IMAGENET_STD, Optim
from network.training.begin import begin_with, normalized_as
from network.training.train import train, train_once
from network.writing import file_hash

INIT = Path("init.ckpt")


def saved(model: nn.Module, classes=None, **settings) -> nn.Module:
    """Save ``model`` as a run of these classes does."""
    known = {CLASSES_KEY: list(classes), **settings} if classes else settings
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, SETTINGS_KEY: known}, INIT)
    return model


def small(classes: int, **options) -> BiCoRSeg:
    return BiCoRSeg(classes, "test_convnext", weights=None, dim=32, **options)


def test_everything_of_the_same_network(tiny):
    source = saved(small(6), VAIHINGEN.classes)
    model, begun = begin_with(tiny, INIT)
    assert begun.taken.anew == []
    assert str(begun.taken).endswith("; nothing starts anew")
    for name, value in model.state_dict().items():
        assert value.equal(source.state_dict()[name])


def test_the_normalization_of_the_same_encoder(tiny):
    """Its weights expect their own; another encoder, and values in the config, come first."""
    model = partial(BiCoRSeg, 6, encoder="test_convnext", weights=None, dim=32)
    tiny = replace(tiny, model=model)
    shares = {"data.mean": IMAGENET_MEAN, "data.std": IMAGENET_STD}
    saved(small(6), VAIHINGEN.classes, **shares, **{"model.encoder": "test_convnext"})
    assert normalized_as(tiny, INIT).mean_and_std == (IMAGENET_MEAN, IMAGENET_STD)
    other = replace(tiny, model=partial(model, encoder="test_nfnet"))
    assert normalized_as(other, INIT) == other
    # A share of the largest value of 8 bits says nothing about 16 bits.
    wide = replace(tiny, dataset=replace(VAIHINGEN, bits=16))
    assert normalized_as(wide, INIT) == wide
    given = replace(tiny, data=replace(tiny.data, mean=(0.1, 0.2, 0.3)))
    assert normalized_as(given, INIT).mean_and_std == ((0.1, 0.2, 0.3), IMAGENET_STD)


@pytest.mark.parametrize(
    "build",
    [
        partial(BiCoRSeg, encoder="test_convnext", weights=None, dim=32),
        partial(D2LS, encoder="test_convnext", weights=None, dim=32),
        partial(UNetFormer, encoder="test_resnet", weights=None),
        partial(SMPSegmenter, architecture="fpn", encoder="test_resnet", weights=None),
    ],
)
def test_equal_classes_keep_their_rows(tiny, build):
    """ImSurf, Building, LowVeg, Tree, Car, Clutter from Tree, Building, Water: rows 1 and 3."""
    source = saved(build(3), ("Tree", "Building", "Water")).state_dict()
    model, begun = begin_with(replace(tiny, model=partial(build, 6)), INIT)
    assert begun.taken.anew == []
    assert begun.taken.classes == ["Building", "Tree"]
    found, checked = model.state_dict(), 0
    for name, value in source.items():
        if value.shape == found[name].shape:
            assert found[name].equal(value)
            continue
        (dim,) = [d for d in range(value.ndim) if value.shape[d] != found[name].shape[d]]
        theirs, own = value.unflatten(dim, (3, -1)), found[name].unflatten(dim, (6, -1))
        assert own.select(dim, 1).equal(theirs.select(dim, 1))
        assert own.select(dim, 3).equal(theirs.select(dim, 0))
        assert name in begun.taken.by_class
        checked += 1
    assert checked


def factory(num_classes: int) -> BiCoRSeg:
    return small(num_classes)


@pytest.mark.parametrize("build", [partial(factory, 6), lambda: small(6)])
def test_as_many_classes_in_another_order(tiny, build):
    """Sizes tell nothing then: names do, also where nobody can ask for another number."""
    order = [5, 0, 3, 1, 4, 2]
    source = saved(small(6), [VAIHINGEN.classes[label] for label in order]).state_dict()
    model, _ = begin_with(replace(tiny, model=build), INIT)
    found = model.state_dict()
    for label, theirs in enumerate(order):
        assert found["class_embeddings"][theirs].equal(source["class_embeddings"][label])
    assert found["layers.0.query.weight"].equal(source["layers.0.query.weight"])


def test_weight_and_bias_of_a_head_in_another_order(tiny):
    build = partial(SMPSegmenter, 6, "fpn", "test_resnet", weights=None)
    source = saved(build(), VAIHINGEN.classes[::-1]).state_dict()
    model, begun = begin_with(replace(tiny, model=build), INIT)
    found = model.state_dict()
    assert len(begun.taken.by_class) == 2
    for name in begun.taken.by_class:
        assert found[name].equal(source[name].flip(0))


def test_other_classes_start_anew(tiny):
    saved(small(7), LOVEDA.classes)
    _, begun = begin_with(tiny, INIT)
    shared = set(LOVEDA.classes) & set(VAIHINGEN.classes)
    assert set(begun.taken.classes) == shared
    saved(small(2), ("Up", "Down"))
    _, begun = begin_with(tiny, INIT)
    assert "class_embeddings" in begun.taken.anew
    assert begun.taken.by_class == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vaihingen", "other"])
def test_classes_that_were_not_written_down(tiny, name):
    """As many classes are taken to be the same; of another number, none."""
    source = saved(small(6), **{DATA_SET_KEY: name})
    model, begun = begin_with(tiny, INIT)
    assert model.class_embeddings.equal(source.class_embeddings)
    saved(small(7), **{DATA_SET_KEY: name})
    _, begun = begin_with(tiny, INIT)
    assert "class_embeddings" in begun.taken.anew


@pytest.mark.slow
def test_a_released_checkpoint(tiny):
    features = torchvision.models.convnext_tiny().features
    released = NaiveBiCoR(4, features, [96, 192, 384, 768], 32, [0.02, 0.02])
    torch.save({"state_dict": {f"net.{k}": v for k, v in released.state_dict().items()}}, INIT)
    build = partial(BiCoRSeg, 6, "convnext_tiny", weights=None, dim=32)
    model, begun = begin_with(replace(tiny, model=build), INIT)
    assert begun.taken.has_encoder
    assert model.state_dict()["layers.0.query.weight"].equal(
        released.state_dict()["decoder.bicor_stack.layers.0.dict_to_feat.weight"]
    )


def test_a_foreign_one(tiny):
    """Under a name that nobody here knows, and compiled."""
    source = small(6)
    torch.save({f"segmentor._orig_mod.{k}": v for k, v in source.state_dict().items()}, INIT)
    model, begun = begin_with(tiny, INIT)
    assert begun.taken.anew == []
    assert model.class_embeddings.equal(source.class_embeddings)


@pytest.mark.slow
def test_another_encoder_is_fetched(tiny, monkeypatch):
    """Only then; offline that is the error of its download."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    saved(small(6), VAIHINGEN.classes)
    pretrained = partial(BiCoRSeg, 6, "test_convnext", dim=32)
    _, begun = begin_with(replace(tiny, model=pretrained), INIT)
    assert begun.taken.has_encoder
    other = partial(BiCoRSeg, 6, "convnext_tiny.fb_in1k", dim=32)
    with pytest.raises(InputError, match=r"ImageNet weights cannot be downloaded"):
        begin_with(replace(tiny, model=other), INIT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"model.fc.weight": torch.zeros(3)}, "nothing in it fits this model"),
        ({"model.class_embeddings": torch.full((6, 32), torch.nan)}, "is not finite"),
        ({"model.class_embeddings": torch.zeros(6, 32, dtype=torch.int64)}, "nothing in it fits"),
    ],
)
def test_what_cannot_be_begun_with(tiny, state, told):
    torch.save({"state_dict": state}, INIT)
    with pytest.raises(InputError, match=rf"init\.ckpt: .*{told}"):
        train(tiny, accelerator="cpu", init_from=INIT)
    assert {path.name for path in Path().iterdir()} == {"data", "init.ckpt"}


@pytest.mark.slow
def test_it_is_remembered(tiny, capsys):
    """In the checkpoints, also of the resumed run, and by every result."""
    seen = {"data.train": "val", DATA_SET_KEY: "vaihingen"}
    saved(small(6), VAIHINGEN.classes, **seen)
    sha = file_hash(INIT)
    run = train(tiny, accelerator="cpu", init_from=INIT)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("init.ckpt")]
    assert len(told) == 1
    assert "took" in told[0]
    longer = replace(tiny, optim=Optim(lr=1e-3, epochs=2))
    train(longer, accelerator="cpu", resume="latest")
    for name in ("best.ckpt", "last.ckpt"):
        known = torch.load(run / name, weights_only=True)[SETTINGS_KEY]
        assert known[INIT_KEY] == {"path": "init.ckpt", "sha256": sha, "settings": seen}
        assert known[CLASSES_KEY] == list(VAIHINGEN.classes)
    assert train_once(tiny, accelerator="cpu") != run
    with pytest.raises(InputError, match="init_from and resume"):
        train(longer, init_from=INIT, resume="latest")
    with pytest.raises(InputError, match=r"none\.ckpt: no such checkpoint"):
        train(longer, init_from=Path("none.ckpt"))


def test_results_tell_it():
    training = {"data.train": "train"}
    assert TrainingRecord(training).trained_on("vaihingen") == "train"
    training[INIT_KEY] = {"path": "a/init.ckpt", "sha256": "12345678" * 8}
    words = "train, begun with init.ckpt 12345678"
    assert TrainingRecord(training).trained_on("vaihingen") == words
    training["data.data_set"] = "potsdam"
    assert TrainingRecord(training).trained_on("vaihingen") == f"potsdam {words}"


def test_lora_begins_with_a_network_without_it(tiny):
    """Its encoder is taken whole, so no pretrained weights are needed; the updates are new."""
    source = saved(BiCoRSeg(6, "test_vit", None, dim=32), VAIHINGEN.classes).state_dict()
    model = partial(BiCoRSeg, 6, "test_vit", weights="imagenet", dim=32, lora=2)
    network, begun = begin_with(replace(tiny, model=model), INIT)
    assert len(begun.taken.whole) == len(source)
    assert all("lora_" in name for name in begun.taken.anew)
    assert all(value.equal(source[n]) for n, value in merge_lora(network).state_dict().items())


@pytest.mark.parametrize("options", [{}, {"lora": 4}, {"freeze": True}, {"lora": 2}])
def test_what_lora_learned_is_kept(tiny, options):
    """In a network without LoRA, with another rank and with the same one."""
    with_updates = BiCoRSeg(6, "test_vit", None, dim=32, lora=2)
    for name, value in with_updates.state_dict().items():
        if "lora_" in name:
            torch.nn.init.normal_(value)
    source = saved(with_updates, VAIHINGEN.classes)
    model = partial(BiCoRSeg, 6, "test_vit", weights="imagenet", dim=32, **options)
    network, begun = begin_with(replace(tiny, model=model), INIT)
    assert begun.taken.has_encoder
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected, found = (net.eval()(image).logits for net in (source, network))
    torch.testing.assert_close(found, expected)
