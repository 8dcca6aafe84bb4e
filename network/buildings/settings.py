"""The settings of the chain from image-level labels to building masks.

A config of it is a Python file that defines ``chain``. ``section.key=value`` on the command line
changes a setting, as in the configs of experiments.

Source: BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248); the defaults are those of its
released scripts unless said otherwise. What these do not tell is ours: how tiles are cut, the
threshold of the pseudo masks, and the network that is trained in the end.
"""

import dataclasses
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from network.buildings.crf import CRFS
from network.config import import_config
from network.datasets.preparation.patches import UNKNOWN_COLORS
from network.datasets.schema import DatasetInfo
from network.errors import InputError, nearest
from network.overrides import parse_overrides
from network.settings import require

MAPS = ("bac", "cam")


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """How images become tiles, and tiles get their label.

    Args:
        side: of the tiles, pixels; smaller images are tiles as they are. What is left at the right
            and at the bottom of training images is not used. Where ``labels`` names a list, images
            are not cut.
        positive_share: a tile shows a building if buildings cover at least this share of it. It
            shows none if they cover nothing. What lies between is left out, as are (ours) tiles of
            which less than half has a class.
        negatives: at most so many tiles without buildings are used for each one with some, drawn
            at random; by default all.
        seed: of this draw.
        unknown_color: a color of a mask that is no class is an ``"error"``, becomes the
            ``"nearest"`` class, or ``"ignore"`` leaves these pixels out.
        infrared: of whole tiles that come with infrared images too (Potsdam's IRRG), use these.
    """

    side: int = 256
    positive_share: float = 0.25
    negatives: float | None = None
    seed: int = 0
    unknown_color: str = "error"
    infrared: bool = False

    def __post_init__(self) -> None:
        require(self.side >= 32, "tiles.side", self.side, "at least 32")
        _require_share("tiles.positive_share", self.positive_share)
        require(self.positive_share > 0, "tiles.positive_share", self.positive_share, "above 0")
        negatives_fit = self.negatives is None or self.negatives > 0
        require(negatives_fit, "tiles.negatives", self.negatives, "above 0, or None")
        require(self.seed >= 0, "tiles.seed", self.seed, "at least 0")
        known = f"one of {', '.join(UNKNOWN_COLORS)}{nearest(self.unknown_color, UNKNOWN_COLORS)}"
        is_known = self.unknown_color in UNKNOWN_COLORS
        require(is_known, "tiles.unknown_color", self.unknown_color, known)


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """The classifier of tiles, and how it is trained: SGD, the rate falling as a power 0.9.

    Args:
        encoder, weights: see :class:`network.models.encoder.DenseEncoder`.
        encoder_lr, lr: learning rates of the encoder and of the last layer.
        momentum: of SGD. 1e-4 is what the released code has, where the exponent of the learning
            rate stands in the place of the momentum.
        long_sides: least and largest length that the longer side of a tile is resized to. That of
            the tiles lies between them: the maps are computed at that size and multiples of it.
        crop: side of the training crops, pixels.
    """

    encoder: str = "repvgg_b1g2"
    weights: str | None = "imagenet"
    encoder_lr: float = 0.01
    lr: float = 0.1
    momentum: float = 1e-4
    weight_decay: float = 1e-4
    epochs: int = 20
    batch_size: int = 16
    long_sides: tuple[int, int] = (192, 320)
    crop: int = 256

    def __post_init__(self) -> None:
        _require_training(self, "classifier")
        require(self.encoder_lr > 0, "classifier.encoder_lr", self.encoder_lr, "above 0")
        require(0 <= self.momentum < 1, "classifier.momentum", self.momentum, "0 to below 1")
        low, high = self.long_sides
        in_order = 0 < low <= high
        require(in_order, "classifier.long_sides", self.long_sides, "two lengths, least first")


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """Building-aware clustering of feature vectors into prototypes.

    Args:
        k: clusters of buildings, and as many of their surroundings.
        images: positive tiles that are drawn, with replacement.
        seed: of the draw and the first centers.
        max_vectors: about so many of each kind at most, an equal share of each of these tiles
            (ours: the released code keeps all).
        foreground: value of the activation map above which a vector belongs to a building.
        keep: probability, by the classifier, above which a building's cluster is one and below
            which a cluster of the surroundings is.
        context: whether the surroundings' clusters count.
        tolerance: squared sum of the centers' shifts below which they have settled.
        max_iterations: of k-means.
    """

    k: int = 20
    images: int = 3000
    seed: int = 3
    max_vectors: int = 200_000
    foreground: float = 0.1
    keep: float = 0.9
    context: bool = True
    tolerance: float = 5.0
    max_iterations: int = 100

    def __post_init__(self) -> None:
        for key in ("k", "images", "max_vectors", "max_iterations"):
            require(getattr(self, key) >= 1, f"clusters.{key}", getattr(self, key), "at least 1")
        for key in ("foreground", "keep"):
            _require_share(f"clusters.{key}", getattr(self, key))
        require(self.tolerance >= 0, "clusters.tolerance", self.tolerance, "at least 0")


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """Seeds of the refinement: building, background, and 255 where unsure.

    Args:
        maps: ``"bac"``, the expanded maps, or ``"cam"``.
        foreground, background: a pixel is a building's above the first, and the background's not
            above the second.
        crf: what cuts both along the edges of the image: ``"meanfield"`` or ``"none"``.
    """

    maps: str = "bac"
    foreground: float = 0.25
    background: float = 0.15
    crf: str = "meanfield"

    def __post_init__(self) -> None:
        require(self.maps in MAPS, "seeds.maps", self.maps, "bac or cam" + nearest(self.maps, MAPS))
        _require_thresholds("seeds", self.foreground, self.background)
        _require_crf("seeds.crf", self.crf)


@dataclass(frozen=True, kw_only=True)
class Refiner:
    """The activation refinement network, and how it is trained: Adam, constant rates.

    Args:
        encoder, weights: see :class:`network.models.encoder.DenseEncoder`.
        rates, dropout: see :class:`network.buildings.refiner.ActivationRefiner`.
        encoder_lr, lr: learning rates of the encoder and of all else.
        scales: least and largest factor that tiles are resized by, bilinear (the released code:
            cubic).
        epsilon: of the soft targets.
        consistency: weight of the multi-scale consistency.
        consistency_scales: factors on the crop whose predictions shall be as those of the crop.
        confidence: see :func:`network.buildings.losses.multi_scale_consistency`.
        oracle: keep the epoch that agrees best with the training tiles' truth, as the released
            code does, instead of the last. Such a result does not come from image labels alone.
    """

    encoder: str = "repvgg_b1g2"
    weights: str | None = "imagenet"
    rates: tuple[int, ...] = (6, 12, 18, 24)
    dropout: float = 0.1
    encoder_lr: float = 5e-5
    lr: float = 1e-3
    weight_decay: float = 1e-4
    epochs: int = 10
    batch_size: int = 16
    scales: tuple[float, float] = (0.5, 1.5)
    crop: int = 256
    epsilon: float = 0.15
    consistency: float = 1.0
    consistency_scales: tuple[float, ...] = (0.7, 1.5)
    confidence: float = 0.8
    oracle: bool = False

    def __post_init__(self) -> None:
        _require_training(self, "refiner")
        require(self.encoder_lr > 0, "refiner.encoder_lr", self.encoder_lr, "above 0")
        require(min(self.rates, default=0) > 0, "refiner.rates", self.rates, "one or more above 0")
        low, high = self.scales
        require(0 < low <= high, "refiner.scales", self.scales, "two factors, least first")
        require(0 <= self.dropout < 1, "refiner.dropout", self.dropout, "0 to below 1")
        require(0 <= self.epsilon < 0.5, "refiner.epsilon", self.epsilon, "0 to below 0.5")
        require(self.consistency >= 0, "refiner.consistency", self.consistency, "at least 0")
        fits = min(self.consistency_scales, default=1) > 0
        require(fits, "refiner.consistency_scales", self.consistency_scales, "factors above 0")
        _require_share("refiner.confidence", self.confidence)


@dataclass(frozen=True, kw_only=True)
class Pseudo:
    """Pseudo masks from the refined maps.

    Args:
        threshold: a pixel above it is a building's; in hundredths. Without a CRF alone.
        oracle: take the threshold that agrees best with the training tiles' truth instead.
        crf: ``"meanfield"``: cut along the edges of the image, pixels between ``background`` and
            ``foreground`` becoming 255; or ``"none"``, which is the default of the released code.
        foreground, background: see :class:`Seeds`; with a CRF alone.
    """

    threshold: float = 0.65
    oracle: bool = False
    crf: str = "none"
    foreground: float = 0.45
    background: float = 0.15

    def __post_init__(self) -> None:
        _require_share("pseudo.threshold", self.threshold)
        is_hundredth = abs(100 * self.threshold - round(100 * self.threshold)) < 1e-6
        require(is_hundredth, "pseudo.threshold", self.threshold, "a multiple of 0.01")
        _require_thresholds("pseudo", self.foreground, self.background)
        _require_crf("pseudo.crf", self.crf)
        if self.oracle and self.crf != "none":
            raise InputError(
                "pseudo.oracle=True",
                f"chooses a threshold, and pseudo.crf={self.crf} has none",
                "give pseudo.crf=none",
            )


@dataclass(frozen=True, kw_only=True)
class Final:
    """The network that is trained on the pseudo masks in the end.

    Args:
        config: an experiment on the data set ``building``.
        overrides: of its settings, such as ``("optim.epochs=5",)``; the seed and the workers are
            those of the chain.
    """

    config: str = "config/building/deeplabv3plus.py"
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chain:
    """From image-level labels to building masks.

    Args:
        dataset: facts of the images; three bands of 8 bits.
        building: the class that counts as building.
        root: folder of the data; by default the data set's own.
        train, test: splits. Of ``train`` the masks give the image labels and, in the end, scores;
            with ``test=None`` no network is tested in the end.
        labels: a CSV with the columns ``name`` and ``label`` (0 or 1), one row a training image:
            then the images are the tiles, these their labels, and no mask is needed for them.
        mask_value: of the building pixels, in gray masks that have other values than the classes,
            such as 0 and 255.
        scales: factors on a tile, whose maps are put together: of CAM, BAC and the refined maps.
        batch_size: tiles at once where nothing is trained.
        workers: processes that load tiles.
        seed: of weights, augmentation and order.
        config: the file that it was loaded from; set by :func:`load_chain`.
    """

    dataset: DatasetInfo
    building: str
    root: str | None = None
    train: str = "train"
    test: str | None = "test"
    labels: str | None = None
    mask_value: int | None = None
    tiles: Tiles = field(default_factory=Tiles)
    classifier: Classifier = field(default_factory=Classifier)
    clusters: Clusters = field(default_factory=Clusters)
    seeds: Seeds = field(default_factory=Seeds)
    refiner: Refiner = field(default_factory=Refiner)
    pseudo: Pseudo = field(default_factory=Pseudo)
    final: Final = field(default_factory=Final)
    scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0)
    batch_size: int = 16
    workers: int = 2
    seed: int = 42
    config: str = ""

    def __post_init__(self) -> None:
        info = self.dataset
        for key in ("train", "test"):
            split = getattr(self, key)
            if split is not None and split not in info.splits:
                raise InputError(
                    f"{key}={split}", f"{info.name} has no such split{nearest(split, info.splits)}"
                )
        if self.building not in info.classes:
            raise InputError(
                f"building={self.building}",
                f"no class of {info.name}{nearest(self.building, info.classes)}",
            )
        if not info.is_rgb8:
            raise InputError(
                f"{info.name} has {info.bands} bands of {info.bits} bits; the chain from image "
                "labels takes three of 8"
            )
        if self.test and self._folders(self.train) & self._folders(self.test):
            raise InputError(
                f"test={self.test}", f"shares images with train={self.train}", "take another split"
            )
        if self.labels and info.tiles:
            raise InputError(
                f"labels={self.labels}",
                f"{info.name} is of whole tiles, which have no single label",
                "cut them, and describe the folders by a data set of their own",
            )
        if self.labels and self.is_oracle:
            raise InputError(
                f"labels={self.labels}",
                "without masks of the training tiles there is no truth to choose by",
                "leave oracle=True and the settings *.oracle out",
            )
        value_fits = self.mask_value is None or 0 <= self.mask_value <= 255
        require(value_fits, "mask_value", self.mask_value, "0 to 255")
        fits = bool(self.scales) and min(self.scales) > 0
        require(fits, "scales", self.scales, "one or more factors above 0")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        require(self.workers >= 0, "workers", self.workers, "at least 0")
        require(self.seed >= 0, "seed", self.seed, "at least 0")

    @property
    def data_root(self) -> Path:
        return Path(self.root or self.dataset.root)

    def _folders(self, split: str) -> set[str]:
        """Of the images of a split."""
        if self.dataset.tiles:
            return {split}
        return {folder.images for folder in self.dataset.splits[split]}

    @property
    def is_oracle(self) -> bool:
        """Whether training truth chooses anything."""
        return self.refiner.oracle or self.pseudo.oracle


SECTIONS = (Tiles, Classifier, Clusters, Seeds, Refiner, Pseudo, Final)
_PLAIN = (
    *("root", "train", "test", "labels", "mask_value"),
    *("scales", "batch_size", "workers", "seed"),
)


def load_chain(path: str | Path, overrides: Sequence[str] = ()) -> Chain:
    """The chain of a config file, changed by ``key=value`` overrides.

    Raises:
        InputError: the file is missing, is not Python or has no ``chain``; a field or an override
            is misspelt or has a value of the wrong type.
    """
    path = Path(path)
    chain = getattr(import_config(path, (Chain, *SECTIONS)), "chain", None)
    if not isinstance(chain, Chain):
        raise InputError(path, "defines no 'chain = Chain(...)'", "see config/weak/")
    hints = typing.get_type_hints(Chain)
    types: dict[str, Any] = {key: hints[key] for key in _PLAIN}
    for section in _section_names():
        of_section = typing.get_type_hints(hints[section])
        types |= {f"{section}.{key}": hint for key, hint in of_section.items()}
    values = parse_overrides(overrides, types)
    changes = values.pop("", {})
    for section, changed in values.items():
        changes[section] = replace(getattr(chain, section), **changed)
    changes.setdefault("root", chain.root or chain.dataset.root)
    return replace(chain, **changes, config=path.as_posix())


def settings_of(chain: Chain, keys: Sequence[str]) -> dict[str, Any]:
    """Settings by the key that overrides them, as JSON gives them back.

    Args:
        keys: of the chain's attributes; a section gives all its settings.
    """
    found: dict[str, Any] = {}
    for key in keys:
        value = getattr(chain, key)
        if isinstance(value, DatasetInfo):
            found[key] = value.name
        elif isinstance(value, SECTIONS):
            found |= {f"{key}.{name}": v for name, v in dataclasses.asdict(value).items()}
        else:
            found[key] = value
    return {key: list(v) if isinstance(v, tuple) else v for key, v in found.items()}


def _section_names() -> list[str]:
    return [f.name for f in dataclasses.fields(Chain) if f.type in SECTIONS]


def _require_training(section: Any, name: str) -> None:
    for key in ("epochs", "batch_size", "crop"):
        require(getattr(section, key) >= 1, f"{name}.{key}", getattr(section, key), "at least 1")
    require(section.lr > 0, f"{name}.lr", section.lr, "above 0")
    decay = section.weight_decay
    require(decay >= 0, f"{name}.weight_decay", decay, "at least 0")


def _require_share(key: str, value: float) -> None:
    require(0 <= value <= 1, key, value, "0 to 1")


def _require_thresholds(name: str, foreground: float, background: float) -> None:
    _require_share(f"{name}.foreground", foreground)
    fits = 0 <= background <= foreground
    require(fits, f"{name}.background", background, f"0 to {name}.foreground, {foreground}")


def _require_crf(key: str, value: str) -> None:
    known = ("none", *CRFS)
    require(value in known, key, value, f"one of {', '.join(known)}{nearest(value, known)}")
