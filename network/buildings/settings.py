"""Settings of the chain from image-level labels to building masks.

Its config is a Python file that defines ``chain``. As for experiments, ``section.key=value`` on the
command line changes a setting.

Source: BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248). The defaults are those of its
released scripts unless said otherwise. The scripts do not say how tiles are cut, which threshold
the pseudo masks have, and which network is trained in the end, so we chose these.
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
from network.settings import check_types, require

MAPS = ("bac", "cam")


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Settings that say how images are cut into tiles, and how tiles get their labels.

    Args:
        side: side of the tiles in pixels. A smaller image is one tile. A rest at the right and at
            the bottom of training images is not used. If ``Chain.labels`` names a list, training
            images are not cut.
        positive_share: a tile is positive if buildings cover at least this share of it, and
            negative if they cover nothing. Other tiles are left out. We also leave out tiles of
            which less than half has a class.
        negatives: largest number of negative tiles for each positive one; they are drawn at
            random. By default all are used.
        seed: seed of this draw.
        unknown_color: what to do with mask colors that are no class. ``"error"`` raises an error,
            ``"nearest"`` takes the class with the nearest color, and ``"ignore"`` ignores the
            pixels.
        infrared: whether to use the infrared images (Potsdam's IRRG), if whole tiles have them.
    """

    side: int = 256
    positive_share: float = 0.25
    negatives: float | None = None
    seed: int = 0
    unknown_color: str = "error"
    infrared: bool = False

    def __post_init__(self) -> None:
        check_types("tiles", self)
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
    """Settings of the classifier of tiles and its training by SGD with a polynomial rate (0.9).

    Args:
        encoder: name of the encoder, see :class:`network.models.encoder.DenseEncoder`.
        weights: its pretrained weights; None to start from scratch.
        encoder_lr: learning rate of the encoder.
        lr: learning rate of the last layer.
        momentum: momentum of SGD. The default 1e-4 is what SGD gets in the released code: the
            optimizer there passes its weight decay to SGD as momentum, and uses its argument
            ``momentum`` (0.9) as the exponent of the learning-rate schedule.
        weight_decay: weight decay of all parameters.
        epochs: number of passes over the tiles.
        batch_size: tiles in a training step.
        long_sides: smallest and largest length in pixels to which the longer side of a tile is
            resized. The longer side of the tiles must lie between them, since the maps are computed
            at the tiles' size and at multiples of it.
        crop: side of the training crops, in pixels.
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
        check_types("classifier", self)
        _require_training(self, "classifier")
        require(self.encoder_lr > 0, "classifier.encoder_lr", self.encoder_lr, "above 0")
        require(0 <= self.momentum < 1, "classifier.momentum", self.momentum, "0 to below 1")
        low, high = self.long_sides
        in_order = 0 < low <= high
        require(in_order, "classifier.long_sides", self.long_sides, "two lengths, least first")


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """Settings of the clustering of feature vectors into prototypes.

    Args:
        k: number of clusters of buildings, and also of their surroundings.
        images: number of positive tiles that are drawn, with replacement.
        seed: seed of the draw and of the first centers.
        max_vectors: approximate largest number of vectors of each kind, with an equal share from
            each tile. This limit is ours; the released code keeps all vectors.
        foreground: value of the activation map above which a vector belongs to a building.
        keep: the classifier's probability of a building above which a cluster of buildings counts,
            and below which a cluster of the surroundings counts.
        context: whether the clusters of the surroundings count.
        tolerance: squared sum of the centers' shifts below which k-means stops.
        max_iterations: largest number of iterations of k-means.
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
        check_types("clusters", self)
        for key in ("k", "images", "max_vectors", "max_iterations"):
            require(getattr(self, key) >= 1, f"clusters.{key}", getattr(self, key), "at least 1")
        for key in ("foreground", "keep"):
            _require_share(f"clusters.{key}", getattr(self, key))
        require(self.seed >= 0, "clusters.seed", self.seed, "at least 0")
        require(self.tolerance >= 0, "clusters.tolerance", self.tolerance, "at least 0")


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """Settings of the seeds of the refinement (building, background, and 255 for unsure pixels).

    Args:
        maps: the maps to use, ``"bac"`` for the expanded maps or ``"cam"``.
        foreground: a pixel above this value is building.
        background: a pixel not above this value is background.
        crf: solver that moves the borders to the edges of the image, ``"meanfield"`` or ``"none"``.
    """

    maps: str = "bac"
    foreground: float = 0.25
    background: float = 0.15
    crf: str = "meanfield"

    def __post_init__(self) -> None:
        check_types("seeds", self)
        require(self.maps in MAPS, "seeds.maps", self.maps, "bac or cam" + nearest(self.maps, MAPS))
        _require_thresholds("seeds", self.foreground, self.background)
        _require_crf("seeds.crf", self.crf)


@dataclass(frozen=True, kw_only=True)
class Refiner:
    """Settings of the refinement network and its training by Adam with constant rates.

    Args:
        encoder: name of the encoder, see :class:`network.models.encoder.DenseEncoder`.
        weights: its pretrained weights; None to start from scratch.
        rates: dilations of the convolutions whose outputs are summed.
        dropout: probability of dropout in the features.
        encoder_lr: learning rate of the encoder.
        lr: learning rate of all other layers.
        weight_decay: weight decay of all parameters.
        epochs: number of passes over the tiles.
        batch_size: tiles in a training step.
        scales: smallest and largest factor by which tiles are resized. We resize by bilinear
            interpolation, the released code by cubic interpolation.
        crop: side of the training crops, in pixels.
        epsilon: share of the other class in the soft targets.
        consistency: weight of the multi-scale consistency loss.
        consistency_scales: factors on the crop, at which the predictions should be the same.
        confidence: probability that an image must reach to count in the consistency loss.
        oracle: whether to keep the epoch that agrees best with the true masks of the training
            tiles, as the released code does, instead of the last one. Such a result does not come
            from image labels alone.
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
        check_types("refiner", self)
        _require_training(self, "refiner")
        require(self.encoder_lr > 0, "refiner.encoder_lr", self.encoder_lr, "above 0")
        require(min(self.rates, default=0) > 0, "refiner.rates", self.rates, "one or more above 0")
        low, high = self.scales
        require(0 < low <= high, "refiner.scales", self.scales, "two factors, least first")
        require(0 <= self.dropout < 1, "refiner.dropout", self.dropout, "0 to below 1")
        require(0 <= self.epsilon < 0.5, "refiner.epsilon", self.epsilon, "0 to below 0.5")
        require(self.consistency >= 0, "refiner.consistency", self.consistency, "at least 0")
        smallest = min(self.consistency_scales, default=1) * self.crop
        wanted = "factors that leave a pixel of refiner.crop"
        require(smallest >= 1, "refiner.consistency_scales", self.consistency_scales, wanted)
        _require_share("refiner.confidence", self.confidence)


@dataclass(frozen=True, kw_only=True)
class Pseudo:
    """Settings of the pseudo masks, which are made from the refined maps.

    Args:
        threshold: a pixel above this value is building, if ``crf`` is ``"none"``. It is a multiple
            of 0.01.
        oracle: whether to take the threshold that agrees best with the true masks of the training
            tiles instead.
        crf: ``"none"``, as by default in the released code, or ``"meanfield"``, which moves the
            borders to the edges of the image and leaves unsure pixels at 255.
        foreground: with a CRF, a pixel above this value is building.
        background: with a CRF, a pixel not above this value is background.
    """

    threshold: float = 0.65
    oracle: bool = False
    crf: str = "none"
    foreground: float = 0.45
    background: float = 0.15

    def __post_init__(self) -> None:
        check_types("pseudo", self)
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
    """Settings of the network that is trained on the pseudo masks in the end.

    Args:
        config: config file of an experiment on the data set ``building``.
        overrides: changes of its settings, such as ``("optim.epochs=5",)``. By default, the seed
            and the workers are those of the chain.
    """

    config: str = "config/building/deeplabv3plus.py"
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_types("final", self)


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The settings of a chain from image-level labels to building masks.

    Args:
        dataset: description of the images, which must have three bands of 8 bits.
        building: name of the class that counts as building.
        root: folder of the data; by default the data set's own.
        train: split to train on. Its masks give the image labels, and in the end the scores.
        test: split to test on; with None, no network is tested in the end.
        labels: CSV file with the columns ``name`` and ``label`` (0 or 1) and one row for each
            training image. Then the images are the tiles, and they need no masks.
        mask_value: value of the building pixels, for gray masks with other values than the
            classes, such as 0 and 255.
        tiles: settings of the tiles.
        classifier: settings of the classifier.
        clusters: settings of the prototypes.
        seeds: settings of the seeds.
        refiner: settings of the refinement network.
        pseudo: settings of the pseudo masks.
        final: settings of the final network.
        scales: factors by which tiles are resized; the maps of all sizes are combined into CAM, BAC
            and the refined maps.
        batch_size: tiles in a step without training.
        workers: number of processes that load tiles.
        seed: seed of the weights, the augmentation and the order of the tiles.
        config: the file that the chain comes from; :func:`load_chain` sets it.
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
        check_types("", self)
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
                info.name,
                f"has {info.bands} bands of {info.dtype}; the chain from image labels needs three "
                "bands of 8 bits",
                "describe such versions of the images",
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
                "do not give oracle=True, refiner.oracle or pseudo.oracle",
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
        """Return the image folders of a split."""
        if self.dataset.tiles:
            return {split}
        return {folder.images for folder in self.dataset.folders(split)}

    @property
    def is_oracle(self) -> bool:
        """Whether true masks of the training tiles choose an epoch or a threshold."""
        return self.refiner.oracle or self.pseudo.oracle


SECTIONS = (Tiles, Classifier, Clusters, Seeds, Refiner, Pseudo, Final)
_PLAIN = (
    *("root", "train", "test", "labels", "mask_value"),
    *("scales", "batch_size", "workers", "seed"),
)


def load_chain(path: str | Path, overrides: Sequence[str] = ()) -> Chain:
    """Load the chain of a config file and change it by ``key=value`` overrides.

    Args:
        path: the config file.
        overrides: words such as ``"tiles.side=128"``.

    Raises:
        InputError: the file is missing, is not Python or has no ``chain``; a field or an override
            is misspelled or has a value of the wrong type.
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
    """Collect settings by the key that overrides them, with tuples as lists, as JSON reads them.

    Args:
        chain: the chain.
        keys: names of its attributes; a section gives all its settings.
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
