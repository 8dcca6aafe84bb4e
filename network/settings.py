"""Plain settings of an experiment: its data, its optimizer, and how it computes numbers."""

import math
import types
import typing
from dataclasses import dataclass

from network.errors import InputError, nearest

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "64-true")

CACHES = ("ram", "disk")

LONGEST = 100
"""An error repeats at most this many characters of a word that the user gave."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Settings that say which images are used, and how they are augmented and batched.

    Args:
        train: split of the data set to train on.
        val: split that selects the best model. With None, the last model is kept.
        test: split to test on.
        train_labels: name of a folder with other training masks, such as points
            (``tools/make_points.py``). It lies beside each mask folder of the split. By default,
            the data set's own masks are used.
        label_share: share of the labeled pixels that keep their label, above 0 and at most 1. They
            are drawn again for each training crop, so all labels are needed. To save labeling work,
            use fixed points (``train_labels``).
        image_share: share of the training images that are used, above 0 and at most 1. They are
            drawn by the seed; patches of one image are drawn together.
        unlabeled: split whose images are learned from without their labels, see :class:`Teacher`.
        root: folder of the data; by default the data set's own.
        crop: side of the training crops, in pixels.
        scales: factors by which training images are resized at random.
        max_class_share: largest share of the valid pixels that one class may have in a crop, above
            0 and at most 1. A crop that reaches it is drawn again, at most ten times.
        mosaic: probability that a training image is put together from four images.
        rotate: probability of a random quarter turn.
        flip: probability of a horizontal flip, and also of a vertical one.
        brighten: probability that brightness and contrast change. The brightness moves by at most a
            quarter of the range (not at all with 16 bits), the contrast by at most a quarter. This
            and ``sharpen`` are only for brightness, which has unsigned values of 8 or 16 bits.
        sharpen: probability that the image is sharpened.
        window: side in pixels of the windows in which scenes on Earth are trained and validated.
            Each of them stands for an image: crops and mosaics are cut from it. Large images of a
            folder are validated and tested in windows of this side too.
        windows_above: side in pixels. An image of a folder that has more pixels than a square of
            this side is validated and tested in windows, and others are seen as a whole. Patches
            always are.
        rare_share: share of the training crops that are drawn by class, 0 to 1. For each of them a
            class is drawn, all with the same probability, then one of its pixels in all training
            images, and then a crop around this pixel, which may lie anywhere in it. The other crops
            are of each image in turn.
        paste: probability that a training crop gets the pixels of a rare class from another crop,
            at the same place (copy-paste, Ghiasi et al., CVPR 2021). Rare is a class with fewer
            pixels than all classes have on average; they are drawn with the same probability. It
            needs whole masks, no points.
        repeat: number of passes over the training images in one epoch; more than 1 helps small
            sets.
        mean: mean of each band. For unsigned values of 8 or 16 bits it is a share of the largest
            value (255 or 65535); for others it is in pixel values. With None, images of three bands
            of 8 bits get the mean that the encoder was pretrained with, or ImageNet's if it starts
            from scratch; others need values.
        std: standard deviation of each band, in the same units; None as for ``mean``.
        batch_size: images in a training step, on each device.
        val_batch_size: images in a validation step, on each device.
        workers: number of processes that load the data, for each device.
        cache: where decoded patches are kept for the epochs after the first: ``"ram"``, in memory
            that all workers of a device share, or ``"disk"``, in a memory-mapped file that all
            processes share. With None, each patch is decoded in every epoch.
        cache_dir: folder of the cache on a disk; by default the data set's ``.bicor-seg``.
        cache_gb: largest size of the cache, in gigabytes: for each device in memory, or of all
            caches in the folder together. Patches without room are decoded in every epoch.
    """

    train: str = "train"
    val: str | None = "val"
    test: str = "test"
    train_labels: str | None = None
    label_share: float = 1.0
    image_share: float = 1.0
    unlabeled: str | None = None
    root: str | None = None
    crop: int = 512
    scales: tuple[float, ...] = (0.75, 1.0, 1.25, 1.5)
    max_class_share: float = 0.75
    mosaic: float = 0.25
    rotate: float = 0.5
    flip: float = 0.5
    brighten: float = 0.0
    sharpen: float = 0.0
    window: int = 1024
    windows_above: int = 6000
    rare_share: float = 0.0
    paste: float = 0.0
    repeat: int = 1
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    batch_size: int = 8
    val_batch_size: int = 4
    workers: int = 4
    cache: str | None = None
    cache_dir: str | None = None
    cache_gb: float = 16.0

    def __post_init__(self) -> None:
        check_types("data", self)
        counts = ("crop", "window", "windows_above", "repeat", "batch_size", "val_batch_size")
        for key in counts:
            require(getattr(self, key) >= 1, f"data.{key}", getattr(self, key), "at least 1")
        named = self.train_labels != ""
        require(named, "data.train_labels", self.train_labels, "the name of a folder, or None")
        for key in ("mosaic", "rotate", "flip", "brighten", "sharpen", "rare_share", "paste"):
            value = getattr(self, key)
            require(0 <= value <= 1, f"data.{key}", value, "a probability, 0 to 1")
        pastes_whole = not self.paste or self.label_share == 1
        require(pastes_whole, "data.paste", self.paste, "0 with data.label_share below 1")
        scales_fit = bool(self.scales) and min(self.scales) > 0
        require(scales_fit, "data.scales", self.scales, "one or more factors above 0")
        mean, std = self.mean, self.std
        mean_fits = mean is None or (bool(mean) and all(map(math.isfinite, mean)))
        require(mean_fits, "data.mean", mean, "one number for each band")
        std_fits = std is None or (bool(std) and all(0 < value < math.inf for value in std))
        require(std_fits, "data.std", std, "one number above 0 for each band")
        require(self.workers >= 0, "data.workers", self.workers, "at least 0")
        require(self.cache in (None, *CACHES), "data.cache", self.cache, "None, ram or disk")
        is_used = self.cache_dir is None or self.cache == "disk"
        require(is_used, "data.cache_dir", self.cache_dir, "None without data.cache=disk")
        require(self.cache_gb > 0, "data.cache_gb", self.cache_gb, "above 0")
        for key in ("max_class_share", "label_share", "image_share"):
            share = getattr(self, key)
            require(0 < share <= 1, f"data.{key}", share, "above 0 and at most 1")


@dataclass(frozen=True, kw_only=True)
class Optim:
    """Settings of AdamW, whose learning rate falls after each epoch, on a cosine or in steps.

    Args:
        lr: learning rate of the first epoch.
        min_lr: learning rate at the end of the cosine. ``layer_decay`` lowers it as it does
            ``lr``.
        encoder_lr: learning rate of the encoder's parameters; by default ``lr``. The pyramid of a
            plain vision transformer is not pretrained, so it always has ``lr``.
        layer_decay: factor on the learning rate from each layer of the pretrained encoder to the
            one before it, above 0 and at most 1. The last block has ``encoder_lr`` times the
            factor, the block before it that times the factor again, and so on to the patch or stem
            convolution, which has the lowest rate. With 1, all layers have the same rate.
        step: number of epochs after which the rates fall to a tenth, again and again. With 0 they
            fall on the cosine.
        weight_decay: decoupled weight decay of all parameters. With 0, AdamW is Adam.
        epochs: number of passes over the training set.
        accumulate: number of batches whose mean gradient makes one step.
        lookahead: whether to wrap AdamW in Lookahead (k = 5, alpha = 0.5).
        warmup: number of steps at the beginning in which the rates rise linearly from 0 to those of
            the schedule.
        clip: largest norm of the gradient of all parameters; a larger one is scaled down. With 0
            there is no limit.
        ema: decay of the exponential moving average of the weights, 0 to below 1, for example
            0.999. If it is above 0, the average is validated and saved as the weights of the
            network. After t steps the decay is at most (1 + t) / (10 + t), so that a short training
            forgets its first weights too.
    """

    lr: float = 8e-5
    min_lr: float = 1e-6
    encoder_lr: float | None = None
    layer_decay: float = 1.0
    step: int = 0
    weight_decay: float = 0.01
    epochs: int = 30
    accumulate: int = 1
    lookahead: bool = True
    warmup: int = 0
    clip: float = 0.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        check_types("optim", self)
        require(self.lr > 0, "optim.lr", self.lr, "above 0")
        require(0 <= self.min_lr <= self.lr, "optim.min_lr", self.min_lr, "between 0 and optim.lr")
        encoder_lr = self.lr if self.encoder_lr is None else self.encoder_lr
        require(encoder_lr >= self.min_lr, "optim.encoder_lr", encoder_lr, "at least optim.min_lr")
        layer_decay = self.layer_decay
        is_factor = 0 < layer_decay <= 1
        require(is_factor, "optim.layer_decay", layer_decay, "above 0 and at most 1")
        require(self.step >= 0, "optim.step", self.step, "at least 0")
        require(self.weight_decay >= 0, "optim.weight_decay", self.weight_decay, "at least 0")
        require(self.epochs >= 1, "optim.epochs", self.epochs, "at least 1")
        require(self.accumulate >= 1, "optim.accumulate", self.accumulate, "at least 1")
        require(self.warmup >= 0, "optim.warmup", self.warmup, "a number of steps, at least 0")
        require(0 <= self.clip < math.inf, "optim.clip", self.clip, "at least 0")
        require(0 <= self.ema < 1, "optim.ema", self.ema, "at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Settings of self-training, in which a teacher labels crops of unlabeled images.

    The teacher is the moving average of the weights (``optim.ema``). It sees each crop as it is.
    The network sees a strongly changed one and learns the labels of which the teacher is sure.

    Args:
        weight: weight of the loss on unlabeled crops. With 0 there is no teacher.
        threshold: smallest probability of a label of which the teacher is sure, 0 to 1.
        mix: probability that a rectangle of a changed crop comes from another one of the batch
            (CutMix, Yun et al., ICCV 2019).
    """

    weight: float = 0.0
    threshold: float = 0.95
    mix: float = 0.5

    def __post_init__(self) -> None:
        check_types("teacher", self)
        require(0 <= self.weight < math.inf, "teacher.weight", self.weight, "at least 0")
        for key in ("threshold", "mix"):
            value = getattr(self, key)
            require(0 <= value <= 1, f"teacher.{key}", value, "0 to 1")


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Settings that say how numbers are computed; they change results only by rounding.

    Args:
        precision: ``"32-true"``, ``"64-true"``, or ``"bf16-mixed"`` or ``"16-mixed"`` for autocast.
        channels_last: whether the channels are the innermost axis of images and of convolution
            weights in memory.
        compile: whether to compile the network with ``torch.compile``. The first steps then take
            minutes.
    """

    precision: str = "32-true"
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        check_types("compute", self)
        known = f"one of {', '.join(PRECISIONS)}" + nearest(self.precision, PRECISIONS)
        require(self.precision in PRECISIONS, "compute.precision", self.precision, known)


TRACKERS = ("tensorboard", "wandb", "mlflow")


@dataclass(frozen=True, kw_only=True)
class Log:
    """Settings of the trackers that follow a training, beside ``metrics.csv``.

    Args:
        to: name of a tracker, or several with commas between them: ``"tensorboard"``, ``"wandb"``,
            ``"mlflow"``. Each gets the settings, all logged values, and pictures. Its library is an
            extra of the same name.
        images: number of validation images whose predictions the trackers get after each epoch.
    """

    to: str | None = None
    images: int = 4

    def __post_init__(self) -> None:
        check_types("log", self)
        for name in self.trackers:
            known = f"one of {', '.join(TRACKERS)}" + nearest(name, TRACKERS)
            require(name in TRACKERS, "log.to", name, known)
        require(self.images >= 0, "log.images", self.images, "at least 0")

    @property
    def trackers(self) -> tuple[str, ...]:
        """Names of the trackers, each once."""
        return tuple(dict.fromkeys(self.to.replace(" ", "").split(","))) if self.to else ()


def require(condition: bool, key: str, value: object, expected: str) -> None:
    """Raise an :class:`InputError` that names a setting, unless a condition holds.

    Args:
        condition: what must be true.
        key: name of the setting, as in ``optim.lr``.
        value: value of the setting.
        expected: what the value must be, as in ``"above 0"``.
    """
    if not condition:
        raise InputError(f"{key}={shortened(str(value))}", f"must be {expected}")


def check_types(section: str, values: typing.Any) -> None:
    """Raise an :class:`InputError` if a field of a data class has a value of another type.

    Args:
        section: name of the section, as in ``optim``; empty for fields of no section.
        values: the data class.
    """
    for name, hint in typing.get_type_hints(type(values)).items():
        value = getattr(values, name)
        key = f"{section}.{name}" if section else name
        require(fits(value, hint), key, repr(value), name_of_type(hint))


def fits(value: object, hint: typing.Any) -> bool:
    """Tell whether a plain value has a type; a whole number is also a float.

    Args:
        value: the value.
        hint: the type. Of types that are not plain, all values are accepted.

    Examples:
        >>> fits(3, float), fits(3.0, int), fits("3", int), fits((1, 2.5), tuple[float, ...])
        (True, False, False, True)
        >>> fits(None, str | None), fits(True, int)
        (True, False)
    """
    parts = typing.get_args(hint)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return any(fits(value, part) for part in parts)
    if typing.get_origin(hint) is tuple:
        each = parts[0] if parts[1:] == (...,) else object
        return isinstance(value, tuple | list) and all(fits(one, each) for one in value)
    if hint is types.NoneType:
        return value is None
    if hint in (int, float):
        number = int if hint is int else (int, float)
        return isinstance(value, number) and not isinstance(value, bool)
    if hint in (str, bool):
        return isinstance(value, hint)
    return True


def name_of_type(hint: typing.Any) -> str:
    """Name a type for an error, such as ``"float"`` or ``"str | None"``.

    Args:
        hint: the type.
    """
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def shortened(text: str) -> str:
    """Cut a word so that it fits into the line of an error."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
