"""Transfer of trained weights to a model: fitting tensors are taken, if needed class by class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from network.errors import InputError, listed
from network.models.adaptation import is_update, merged_lora, without_lora
from network.models.checkpoint import check_finite, kind_of, weights_for

SHOWN = 3
"""Number of tensor names in the line about the taken weights."""


@dataclass(frozen=True)
class Taken:
    """A list of the weights that a model has taken from a checkpoint.

    Args:
        whole: names of the tensors that were taken as a whole.
        by_class: names of the tensors that were taken for some classes.
        classes: names of these classes.
        anew: names of the tensors that start anew.
    """

    whole: Sequence[str]
    by_class: Sequence[str]
    classes: Sequence[str]
    anew: Sequence[str]

    @property
    def has_encoder(self) -> bool:
        """Whether no tensor of the encoder starts anew, apart from new updates of LoRA."""
        return not any("encoder" in name.split(".") for name in self.anew if not is_update(name))

    def __str__(self) -> str:
        count = len(self.whole) + len(self.by_class) + len(self.anew)
        told = f"took {len(self.whole)} of {count} tensors whole ({listed(self.whole, SHOWN)})"
        if self.by_class:
            told += (
                f", and from {len(self.by_class)} more ({listed(self.by_class, SHOWN)}) only the "
                f"classes {listed(self.classes)}"
            )
        if self.anew:
            return f"{told}; {len(self.anew)} start anew ({listed(self.anew, SHOWN)})"
        return f"{told}; nothing starts anew"


def take_weights(
    model: nn.Module,
    state: dict[str, Tensor],
    path: Path,
    *,
    own: Sequence[str],
    theirs: Sequence[str] | None,
    class_dims: Mapping[str, int] | None,
) -> Taken:
    """Copy the tensors of a checkpoint that fit a model by name and shape.

    Args:
        model: the model.
        state: named tensors of the checkpoint.
        path: path of the checkpoint, for an error.
        own: names of the model's classes, by label.
        theirs: names of the checkpoint's classes, by label, if known.
        class_dims: dimension of each tensor of the model that grows with the classes, if known;
            otherwise sizes are compared to find it.

    Raises:
        InputError: no tensor fits, or a fitting one is not finite.
    """
    expected = model.state_dict()
    found = _aligned(weights_for(model, state, path), expected)
    found = _aligned(_with_lora(found, expected), expected)
    found = {n: v for n, v in found.items() if n in expected and kind_of(v) == kind_of(expected[n])}
    is_same = theirs is None or list(own) == list(theirs)
    theirs = theirs or ()
    pairs = _pairs(own, theirs)
    new: dict[str, Tensor] = {}
    whole, by_class = [], []
    for name, value in found.items():
        old = expected[name]
        dim = None if is_same else _class_dim(name, old, value, len(own), theirs, class_dims)
        if dim is None:
            if value.shape == old.shape:
                new[name] = value
                whole.append(name)
            continue
        if pairs:
            rows = old.clone()
            by_label = rows.unflatten(dim, (len(own), -1))
            by_other = value.unflatten(dim, (len(theirs), -1))
            for label, other in pairs:
                by_label.select(dim, label).copy_(by_other.select(dim, other))
            new[name] = rows
            by_class.append(name)
    if not new:
        raise InputError(
            path,
            "nothing in it fits this model by name and shape",
            "give a checkpoint of the same network or encoder",
        )
    check_finite({name: found[name] for name in new}, expected, path)
    model.load_state_dict(expected | new)
    anew = [name for name in expected if name not in new]
    return Taken(whole, by_class, [own[label] for label, _ in pairs], anew)


def _pairs(own: Sequence[str], theirs: Sequence[str]) -> list[tuple[int, int]]:
    """List the model's label and the checkpoint's label of each class that both have."""
    return [(label, theirs.index(name)) for label, name in enumerate(own) if name in theirs]


def _class_dim(
    name: str,
    own: Tensor,
    other: Tensor,
    count: int,
    theirs: Sequence[str],
    class_dims: Mapping[str, int] | None,
) -> int | None:
    """Find the only dimension in which two tensors differ by their classes, if there is one."""
    if own.ndim != other.ndim:
        return None
    dims = range(own.ndim) if class_dims is None else [class_dims.get(name)]
    fitting = [
        dim
        for dim in dims
        if dim is not None
        and own.shape[dim] % count == 0
        and own.shape[dim] // count * len(theirs) == other.shape[dim]
        and (class_dims is not None or own.shape[dim] == count)
        and all(own.shape[d] == other.shape[d] for d in range(own.ndim) if d != dim)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _with_lora(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fit the updates of LoRA of a checkpoint to a model that has none, others or the same.

    Updates that the model does not have are added to the weights that they adapt. Then the tensors
    get the names that the model has for them.
    """
    shapes = [{n: v.shape for n, v in of.items() if is_update(n)} for of in (state, expected)]
    if shapes[0] == shapes[1]:
        return state
    state = merged_lora(state)
    renamed = {without_lora(name): name for name in expected if not is_update(name)}
    return {renamed.get(name, name): value for name, value in state.items()}


def _aligned(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove the first part of the names if more tensors fit then.

    Tasks of other code may hold the network under another name.
    """

    def fitting(names: Mapping[str, Tensor]) -> int:
        return sum(name in expected and names[name].shape == expected[name].shape for name in names)

    best = state
    for prefix in dict.fromkeys(name.partition(".")[0] + "." for name in state):
        inner = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
        best = max(best, inner, key=fitting)
    return best
