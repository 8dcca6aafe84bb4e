"""What a factory can be given, through ``**options`` too."""

import enum
import functools
from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from network import factories
from network.factories import by_name, given_by_position, is_plain, parameters, takes_any
from network.losses.bicor import BiCoRLoss
from network.models.bicor import BiCoRSeg


class Net(BiCoRSeg):
    def __init__(self, num_classes: int, extra: int = 3, **options):
        super().__init__(num_classes, **options)


class Narrow(Net):
    """Fixes what its parent could be given."""

    def __init__(self, num_classes: int, width: float = 1.0, **options):
        super().__init__(num_classes, dim=32, **options)


class Old(BiCoRSeg):
    """Calls its parent by name."""

    def __init__(self, num_classes: int, **options):
        BiCoRSeg.__init__(self, num_classes, **options)


class Heir(Narrow):
    """Has no constructor of its own."""


class Popping(BiCoRSeg):
    """What it does with its options cannot be read."""

    def __init__(self, num_classes: int, **options):
        options = {key: value for key, value in options.items() if key != "none"}
        super().__init__(num_classes, **options)


class Open(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.options = options


def build(num_classes: int, dim: int = 64, **options) -> BiCoRSeg:
    return Net(num_classes, dim=dim, **options)


def by_module(num_classes: int, **options) -> bool:
    return factories.is_plain(num_classes, **options)


def tuned(function):
    @functools.wraps(function)
    def inner(*args, **options):
        return function(*args, **options)

    return inner


@tuned
def decorated(num_classes: int, **options) -> BiCoRSeg:
    return build(num_classes, **options)


def unknown(num_classes: int, **options) -> BiCoRSeg:
    return {"net": BiCoRSeg}["net"](num_classes, **options)


def values(factory) -> dict:
    return {name: p.default for name, p in parameters(factory).items()}


PARENT = values(partial(BiCoRSeg, 6))


def test_a_class_without_options():
    assert PARENT["dim"] == 256
    assert PARENT["weights"] == "imagenet"
    assert parameters(BiCoRSeg)["num_classes"].annotation is int
    assert values(partial(BiCoRLoss, 6, fisher=0.2))["fisher"] == 0.2


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        (partial(Net, 6), {"extra": 3, **PARENT}),
        (partial(Net, 6, dim=32), {"extra": 3, **PARENT, "dim": 32}),
        (partial(partial(Net, 6, dim=32), extra=1), {"extra": 1, **PARENT, "dim": 32}),
        (
            partial(Narrow, 6),
            {"width": 1.0, "extra": 3, **{k: v for k, v in PARENT.items() if k != "dim"}},
        ),
        (
            partial(Heir, 6),
            {"width": 1.0, "extra": 3, **{k: v for k, v in PARENT.items() if k != "dim"}},
        ),
        (partial(Old, 6), PARENT),
        (partial(Popping, 6), PARENT),
        (partial(build, 6), {"extra": 3, **PARENT, "dim": 64}),
        (partial(build, 6, tau=2.0), {"extra": 3, **PARENT, "dim": 64, "tau": 2.0}),
        (partial(decorated, 6), {"extra": 3, **PARENT, "dim": 64}),
        (partial(unknown, 6, dim=32), {"dim": 32}),
        (partial(Open, depth=2), {"depth": 2}),
        (by_module, {"num_classes": parameters(by_module)["num_classes"].empty}),
        (partial(lambda k, **o: build(k, **o), 6, dim=8), {"extra": 3, **PARENT, "dim": 8}),
    ],
)
def test_options_are_followed(factory, expected):
    assert values(factory) == expected


def test_types_behind_options():
    found = parameters(partial(build, 6, encoder="test_convnext"))
    assert found["encoder"].annotation is str
    assert found["weights"].annotation == str | None
    assert found["topk_ratio"].annotation is float


def test_where_nobody_can_tell():
    assert takes_any(partial(unknown, 6))
    assert not takes_any(partial(build, 6))
    assert not takes_any(Heir)


class Word(enum.StrEnum):
    A = "a"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, True),
        (1.5, True),
        ((1, [True, {"a": "b"}]), True),
        (nn.ReLU, False),
        (nn.ReLU(), False),
        (Path("a"), False),
        (np.float64(1.0), False),
        (Word.A, False),
        ({"a": nn.ReLU}, False),
        (OrderedDict(), False),
        ({1, 2}, False),
    ],
)
def test_plain_values(value, expected):
    assert is_plain(value) is expected


def by_slash(num_classes, /, channels: int = 3):
    return num_classes, channels


def act(num_classes: int, layer: type = int, width: int = 4):
    return num_classes, layer, width


@pytest.mark.parametrize("factory", [partial(by_slash, 6), partial(act, 6, float), partial(act, 6)])
def test_what_stays_by_position(factory):
    """Parameters that take no names, and values that no checkpoint can store."""
    assert by_name(factory) is factory
    assert by_name(factory)() == factory()


def test_values_by_position_are_remembered():
    found = by_name(partial(act, 6, width=5))
    assert given_by_position(found) == {}
    found = by_name(partial(by_slash_free, 6, 7))
    assert given_by_position(partial(found, channels=8)) == {"channels": 7}
    assert found() == (6, 7)


def by_slash_free(num_classes, channels: int = 3):
    return num_classes, channels
