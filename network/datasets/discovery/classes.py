"""The classes that were found in a data set."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from network.datasets.schema import RGB


@dataclass(frozen=True)
class ClassFound:
    """A class.

    Attributes:
        name: its name.
        color: its color.
        amount: number of its pixels, or area of its polygons in square meters.
        source: what stands for it in the labels: a value, a color, a text.
    """

    name: str
    color: RGB
    amount: float
    source: str


@dataclass(frozen=True)
class Ignored:
    """A value or a color of labels that is no class.

    Attributes:
        amount: number of its pixels, or area of its polygons in square meters.
        why: why it is no class.
    """

    amount: float
    why: str


@dataclass
class Proposal:
    """The classes of a data set, and how its labels name them.

    Attributes:
        unit: what the amounts are: ``"pixels"`` or ``"m2"``.
        total: amount of all labels.
        classes: the classes, in the order of their labels.
        ignored: values, colors or texts that are no class.
        coding: arguments of :class:`MaskCoding`.
        notes: what the user should know, a sentence each.
    """

    unit: str
    total: float
    classes: list[ClassFound] = field(default_factory=list)
    ignored: dict[Any, Ignored] = field(default_factory=dict)
    coding: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def ignore(self, value: Any, amount: float, why: str) -> None:
        """Note a value, a color or a text that is no class."""
        self.ignored[value] = Ignored(amount, why)


def unique_names(names: Sequence[str]) -> list[str]:
    """Number names that occur several times.

    Examples:
        >>> unique_names(["gray", "red", "gray"])
        ['gray', 'red', 'gray_2']
    """
    found: list[str] = []
    for name in names:
        number, own = 1, name
        while own in found:
            number += 1
            own = f"{name}_{number}"
        found.append(own)
    return found
