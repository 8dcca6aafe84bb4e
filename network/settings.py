"""The plain settings of an experiment: data, optimizer, and how numbers are computed."""

from dataclasses import dataclass

from network.errors import InputError, nearest

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "64-true")

LONGEST = 100
"""Characters of a word that are repeated in an error."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which images, and how they are augmented and batched.

    Args:
        train, val, test: splits of the data set. With ``val=None`` no model is selected: the
            last one is kept.
        train_labels: folder of other training masks, such as points (``tools/make_points.py``),
            beside each mask folder of the split; by default the data set's own are trained on.
        label_share: share of the labeled pixels of each training crop that keep their label, drawn
            anew for each crop; fixed points, as ``train_labels`` names, are what costs less.
        root: folder of the data; by default the data set's own.
        crop: side of the training crops, pixels.
        scales: factors that training images are randomly resized by.
        max_class_share: crops in which one class has at least this share of the valid pixels are
            drawn again, ten times at most.
        mosaic: probability that a training image is put together from four.
        rotate, flip: probabilities of a random quarter turn, and of each of the two flips.
        brighten, sharpen: probabilities of another brightness and contrast (up to a quarter of the
            range is added, with 16 bits nothing; up to a quarter more or less), and of sharpening.
        repeat: times that an epoch goes through the training images; for small sets.
        mean, std: of each band, as shares of the largest value, 255 or 65535.
        batch_size, val_batch_size: images a step, on each device.
        workers: processes that load the data, for each device.
    """

    train: str = "train"
    val: str | None = "val"
    test: str = "test"
    train_labels: str | None = None
    label_share: float = 1.0
    root: str | None = None
    crop: int = 512
    scales: tuple[float, ...] = (0.75, 1.0, 1.25, 1.5)
    max_class_share: float = 0.75
    mosaic: float = 0.25
    rotate: float = 0.5
    flip: float = 0.5
    brighten: float = 0.0
    sharpen: float = 0.0
    repeat: int = 1
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    batch_size: int = 8
    val_batch_size: int = 4
    workers: int = 4

    def __post_init__(self) -> None:
        for key in ("crop", "repeat", "batch_size", "val_batch_size"):
            require(getattr(self, key) >= 1, f"data.{key}", getattr(self, key), "at least 1")
        named = self.train_labels != ""
        require(named, "data.train_labels", self.train_labels, "the name of a folder, or None")
        for key in ("mosaic", "rotate", "flip", "brighten", "sharpen"):
            value = getattr(self, key)
            require(0 <= value <= 1, f"data.{key}", value, "a probability, 0 to 1")
        scales_fit = bool(self.scales) and min(self.scales) > 0
        require(scales_fit, "data.scales", self.scales, "one or more factors above 0")
        mean_fits = bool(self.mean) and min(self.mean) >= 0 and max(self.mean) <= 1
        require(mean_fits, "data.mean", self.mean, "shares of the largest value, 0 to 1")
        std_fits = bool(self.std) and min(self.std) > 0 and max(self.std) <= 1
        require(std_fits, "data.std", self.std, "shares of the largest value, above 0, at most 1")
        require(self.workers >= 0, "data.workers", self.workers, "at least 0")
        for key in ("max_class_share", "label_share"):
            share = getattr(self, key)
            require(0 < share <= 1, f"data.{key}", share, "above 0 and at most 1")


@dataclass(frozen=True, kw_only=True)
class Optim:
    """AdamW, the learning rate falling on a cosine (or in steps), epoch by epoch.

    Args:
        lr, min_lr: learning rate of the first epoch, and the one that it falls to.
        encoder_lr: of the encoder's parameters; by default ``lr``.
        step: epochs after which the rates fall to a tenth, again and again; 0: on the cosine.
        weight_decay: decoupled, on all parameters; without any, AdamW is Adam.
        epochs: passes over the training set.
        accumulate: batches whose gradients are added up for one step.
        lookahead: wrap AdamW in Lookahead (k = 5, alpha = 0.5).
    """

    lr: float = 8e-5
    min_lr: float = 1e-6
    encoder_lr: float | None = None
    step: int = 0
    weight_decay: float = 0.01
    epochs: int = 30
    accumulate: int = 1
    lookahead: bool = True

    def __post_init__(self) -> None:
        require(self.lr > 0, "optim.lr", self.lr, "above 0")
        require(0 <= self.min_lr <= self.lr, "optim.min_lr", self.min_lr, "between 0 and optim.lr")
        encoder_lr = self.lr if self.encoder_lr is None else self.encoder_lr
        require(encoder_lr >= self.min_lr, "optim.encoder_lr", encoder_lr, "at least optim.min_lr")
        require(self.step >= 0, "optim.step", self.step, "at least 0")
        require(self.weight_decay >= 0, "optim.weight_decay", self.weight_decay, "at least 0")
        require(self.epochs >= 1, "optim.epochs", self.epochs, "at least 1")
        require(self.accumulate >= 1, "optim.accumulate", self.accumulate, "at least 1")


@dataclass(frozen=True, kw_only=True)
class Compute:
    """How numbers are computed; results change by rounding alone.

    Args:
        precision: ``"32-true"``; ``"bf16-mixed"`` and ``"16-mixed"``: autocast; ``"64-true"``.
        channels_last: keep images and weights of convolutions with the channels innermost.
        compile: translate the network with ``torch.compile``; its first steps take minutes.
    """

    precision: str = "32-true"
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        known = f"one of {', '.join(PRECISIONS)}" + nearest(self.precision, PRECISIONS)
        require(self.precision in PRECISIONS, "compute.precision", self.precision, known)


def require(condition: bool, key: str, value: object, expected: str) -> None:
    """Raise an :class:`InputError` that names the setting, unless the condition holds."""
    if not condition:
        raise InputError(f"{key}={shortened(str(value))}", f"must be {expected}")


def shortened(text: str) -> str:
    """So much of a word as a line of an error can take."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
