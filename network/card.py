"""The card of a trained network, with which a checkpoint can be used without a config."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from network.config import Experiment
from network.datasets.schema import D4Views, DatasetInfo
from network.errors import InputError
from network.factories import arguments, innermost, is_plain
from network.settings import Compute

if TYPE_CHECKING:
    from torch import nn

CARD_KEY = "card"
"""The name of the card in a checkpoint."""

_BUILDABLE = "network.models."
"""Only classes of these modules are built by their name in a file. Otherwise a name could run any
installed code."""

_NEED_CONFIG = "give the config that it was trained with, config=..."


@dataclass(frozen=True, kw_only=True)
class Card:
    """The facts that are needed to predict with a trained network.

    Attributes:
        model: module and class of the network, ``"network.models.bicor:BiCoRSeg"``; None if it is
            defined in a config or in a user's own code.
        settings: arguments of the class, without pretrained weights.
        data_set: name of the data set of the training.
        classes: names of the classes, by label.
        palette: red, green and blue of each class, 0 to 255.
        ignore_index: label of pixels without a class.
        bands: number of bands of each image.
        bits: number of bits of each value.
        rgb_bands: positions of red, green and blue among the bands.
        exif_orientation: see :class:`DatasetInfo`.
        mean: mean of each band, in pixel values.
        std: standard deviation of each band, in pixel values.
        d4: vertical flip, rotations and scales of the views that are called ``d4``.
        precision: precision of the training.
        values: kind of the pixel values, see :class:`DatasetInfo`; older checkpoints do not have
            it, and are all for unsigned ones.
        ground_resolution: meters per pixel of the training images; None if unknown.
        plane_resolution: the same in the plane of their reference system, which differs in Web
            Mercator. Older checkpoints do not have it: their ``ground_resolution`` is in the plane.
    """

    model: str | None
    settings: dict[str, Any]
    data_set: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_index: int
    bands: int
    bits: int
    rgb_bands: tuple[int, ...]
    exif_orientation: str | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    d4: dict[str, Any]
    precision: str
    values: str = "unsigned"
    ground_resolution: float | None = None
    plane_resolution: float | None = None

    @property
    def info(self) -> DatasetInfo:
        """Description of the data set, with the facts that predictions depend on.

        Raises:
            ValueError: the facts do not fit together.
        """
        return DatasetInfo(
            name=self.data_set,
            root="",
            classes=_distinct(self.classes),
            palette=self.palette,
            ignore_index=self.ignore_index,
            splits={},
            bands=self.bands,
            bits=self.bits,
            values=self.values,
            rgb_bands=self.rgb_bands,
            exif_orientation=self.exif_orientation,
            d4=TypeAdapter(D4Views).validate_python(self.d4),
        )

    @property
    def compute(self) -> Compute:
        """The settings of the computation, with full precision; a caller may choose others."""
        return Compute(precision="64-true" if self.precision == "64-true" else "32-true")

    def to_plain(self) -> dict[str, Any]:
        """Convert the card to plain values, the form in a checkpoint."""
        return asdict(self)


def make_card(
    experiment: Experiment,
    ground_resolution: float | None = None,
    plane_resolution: float | None = None,
) -> Card:
    """Make the card for the network of an experiment.

    Args:
        experiment: the experiment.
        ground_resolution: meters per pixel of the training images, if known.
        plane_resolution: the same in the plane of their reference system.
    """
    info = experiment.dataset
    mean, std = experiment.normalization
    name, settings = _describe(experiment)
    return Card(
        model=name,
        settings=settings,
        data_set=info.name,
        classes=info.classes,
        palette=info.palette,
        ignore_index=info.ignore_index,
        bands=info.bands,
        bits=info.bits,
        values=info.values,
        rgb_bands=info.rgb_bands,
        exif_orientation=info.exif_orientation,
        mean=mean,
        std=std,
        d4=asdict(info.d4),
        precision=experiment.compute.precision,
        ground_resolution=ground_resolution,
        plane_resolution=plane_resolution,
    )


def _describe(experiment: Experiment) -> tuple[str | None, dict[str, Any]]:
    """Find the name of the network's class and its settings.

    The name is None if the class can be found by no name, or if its settings are not plain values.
    """
    found = innermost(experiment.model)
    if not inspect.isclass(found) or not found.__module__.startswith(_BUILDABLE):
        return None, {}
    settings = arguments(experiment.model)
    if "weights" in settings:
        settings["weights"] = None
    if not is_plain(settings):
        return None, {}
    return f"{found.__module__}:{found.__qualname__}", settings


def read_card(checkpoint: Mapping[str, Any], path: Path) -> Card:
    """Read the card in a checkpoint.

    Args:
        checkpoint: content of the checkpoint.
        path: path of the checkpoint, for an error.

    Raises:
        InputError: there is no card, or it is damaged.
    """
    plain = checkpoint.get(CARD_KEY)
    if plain is None:
        raise InputError(
            path,
            "does not say how its network is built, as it was written by older code",
            f"{_NEED_CONFIG}",
        )
    try:
        return parse_card(plain)
    except ValueError as error:
        reason = "" if isinstance(error, ValidationError) else f" ({error})"
        raise InputError(path, f"its card is damaged{reason}", f"{_NEED_CONFIG}") from error


def _distinct(classes: Sequence[str]) -> tuple[str, ...]:
    """Number the names that occur again, which older checkpoints may have."""
    found = []
    for place, name in enumerate(classes):
        number = classes[:place].count(name) + 1
        is_clear = number == 1 and name.strip()
        found.append(name if is_clear else f"{name} {number}".strip())
    return tuple(found)


def parse_card(plain: object) -> Card:
    """Make a card from its plain values.

    Raises:
        ValueError: a value is missing or has another type, or the facts do not fit together.
    """
    card = TypeAdapter(Card).validate_python(plain)
    if not len(card.mean) == len(card.std) == card.info.bands or min(card.std) <= 0:
        raise ValueError("mean and std do not fit the bands")
    return card


def build_from(card: Card, path: Path) -> "nn.Module":
    """Build the network of a card, without its weights.

    Args:
        card: the card.
        path: path of the checkpoint, for an error.

    Raises:
        InputError: the class is not part of this project, or does not accept the settings.
    """
    if card.model is None or not card.model.startswith(_BUILDABLE):
        raise InputError(
            path, f"its network is not one of {_BUILDABLE.rstrip('.')}", f"{_NEED_CONFIG}"
        )
    from torch import nn  # not above: a card is also that of a file that runs without torch

    module_name, _, name = card.model.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            path, f"this project has no network {card.model}", f"{_NEED_CONFIG}"
        ) from error
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise InputError(path, f"{card.model} is no network", f"{_NEED_CONFIG}")
    try:
        return found(**card.settings)
    except TypeError as error:
        raise InputError(path, f"{card.model} has other settings ({error})") from error
