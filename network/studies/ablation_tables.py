"""The tables of ablations, with the variants that each of them compares.

Sources: BiCoR-Seg, arXiv 2512.20255, tables 4 and 5 and figure 3; D2LS, arXiv 2503.06683, its table
of dictionary and losses.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from network.errors import InputError, nearest
from network.points.rules import PointRule


@dataclass(frozen=True)
class Variant:
    """A variant of an ablation, which is one row of its table.

    Attributes:
        name: name of the variant.
        network: a key of ``NETWORKS``; None takes model and loss of the base config.
        overrides: overrides of its model and loss.
        published: published mIoU in percent, by data set.
        points: rule of the points that it is trained on; None for the labels of the base config.
        has_full_masks: whether it is trained on full masks, whatever the base config says.
    """

    name: str
    network: str | None
    overrides: tuple[str, ...] = ()
    published: Mapping[str, float] = field(default_factory=dict)
    points: PointRule | None = None
    has_full_masks: bool = False

    @property
    def labels(self) -> str | None:
        """Name of the folder of its points, beside that of the masks; None without points."""
        return f"study_{self.points.mode}_{self.points.share:.4g}" if self.points else None

    @property
    def slug(self) -> str:
        """Name of the variant in a form for folders."""
        return re.sub(r"[^\w.=-]+", "_", self.name).strip("_")


@dataclass(frozen=True)
class Table:
    """A table of an ablation.

    Attributes:
        title: title of the table, which names what its rows vary.
        variants: the rows.
        has_costs: whether the table also gives the cost of each variant, and the figure draws
            accuracy against cost.
    """

    title: str
    variants: tuple[Variant, ...]
    has_costs: bool = False

    def of(self, names: Sequence[str]) -> "Table":
        """Take only some of the variants, in the order of the table.

        Args:
            names: their names.

        Raises:
            InputError: there is no such variant, or a name is given twice.
        """
        known = [variant.name for variant in self.variants]
        for name in names:
            if name not in known:
                raise InputError(
                    f"variants={name!r}",
                    f"this table has no such variant{nearest(name, known)}",
                    f"give some of {', '.join(map(repr, known))}",
                )
        if len(set(names)) < len(names):
            raise InputError(f"variants={' '.join(map(repr, names))}", "give each once")
        return replace(self, variants=tuple(v for v in self.variants if v.name in names))

    @property
    def is_of_base(self) -> bool:
        """Whether all variants have the model and loss of the base config."""
        return all(variant.network is None for variant in self.variants)

    @property
    def has_points(self) -> bool:
        """Whether some variants are trained on points."""
        return any(variant.points for variant in self.variants)

    @property
    def own_keys(self) -> set[str]:
        """Settings that the variants decide themselves, in a table with the base's model."""
        given = {word.partition("=")[0] for v in self.variants for word in v.overrides}
        return given | ({"data.train_labels"} if self.has_points else set())

    def sets_always(self, key: str) -> bool:
        """Tell whether every variant decides a setting itself."""
        given = [{word.partition("=")[0] for word in v.overrides} for v in self.variants]
        return all(key in keys for keys in given)


PLAIN = ("model.freeze=False", "model.lora=0", "optim.layer_decay=1.0")
"""Settings of a training of the whole encoder; its rate is that of the base."""


def _adapted(name: str, *changes: str) -> Variant:
    """A way to train the encoder, in which a base that adapts it changes nothing."""
    keys = [word.partition("=")[0] for word in changes]
    kept = [word for word in PLAIN if word.partition("=")[0] not in keys]
    return Variant(name, None, (*kept, *changes))


def _components(name: str, heatmap: float, fisher: float, published: float) -> Variant:
    options = ("model.layers=2", "model.aux=False")
    weights = (f"loss.heatmap={heatmap}", f"loss.fisher={fisher}")
    return Variant(name, "bicor", options + weights, {"loveda": published})


def _d2ls(name: str, published: Sequence[float], *overrides: str) -> Variant:
    """Make a variant of D2LS, which has two layers on Vaihingen and three on other data sets."""
    by_set = dict(zip(("loveda", "vaihingen", "grass"), published, strict=False))
    return Variant(name, "d2ls", overrides, by_set)


PIXELS = 300 * 300
"""Number of pixels of an image for which the budgets of the point study are given."""


_POINT_WEIGHTS = {
    "": ("loss.weights=inverse",),
    ", no class weights": ("loss.weights=none",),
    ", inverse up to 10": ("loss.weights=inverse", "loss.max_ratio=10.0"),
    ", square roots": ("loss.weights=sqrt_inverse",),
    ", effective numbers": ("loss.weights=effective",),
}
"""Settings of the class weights in the point study, by the end of the variant's name."""


def _point_budgets() -> tuple[Variant, ...]:
    variants = []
    for suffix, overrides in _POINT_WEIGHTS.items():
        for count in (10, 50, 200, 1000, 5000):
            rule = PointRule(share=100 * count / PIXELS)
            variants.append(Variant(f"{count} points{suffix}", None, overrides, points=rule))
        variants.append(Variant(f"full masks{suffix}", None, overrides, has_full_masks=True))
    return tuple(variants)


def _library(name: str, architecture: str) -> Variant:
    return Variant(name, "smp", (f"model.architecture={architecture}",))


def _with_teacher() -> tuple[Variant, ...]:
    """Shares of labeled images without and with a teacher.

    All have about the same number of steps: as whole tiles are drawn, a share may be larger.
    """
    variants = []
    for percent, repeat in ((10, 10), (25, 4), (100, 1)):
        words = (f"data.image_share={percent / 100}", f"data.repeat={repeat}", "optim.ema=0.99")
        name = f"{percent} % of the labels"
        alone = ("teacher.weight=0.0", "data.unlabeled=None")
        variants.append(Variant(name, None, words + alone))
        teacher = ("teacher.weight=1.0", "data.unlabeled=train")
        variants.append(Variant(f"{name}, teacher", None, words + teacher))
    return tuple(variants)


TABLES = {
    # Each decoder has the width of its own paper or library, but that of BiCoR-Seg and D2LS is
    # the config's. Their papers have 256; with less, they fall behind.
    "methods": Table(
        "Methods with the same encoder, data and optimizer",
        (
            Variant("BiCoR-Seg", "bicor"),
            Variant("D2LS", "d2ls"),
            Variant("UNetFormer", "unetformer", ("model.dim=64",)),
            _library("U-Net", "unet"),
            _library("DeepLabV3+", "deeplabv3plus"),
            _library("FPN", "fpn"),
            _library("UPerNet", "upernet"),
            _library("SegFormer decoder", "segformer"),
        ),
        has_costs=True,
    ),
    "recipe": Table(
        "Settings of the training, one by one",
        (
            Variant("as in the config", None),
            Variant("moving average", None, ("optim.ema=0.99",)),
            Variant("warm-up and clipping", None, ("optim.warmup=50", "optim.clip=1.0")),
            Variant("class weights", None, ("loss.weights=sqrt_inverse",)),
            Variant("hard pixels", None, ("loss.hard_share=0.25",)),
            Variant("rare crops", None, ("data.rare_share=0.5",)),
            Variant("copy-paste", None, ("data.paste=0.5",)),
        ),
    ),
    "adaptation": Table(
        "What is trained of the encoder",
        (
            _adapted("whole"),
            _adapted("frozen", "model.freeze=True"),
            _adapted("LoRA, rank 8", "model.lora=8"),
            _adapted("layer decay 0.75", "optim.layer_decay=0.75"),
            _adapted("from scratch", "model.weights=None"),
        ),
    ),
    "teacher": Table("Self-training on the images without labels", _with_teacher()),
    # No row has the auxiliary output, which the paper's text does not mention.
    "components": Table(
        "BiCoR-Seg, table 4: components",
        (
            Variant(
                "cross-attention baseline",
                "d2ls",
                ("model.layers=3", "model.aux=False", "loss.contrastive=0.0"),
                {"loveda": 54.20},
            ),
            _components("HBIS", 0.0, 0.0, 55.15),
            _components("HBIS + Fisher loss", 0.0, 0.1, 55.21),
            _components("HBIS + heatmap loss", 0.1, 0.0, 55.36),
            _components("HBIS + both", 0.1, 0.1, 55.49),
        ),
    ),
    "layers": Table(
        "BiCoR-Seg, table 5: HBIS layers",
        tuple(
            Variant(
                f"L = {layers}",
                "bicor",
                (f"model.layers={layers}",),
                {"loveda": loveda, "vaihingen": vaihingen},
            )
            for layers, loveda, vaihingen in (
                (1, 55.29, 84.54),
                (2, 55.49, 85.37),
                (3, 55.28, 84.67),
            )
        ),
    ),
    "topk": Table(
        "BiCoR-Seg, figure 3: share of the pixels that a class is refined from",
        tuple(
            Variant(f"ratio {ratio}", "bicor", ("model.layers=2", f"model.topk_ratio={ratio}"))
            for ratio in (0.005, 0.01, 0.02, 0.05, 0.1, 1.0)
        ),
    ),
    "d2ls": Table(
        "D2LS: dictionary and losses",
        (
            # The paper's "static loss only" (54.80, 85.10, 50.96) is left out: it seems to be the
            # same network, except for an unused generator.
            _d2ls(
                "without generator",
                (54.81, 84.40, 50.70),
                *("model.generator=False", "model.aux=False", "loss.contrastive=0.0"),
            ),
            _d2ls(
                "dynamic alone",
                (54.93, 85.17, 51.38),
                *("model.aux=False", "loss.contrastive=0.0"),
            ),
            _d2ls("static and dynamic", (54.95, 85.17, 51.53), "loss.contrastive=0.0"),
            _d2ls("all, with contrastive loss", (55.27, 85.27, 51.96)),
            _d2ls("embeddings of ones", (), *("model.embeddings=ones", "model.aux=False")),
            _d2ls("embeddings of zeros", (), *("model.embeddings=zeros", "model.aux=False")),
        ),
    ),
    "points": Table(
        "Uniformly drawn points (of 300 x 300 pixels) and class weights", _point_budgets()
    ),
}
