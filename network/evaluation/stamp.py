"""What files of results must hold, checked as they are read."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError


class _Facts(BaseModel):
    """Named facts of these types, and any others."""

    model_config = ConfigDict(strict=True, extra="allow")


class _Masks(_Facts):
    padding_policy: str
    tiling: str
    patches: dict[str, Any] = {}


class _Named(_Facts):
    name: str


class _Comparable(_Facts):
    """What tells which results may stand side by side."""

    data_set: str
    split: str
    trained_on: bool | None
    chosen_on: bool | None
    images: int
    masks: dict[str, _Masks]
    labels_sha256: dict[str, str]
    classes: list[str]
    classes_in_mean: list[str]
    tta: str
    views: int | None
    boundary_tolerance: int
    checkpoint_sha256: str
    settings: _Named
    training: dict[str, Any] | None
    seed: int | None


class _Stamp(_Comparable):
    """See :func:`network.evaluation.protocol.stamp`."""

    label_kinds: list[str]
    checkpoint: str
    config: str
    precision: str
    software: dict[str, str]
    predictions: str = ""
    frames: str = ""


class _Result(_Facts):
    protocol: _Comparable
    scores: dict[str, Any]


def check_stamp(protocol: Any) -> None:
    """Raise a :class:`ValueError` unless this is a complete stamp; it says what is missing."""
    _check(_Stamp, protocol)


def check_result(document: Any) -> None:
    """The same for what ``scores.json`` holds, as far as scores are compared."""
    _check(_Result, document)


def _check(model: type[BaseModel], value: Any) -> None:
    try:
        model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error
