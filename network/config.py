"""Experiments: what a config file says, and how it is loaded, overridden and written down.

A config is a Python file that defines ``experiment``. Its model and loss are factories, mostly
``functools.partial`` of a class: building nothing yet, they tell the type and default of every
keyword parameter, which ``model.key=value`` and ``loss.key=value`` change on the command line.
"""

import dataclasses
import importlib.util
import re
import traceback
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from network.errors import InputError, nearest
from network.factories import innermost, is_plain, parameters, takes_any
from network.overrides import parse_overrides
from network.settings import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PRECISIONS,
    Compute,
    Data,
    Optim,
    require,
    shortened,
)

if TYPE_CHECKING:
    from torch import nn

    from network.datasets.schema import DatasetInfo

# Configs import all of an experiment from here.
__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "PRECISIONS",
    "Compute",
    "Data",
    "Experiment",
    "Optim",
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
    """One experiment: plain values and factories; nothing is built before it is asked for.

    Args:
        dataset: facts of the data set.
        model: builds the network, a :class:`network.contracts.Network`. A parameter ``weights``
            names its pretrained weights; it is set to None where a checkpoint follows.
        loss: builds the loss, a :class:`network.contracts.Loss`.
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
                    f"data.{key}={shortened(split)}",
                    f"{self.dataset.name} has no such split{nearest(split, self.dataset.splits)}",
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
                    key,
                    f"{len(values)} values, {info.name} has {info.bands} bands",
                    f"{measure}",
                )
            if tuple(values) in (IMAGENET_MEAN, IMAGENET_STD) and info.bits != 8:
                raise InputError(
                    key, f"ImageNet's, {info.name} has {info.bits} bits a band", f"{measure}"
                )

    def build_model(self, pretrained: bool = True) -> "nn.Module":
        """The network; without pretrained encoder weights where a checkpoint will follow."""
        has_weights = "weights" in parameters(self.model)
        return self.model(weights=None) if has_weights and not pretrained else self.model()


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
        raise InputError(path, "defines no 'experiment = Experiment(...)'")
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
                f"name={experiment.name}", f"no setting '{match[1]}'{nearest(match[1], known)}"
            )
        return str(known[match[1]])

    return re.sub(r"\{([\w.]+)\}", value, experiment.name)


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
                experiment.config,
                f"{key}={value!r} is no plain value, which checkpoints remember: a str, number, "
                "bool or None, or a tuple, list or dict of these",
                f"bind it in a function of the config that builds the {key.partition('.')[0]}, "
                "and name that",
            )


def describe(experiment: Experiment) -> str:
    """The resolved experiment as text: its settings, one ``key=value`` a line."""
    head = f"# {experiment.config} on {experiment.dataset.name}\n"
    return head + "".join(f"{key}={value}\n" for key, value in settings(experiment).items())


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
        raise InputError(path, "no such config file", "see config/ for those that there are")
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
            f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)
        ]
        where = f"line {lines[-1]}: " if lines else ""
        message = f"{type(error).__name__}: {error}" + _nearest_field(
            str(error), (Experiment, Data, Optim, Compute, *sections)
        )
        raise InputError(path, f"{where}{message}", _moved(error)) from error
    return module


def _moved(error: Exception) -> str:
    """What to do where a config imports a module of the project that is not there any more."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("network."):
        return "'Library and modules' in docs/changelog.md says where it is now"
    return ""


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
                raise InputError(path, f"{section} has no parameter '{key}'{nearest(key, known)}")
    for key, parameter in parameters(factory).items():
        if parameter.default is parameter.empty:
            raise InputError(
                path,
                f"{section} needs a value for '{key}'",
                f"give it in a partial, as in {section}=partial({innermost(factory).__name__}, "
                f"{key}=...)",
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
    """The type of every key that can be overridden."""
    types: dict[str, Any] = {"monitor": str, "seed": int, "name": str}
    for section in _PLAIN:
        hints = typing.get_type_hints(type(getattr(experiment, section)))
        types |= {f"{section}.{key}": hint for key, hint in hints.items()}
    for section in _FACTORIES:
        found = parameters(getattr(experiment, section)).items()
        types |= {f"{section}.{key}": parameter.annotation for key, parameter in found}
    return types
