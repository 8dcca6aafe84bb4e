"""Experiments: how a config file is loaded, changed by overrides and written down.

A config is a Python file that defines ``experiment``. Its model and its loss are factories, in most
cases a ``functools.partial`` of a class. A factory builds nothing yet, but it tells the type and
the default of every keyword parameter, so the command line can change each one with
``model.key=value`` or ``loss.key=value``.
"""

import dataclasses
import importlib.util
import os
import re
import traceback
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from network.errors import InputError, nearest
from network.factories import (
    arguments,
    by_name,
    given_by_position,
    hints,
    innermost,
    is_plain,
    parameters,
    takes_any,
)
from network.overrides import parse_overrides
from network.settings import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PRECISIONS,
    Compute,
    Data,
    Log,
    Optim,
    Teacher,
    fits,
    name_of_type,
    require,
    shortened,
)

if TYPE_CHECKING:
    from torch import nn

    from network.datasets.schema import DatasetInfo
    from network.models.pretrained import Normalization

# Configs import all of an experiment from here.
__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "PRECISIONS",
    "Compute",
    "Data",
    "Experiment",
    "Log",
    "Optim",
    "Teacher",
    "check_settings",
    "default_settings",
    "describe",
    "import_config",
    "load_experiment",
    "override",
    "parse_overrides",
    "require",
    "settings",
]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment, described by plain values and factories; it builds nothing by itself.

    Args:
        dataset: description of the data set.
        model: function or class that builds the network, a :class:`network.contracts.Network`. If
            it has a parameter ``weights``, this names the pretrained weights. It is set to None
            when a checkpoint replaces them anyway. If it has a parameter ``encoder``, this names a
            timm network, which tells the normalization that its weights expect.
        loss: function or class that builds the loss, a :class:`network.contracts.Loss`.
        data: settings of the images, their augmentation and their batches.
        optim: settings of the optimizer.
        teacher: settings of the self-training on unlabeled images.
        compute: settings of precision, memory format and compilation.
        log: settings of the trackers that follow the training.
        monitor: the logged value that chooses the best checkpoint. If it is a loss, the smallest
            value is the best; of any other score, the largest.
        seed: seed of the weights, the augmentation and the order of the images.
        name: folder of the results. By default, it is the path of the config below ``config/``,
            without ``.py``; for a config elsewhere, it is ``<folder>/<file>``. A setting in braces,
            as in ``"baselines/{model.architecture}"``, is replaced by its value.
        config: the file that the experiment comes from; :func:`load_experiment` sets it.
    """

    dataset: "DatasetInfo"
    model: Callable[..., "nn.Module"]
    loss: Callable[..., "nn.Module"]
    data: Data = field(default_factory=Data)
    optim: Optim = field(default_factory=Optim)
    teacher: Teacher = field(default_factory=Teacher)
    compute: Compute = field(default_factory=Compute)
    log: Log = field(default_factory=Log)
    monitor: str = "val/mIoU"
    seed: int = 42
    name: str = ""
    config: str = ""

    def __post_init__(self) -> None:
        self._check_sections()
        # Values by position would be in no settings, so another loss would pass as the same.
        for section in _FACTORIES:
            object.__setattr__(self, section, by_name(getattr(self, section)))
        for key in ("train", "val", "test", "unlabeled"):
            split = getattr(self.data, key)
            if split is not None and split not in self.dataset.splits:
                raise InputError(
                    f"data.{key}={shortened(split)}",
                    f"{self.dataset.name} has no such split{nearest(split, self.dataset.splits)}",
                )
        self._check_teacher()
        if self.dataset.is_measured:
            self._check_colors()
        else:
            self._check_shares()

    def _check_sections(self) -> None:
        """Raise an :class:`InputError` if a field is of another kind than it must be."""
        for section, kind in _PLAIN.items():
            value = getattr(self, section)
            is_right = isinstance(value, kind)
            require(is_right, section, repr(value), f"{section}={kind.__name__}(...)")
        for section in _FACTORIES:
            value = getattr(self, section)
            is_factory = callable(value) and (
                isinstance(value, type) or not hasattr(value, "forward")
            )
            wanted = f"a class or a function that builds it, as in {section}=partial(CLASS, ...)"
            require(is_factory, section, repr(value), wanted)
        for name in ("monitor", "name", "config"):
            require(isinstance(getattr(self, name), str), name, repr(getattr(self, name)), "a text")
        info = self.dataset
        words = f"different labels of 0 to {info.num_classes - 1}"
        require(info.is_scored_right, "dataset.scored", info.scored, words)
        is_seed = fits(self.seed, int) and 0 <= self.seed < 2**32
        require(is_seed, "seed", repr(self.seed), "a whole number, at least 0 and below 2 ** 32")

    def _check_teacher(self) -> None:
        """Raise an :class:`InputError` if a teacher lacks its weights or its images."""
        if self.teacher.weight and not self.optim.ema:
            raise InputError(
                f"teacher.weight={self.teacher.weight}",
                "the teacher is the moving average of the weights",
                "give optim.ema, for example 0.99",
            )
        if self.teacher.weight and self.dataset.is_measured:
            raise InputError(
                f"teacher.weight={self.teacher.weight}",
                f"{self.dataset.name} has measurements, whose brightness cannot be changed",
                "give teacher.weight=0",
            )
        if bool(self.teacher.weight) != bool(self.data.unlabeled):
            raise InputError(
                f"teacher.weight={self.teacher.weight} and data.unlabeled={self.data.unlabeled}",
                "self-training needs both",
                "give a weight such as 1 and a split such as train, or neither",
            )

    @property
    def root(self) -> Path:
        return Path(self.data.root or self.dataset.root)

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The mean and the standard deviation of each band, in pixel values.

        Raises:
            InputError: ``data.mean`` or ``data.std`` does not fit the bands.
        """
        self.check_normalization()
        info = self.dataset
        unit = 1.0 if info.is_measured else 2**info.bits - 1
        mean, std = (tuple(unit * v for v in values or ()) for values in self.mean_and_std)
        return mean, std

    @property
    def mean_and_std(self) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
        """``data.mean`` and ``data.std``, or the encoder's; None if values must be given."""
        data = self.data
        if (data.mean and data.std) or not self.dataset.is_rgb8:
            return data.mean, data.std
        mean, std = self._of_encoder()
        return data.mean or mean, data.std or std

    def _of_encoder(self) -> "Normalization":
        """Find mean and deviation that pretrained weights of the encoder expect.

        They are ImageNet's if this is not known, or if there are no such weights.
        """
        # Not above: the networks come with torch and timm, which settings alone do not need.
        from network.models.pretrained import encoder_normalization

        given = arguments(self.model)
        name = given.get("encoder")
        if not isinstance(name, str):
            return IMAGENET_MEAN, IMAGENET_STD
        return encoder_normalization(name, given.get("weights"))

    def check_normalization(self) -> None:
        """Raise an :class:`InputError` if ``data.mean`` and ``data.std`` do not fit the bands.

        Each needs one value for every band. Only images of three bands of 8 bits need none, as they
        get the encoder's. ImageNet's values are only for images of 8 bits.
        """
        info = self.dataset
        measure = f"'python tools/measure_bands.py -c {self.config}' measures them"
        for key, values in zip(_NORMALIZATION, self.mean_and_std, strict=True):
            if values is None:
                raise InputError(
                    key,
                    f"has no values, {info.name} has {info.bands} bands of {info.dtype}; only "
                    "3 bands of uint8 get the encoder's",
                    f"{measure}",
                )
            if len(values) != info.bands:
                raise InputError(
                    key,
                    f"{len(values)} values, {info.name} has {info.bands} bands",
                    f"{measure}",
                )
            if tuple(values) in (IMAGENET_MEAN, IMAGENET_STD) and info.dtype != "uint8":
                raise InputError(
                    key,
                    f"has ImageNet's values for 8 bits, {info.name} has {info.dtype}",
                    f"{measure}",
                )

    def _check_shares(self) -> None:
        """Raise an :class:`InputError` if mean and deviation are no shares of the largest value."""
        mean, std = self.data.mean, self.data.std
        is_share = mean is None or (min(mean) >= 0 and max(mean) <= 1)
        require(is_share, "data.mean", mean, "shares of the largest value, 0 to 1")
        is_share = std is None or max(std) <= 1
        require(is_share, "data.std", std, "shares of the largest value, above 0, at most 1")

    def _check_colors(self) -> None:
        """Raise an :class:`InputError` if measurements are to be augmented like brightness."""
        for key in ("brighten", "sharpen"):
            value = getattr(self.data, key)
            if value:
                raise InputError(
                    f"data.{key}={value}",
                    f"is for brightness of 8 or 16 bits, {self.dataset.name} has "
                    f"{self.dataset.dtype}",
                    f"give data.{key}=0",
                )

    def build_model(self, pretrained: bool = True) -> "nn.Module":
        """Build the network.

        Args:
            pretrained: whether to load pretrained encoder weights. They are not needed when a
                checkpoint is loaded next.
        """
        has_weights = "weights" in parameters(self.model)
        return self.model(weights=None) if has_weights and not pretrained else self.model()


_PLAIN = {"data": Data, "optim": Optim, "teacher": Teacher, "compute": Compute, "log": Log}
"""Sections of plain values."""
_FACTORIES = ("model", "loss")
"""Sections that are factories."""
_NORMALIZATION = ("data.mean", "data.std")
"""Settings whose defaults depend on the encoder."""


def load_experiment(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Load the experiment of a config file and change it by ``key=value`` overrides.

    Args:
        path: the config file.
        overrides: words such as ``"optim.lr=1e-4"``.

    Raises:
        InputError: the file is missing, is not Python or has no ``experiment``; a field or an
            override is misspelled or has a value of the wrong type.

    Examples:
        >>> overrides = ["optim.lr=1e-4", "model.layers=3"]
        >>> experiment = load_experiment("config/demo/bicor.py", overrides)
        >>> experiment.name, experiment.optim.lr, settings(experiment)["model.layers"]
        ('demo/bicor', 0.0001, 3)
    """
    path = Path(path)
    experiment = getattr(import_config(path), "experiment", None)
    if not isinstance(experiment, Experiment):
        raise InputError(path, "defines no 'experiment = Experiment(...)'")
    for section in _FACTORIES:
        _check_factory(path, section, getattr(experiment, section))
    name, base = experiment.name, experiment.config
    if base and name == _default_name(Path(base)):
        name = ""  # that of the config which this one has loaded and changed
    experiment = replace(experiment, config=path.as_posix(), name=name or _default_name(path))
    check_settings(experiment)
    return override(experiment, overrides)


def _fill_in(experiment: Experiment) -> str:
    """Replace the settings in braces in an experiment's name by their values."""
    known = settings(experiment)

    def value(match: re.Match) -> str:
        if match[1] not in known:
            raise InputError(
                f"name={experiment.name}", f"no setting '{match[1]}'{nearest(match[1], known)}"
            )
        return str(known[match[1]])

    return re.sub(r"\{([\w.]+)\}", value, experiment.name)


def settings(experiment: Experiment) -> dict[str, Any]:
    """List every setting of an experiment with its final value, by the key that overrides it."""
    result = {"monitor": experiment.monitor, "name": experiment.name, "seed": experiment.seed}
    for section in _PLAIN:
        values = dataclasses.asdict(getattr(experiment, section))
        result |= {f"{section}.{key}": value for key, value in values.items()}
    result |= zip(_NORMALIZATION, experiment.mean_and_std, strict=True)
    for section in _FACTORIES:
        result |= _defaults(section, getattr(experiment, section))
    return result


def default_settings(experiment: Experiment) -> dict[str, Any]:
    """List the defaults that settings have when neither config nor command line gives a value.

    A record of older code lacks newer settings. That code behaved as if they had their defaults.
    """
    defaults = {}
    for section in _PLAIN:
        for f in fields(getattr(experiment, section)):
            defaults[f"{section}.{f.name}"] = f.default
    # Before a training recorded them, all images were normalized by ImageNet's values.
    defaults |= zip(_NORMALIZATION, (IMAGENET_MEAN, IMAGENET_STD), strict=True)
    for section in _FACTORIES:
        factory = getattr(experiment, section)
        defaults |= _defaults(section, innermost(factory))
        # That code did not record values by position.
        given = given_by_position(factory)
        defaults |= {f"{section}.{key}": value for key, value in given.items()}
    return defaults


def _defaults(section: str, factory: Callable) -> dict[str, Any]:
    return {
        f"{section}.{key}": parameter.default
        for key, parameter in parameters(factory).items()
        if parameter.default is not parameter.empty
    }


def check_settings(experiment: Experiment) -> None:
    """Raise an :class:`InputError` if a setting has a value that a checkpoint cannot store."""
    for key, value in settings(experiment).items():
        if not is_plain(value):
            section = key.partition(".")[0]
            raise InputError(
                experiment.config,
                f"{key}={value!r} cannot be stored in a checkpoint; allowed are a str, number, "
                "bool or None, or a tuple, list or dict of these",
                f"write a function in the config that builds the {section} with this value, and "
                f"give {section}=that function",
            )


def describe(experiment: Experiment) -> str:
    """Write an experiment as text, with one setting ``key=value`` a line."""
    head = f"# {experiment.config} on {experiment.dataset.name}\n"
    return head + "".join(f"{key}={value}\n" for key, value in settings(experiment).items())


def _default_name(path: Path) -> str:
    parts = path.resolve().with_suffix("").parts
    # Below config/ the whole path names the experiment; elsewhere its folder and file do.
    folders = parts[:-1]
    start = len(folders) - folders[::-1].index("config") if "config" in folders else -2
    return "/".join(parts[start:])


def import_config(path: Path, sections: Sequence[type] = ()) -> Any:
    """Run a config file and return it as a module; two files of one name do not collide.

    Args:
        path: the config file.
        sections: data classes that the config may build, besides those of an experiment. If it
            misspells one of their fields, the error suggests the nearest one.

    Raises:
        InputError: the file is missing, is not Python or fails.
    """
    if not path.is_file():
        raise InputError(path, "no such config file", "see the files in config/")
    if path.suffix != ".py":
        raise InputError(path, "a config is a Python file, its name must end in .py")
    spec = importlib.util.spec_from_file_location(f"config:{path.resolve()}", path)
    assert spec is not None  # as it ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise InputError(path, f"not Python, line {error.lineno}: {error.msg}") from error
    except InputError as error:
        raise InputError(path, f"{error}") from error
    except Exception as error:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if os.path.realpath(frame.filename) == os.path.realpath(path)
        ]
        where = f"line {lines[-1]}: " if lines else ""
        message = f"{type(error).__name__}: {error}" + _nearest_field(
            str(error), (Experiment, Data, Optim, Compute, *sections)
        )
        raise InputError(path, f"{where}{message}", _moved(error)) from error
    return module


def _moved(error: Exception) -> str:
    """Give a remedy if a config imports a module that this project no longer has."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("network."):
        return "'Library and modules' in docs/changelog.md says where it is now"
    return ""


def _nearest_field(message: str, sections: Sequence[type]) -> str:
    """Suggest a field if Python's message is about an unexpected keyword argument."""
    match = re.search(r"(\w+)\.__init__\(\) got an unexpected .* '(\w+)'", message)
    known = {section.__name__: section for section in sections}
    if not match or match[1] not in known:
        return ""
    return nearest(match[2], [f.name for f in fields(known[match[1]])])


def _check_factory(path: Path, section: str, factory: Callable) -> None:
    """Raise an :class:`InputError` if the values of a factory do not match its parameters."""
    known = parameters(innermost(factory))
    if isinstance(factory, partial) and not takes_any(factory):
        for key in factory.keywords:
            if key not in known:
                raise InputError(path, f"{section} has no parameter '{key}'{nearest(key, known)}")
    for key, parameter in parameters(factory).items():
        if key in hints(factory) and key in getattr(factory, "keywords", ()):
            hint, value = parameter.annotation, parameter.default
            usual = known[key].default if key in known else parameter.empty
            # A parameter with the default None takes None, whatever its type says.
            if value != usual and not fits(value, hint):
                raise InputError(path, f"{section}.{key}={value!r} must be {name_of_type(hint)}")
        if parameter.default is parameter.empty:
            raise InputError(
                path,
                f"{section} needs a value for '{key}'",
                f"give it in a partial, as in {section}=partial({innermost(factory).__name__}, "
                f"{key}=...)",
            )


def override(experiment: Experiment, overrides: Sequence[str]) -> Experiment:
    """Return the experiment changed by ``key=value`` overrides.

    All are applied at once, so values that only fit together may come in any order.

    Args:
        experiment: the experiment to change.
        overrides: words such as ``"optim.lr=1e-4"``.

    Raises:
        InputError: an override is misspelled or has a value of the wrong type, or the new values do
            not fit together.
    """
    values = parse_overrides(overrides, _override_types(experiment))
    changes = values.pop("", {})
    for section, changed in values.items():
        old = getattr(experiment, section)
        is_plain = dataclasses.is_dataclass(old)
        changes[section] = replace(old, **changed) if is_plain else partial(old, **changed)
    experiment = replace(experiment, **changes)
    _check_bands(experiment)
    experiment = replace(experiment, name=_fill_in(experiment))
    if experiment.name or "name" in changes:
        _check_name(experiment.name)
    return experiment


def _check_name(name: str) -> None:
    """Raise an :class:`InputError` if a name is no path below the folders of weights and logs."""
    parts = Path(name.strip()).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise InputError(
            f"name={name}",
            "must name a folder below those of weights and logs",
            "give a relative path without '..'",
        )


def _check_bands(experiment: Experiment) -> None:
    info, key = experiment.dataset, "model.bands"
    bands = settings(experiment).get(key, info.bands)
    if bands != info.bands:
        raise InputError(
            f"{key}={bands}",
            f"the images of {info.name} have {info.bands}",
            f"give {key}={info.bands}",
        )


def _override_types(experiment: Experiment) -> dict[str, Any]:
    """Find the type of every key that can be overridden."""
    types: dict[str, Any] = {"monitor": str, "seed": int, "name": str}
    for section in _PLAIN:
        hints = typing.get_type_hints(type(getattr(experiment, section)))
        types |= {f"{section}.{key}": hint for key, hint in hints.items()}
    for section in _FACTORIES:
        found = parameters(getattr(experiment, section)).items()
        types |= {f"{section}.{key}": parameter.annotation for key, parameter in found}
    return types
