"""Experiments: what a config file says, and how it is loaded, overridden and written down.

A config is a Python file that defines ``experiment``. Its model and loss are factories, mostly
``functools.partial`` of a class: building nothing yet, they tell the type and default of every
keyword parameter, which ``model.key=value`` and ``loss.key=value`` change on the command line.
"""

import argparse
import ast
import dataclasses
import importlib.util
import re
import sys
import traceback
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from network.errors import InputError, nearest
from network.factories import innermost, is_plain, parameters, takes_any

if TYPE_CHECKING:
    from torch import nn

    from network.datasets.schema import DatasetInfo

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "64-true")


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


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment: plain values and factories; nothing is built before it is asked for.

    Args:
        dataset: facts of the data set.
        model: builds the network. A parameter ``weights`` names its pretrained weights; it is
            set to None where a checkpoint follows.
        loss: builds the loss, ``loss(output, labels) -> dict`` of weighted parts.
        monitor: the logged value that chooses the best checkpoint; losses are minimized.
        seed: of weights, augmentation and order.
        name: folder of the results; ``<folder>/<file>`` of the config by default. A setting in
            braces, as in ``"baselines/{model.architecture}"``, is replaced by its value.
        config: the file that it was loaded from; set by :func:`load_experiment`.
    """

    dataset: "DatasetInfo"
    model: Callable[..., "nn.Module"]
    loss: Callable[..., "nn.Module"]
    data: Data = field(default_factory=Data)
    optim: Optim = field(default_factory=Optim)
    compute: Compute = field(default_factory=Compute)
    monitor: str = "val/mIoU"
    seed: int = 42
    name: str = ""
    config: str = ""

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", self.seed, "at least 0")
        for key in ("train", "val", "test"):
            split = getattr(self.data, key)
            if split is not None and split not in self.dataset.splits:
                raise InputError(
                    f"data.{key}={_short(split)}: {self.dataset.name} has no such split"
                    + nearest(split, self.dataset.splits)
                )

    @property
    def root(self) -> Path:
        return Path(self.data.root or self.dataset.root)

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of each band, in pixel values.

        Raises:
            InputError: see :meth:`check_normalization`.
        """
        self.check_normalization()
        largest = 2**self.dataset.bits - 1
        mean, std = ([largest * v for v in values] for values in (self.data.mean, self.data.std))
        return tuple(mean), tuple(std)

    def check_normalization(self) -> None:
        """Raise an :class:`InputError` if ``data.mean`` and ``data.std`` do not fit the bands.

        There must be a value for each, and ImageNet's are only for 8 bits.
        """
        info = self.dataset
        measure = f"'python tools/measure_bands.py -c {self.config}' measures them"
        for key, values in (("data.mean", self.data.mean), ("data.std", self.data.std)):
            if len(values) != info.bands:
                raise InputError(
                    f"{key}: {len(values)} values, {info.name} has {info.bands} bands; {measure}"
                )
            if tuple(values) in (IMAGENET_MEAN, IMAGENET_STD) and info.bits != 8:
                raise InputError(
                    f"{key}: ImageNet's, {info.name} has {info.bits} bits a band; {measure}"
                )

    def build_model(self, pretrained: bool = True) -> "nn.Module":
        """The network; without pretrained encoder weights where a checkpoint will follow."""
        has_weights = "weights" in parameters(self.model)
        return self.model(weights=None) if has_weights and not pretrained else self.model()


_OVERRIDE = re.compile(r"[a-z]\w*(\.\w+)*=")

_LONGEST = 100
"""Characters of a word that are repeated in an error."""

_PLAIN = ("data", "optim", "compute")
"""Sections of plain values."""
_FACTORIES = ("model", "loss")
"""Sections that are factories."""


def load_experiment(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of a config file, changed by ``key=value`` overrides.

    Raises:
        InputError: the file is missing, is not Python or has no ``experiment``; a field or an
            override is misspelt or has a value of the wrong type.
    """
    path = Path(path)
    experiment = getattr(import_config(path), "experiment", None)
    if not isinstance(experiment, Experiment):
        raise InputError(f"{path}: defines no 'experiment = Experiment(...)'")
    for section in _FACTORIES:
        _check_factory(path, section, getattr(experiment, section))
    experiment = replace(
        experiment, config=path.as_posix(), name=experiment.name or _default_name(path)
    )
    check_settings(experiment)
    return override(experiment, overrides)


def _fill_in(experiment: Experiment) -> str:
    """The name with its settings in braces replaced by their values."""
    known = settings(experiment)

    def value(match: re.Match) -> str:
        if match[1] not in known:
            raise InputError(
                f"name={experiment.name}: no setting '{match[1]}'{nearest(match[1], known)}"
            )
        return str(known[match[1]])

    return re.sub(r"\{([\w.]+)\}", value, experiment.name)


def parse_with_overrides(
    parser: argparse.ArgumentParser,
    words: Sequence[str] | None = None,
    example: str = "data.root=PATH",
) -> argparse.Namespace:
    """Parse a command line; its ``key=value`` words may stand anywhere, and become ``overrides``.

    Args:
        words: of the command line; by default the process's own.
        example: of such a word, for the help.
    """
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=f"e.g. {example}")
    words = sys.argv[1:] if words is None else words
    # Taken out first: an option with several values would swallow what follows it.
    overrides = [word for word in words if _OVERRIDE.match(word)]
    args = parser.parse_intermixed_args([word for word in words if word not in overrides])
    args.overrides = overrides + args.overrides
    return args


def settings(experiment: Experiment) -> dict[str, Any]:
    """Every setting by the key that overrides it, defaults and overrides resolved."""
    result = {"monitor": experiment.monitor, "name": experiment.name, "seed": experiment.seed}
    for section in _PLAIN:
        values = dataclasses.asdict(getattr(experiment, section))
        result |= {f"{section}.{key}": value for key, value in values.items()}
    for section in _FACTORIES:
        result |= _defaults(section, getattr(experiment, section))
    return result


def default_settings(experiment: Experiment) -> dict[str, Any]:
    """What each setting is that neither the config nor the command line gives.

    A record of older code lacks the settings that have come since; these were their values then.
    """
    defaults = {}
    for section in _PLAIN:
        for f in fields(getattr(experiment, section)):
            defaults[f"{section}.{f.name}"] = f.default
    for section in _FACTORIES:
        defaults |= _defaults(section, innermost(getattr(experiment, section)))
    return defaults


def _defaults(section: str, factory: Callable) -> dict[str, Any]:
    return {
        f"{section}.{key}": parameter.default
        for key, parameter in parameters(factory).items()
        if parameter.default is not parameter.empty
    }


def check_settings(experiment: Experiment) -> None:
    """Raise an :class:`InputError` for a setting that no checkpoint could remember."""
    for key, value in settings(experiment).items():
        if not is_plain(value):
            raise InputError(
                f"{experiment.config}: {key}={value!r} is no plain value, which checkpoints "
                "remember: a str, number, bool or None, or a tuple, list or dict of these; bind it "
                "in a function of the config that builds the "
                f"{key.partition('.')[0]}, and name that"
            )


def describe(experiment: Experiment) -> str:
    """The resolved experiment as text: its settings, one ``key=value`` a line."""
    head = f"# {experiment.config} on {experiment.dataset.name}\n"
    return head + "".join(f"{key}={value}\n" for key, value in settings(experiment).items())


def require(condition: bool, key: str, value: object, expected: str) -> None:
    """Raise an :class:`InputError` that names the setting, unless the condition holds."""
    if not condition:
        raise InputError(f"{key}={_short(str(value))}: must be {expected}")


def _default_name(path: Path) -> str:
    parts = path.resolve().with_suffix("").parts
    # Below config/ the whole path names the experiment; elsewhere its folder and file do.
    folders = parts[:-1]
    start = len(folders) - folders[::-1].index("config") if "config" in folders else -2
    return "/".join(parts[start:])


def import_config(path: Path, sections: Sequence[type] = ()) -> Any:
    """Run a config file as a module of its own: no two of the same name can meet.

    Args:
        sections: data classes that it may build, besides those of an experiment; misspelt fields
            of theirs are told with the nearest.

    Raises:
        InputError: the file is missing, is not Python or fails.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such config file; see config/ for those that there are")
    if path.suffix != ".py":
        raise InputError(f"{path}: a config is a Python file, its name must end in .py")
    spec = importlib.util.spec_from_file_location(f"config:{path.resolve()}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise InputError(f"{path}: not Python, line {error.lineno}: {error.msg}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:
        lines = [
            f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)
        ]
        where = f"line {lines[-1]}: " if lines else ""
        message = f"{type(error).__name__}: {error}" + _nearest_field(
            str(error), (Experiment, Data, Optim, Compute, *sections)
        )
        raise InputError(f"{path}: {where}{message}") from error
    return module


def _nearest_field(message: str, sections: Sequence[type]) -> str:
    """The right field for Python's message about an unexpected keyword argument."""
    match = re.search(r"(\w+)\.__init__\(\) got an unexpected .* '(\w+)'", message)
    known = {section.__name__: section for section in sections}
    if not match or match[1] not in known:
        return ""
    return nearest(match[2], [f.name for f in fields(known[match[1]])])


def _check_factory(path: Path, section: str, factory: Callable) -> None:
    """Raise an :class:`InputError` for what a class is not given, or has no parameter for."""
    known = parameters(innermost(factory))
    if isinstance(factory, partial) and not takes_any(factory):
        for key in factory.keywords:
            if key not in known:
                raise InputError(f"{path}: {section} has no parameter '{key}'{nearest(key, known)}")
    for key, parameter in parameters(factory).items():
        if parameter.default is parameter.empty:
            raise InputError(
                f"{path}: {section} needs a value for '{key}'; give it in a partial, as in "
                f"{section}=partial({innermost(factory).__name__}, {key}=...)"
            )


def override(experiment: Experiment, overrides: Sequence[str]) -> Experiment:
    """``experiment`` changed by ``key=value`` overrides.

    All at once: values that only fit together may come in any order.

    Raises:
        InputError: see :func:`load_experiment`.
    """
    values = parse_overrides(overrides, _override_types(experiment))
    changes = values.pop("", {})
    for section, changed in values.items():
        old = getattr(experiment, section)
        is_plain = dataclasses.is_dataclass(old)
        changes[section] = replace(old, **changed) if is_plain else partial(old, **changed)
    experiment = replace(experiment, **changes)
    _check_bands(experiment)
    return replace(experiment, name=_fill_in(experiment))


def parse_overrides(overrides: Sequence[str], types: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """``key=value`` words as values by section and name; the section of a plain key is ``""``.

    Args:
        types: of every key that can be overridden.

    Raises:
        InputError: an override is misspelt or has a value of the wrong type.
    """
    values: dict[str, dict[str, Any]] = {}
    for word in overrides:
        key, equals, text = word.partition("=")
        if not equals:
            raise InputError(
                f"override '{_short(word)}': expected key=value, e.g. data.batch_size=4"
            )
        if key not in types:
            known = nearest(key, types)
            raise InputError(f"override '{_short(word)}': unknown key '{_short(key)}'{known}")
        section, _, name = key.rpartition(".")
        values.setdefault(section, {})[name] = _parse(key, text, types[key])
    return values


def _check_bands(experiment: Experiment) -> None:
    info, key = experiment.dataset, "model.bands"
    bands = settings(experiment).get(key, info.bands)
    if bands != info.bands:
        raise InputError(
            f"{key}={bands}: the images of {info.name} have {info.bands}; give {key}={info.bands}"
        )


def _override_types(experiment: Experiment) -> dict[str, Any]:
    """The type of every key that can be overridden."""
    types: dict[str, Any] = {"monitor": str, "seed": int, "name": str}
    for section in _PLAIN:
        hints = typing.get_type_hints(type(getattr(experiment, section)))
        types |= {f"{section}.{key}": hint for key, hint in hints.items()}
    for section in _FACTORIES:
        found = parameters(getattr(experiment, section)).items()
        types |= {f"{section}.{key}": parameter.annotation for key, parameter in found}
    return types


def _parse(key: str, text: str, expected: Any) -> Any:
    """``text`` as a value of the type that ``key`` has."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if isinstance(value, int | float) and typing.get_origin(expected) is tuple:
        value = (value,)
    try:
        # A word stays a word: root=0123 is no number.
        adapter = TypeAdapter(expected)
        return adapter.validate_python(text if expected is str else value)
    except ValidationError as error:
        name = (
            getattr(expected, "__name__", str(expected)) if isinstance(expected, type) else expected
        )
        raise InputError(f"override '{key}={_short(text)}': expected {name}") from error


def _short(text: str) -> str:
    """So much of a word as a line of an error can take."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
