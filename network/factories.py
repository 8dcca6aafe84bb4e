"""Parameters of a config's factories, which are classes, functions or partials of these.

A parameter ``**options`` stands for further parameters: those of the next class in the order of
inheritance, or those of the function to which the source passes ``**options``.
"""

import ast
import inspect
import textwrap
import typing
from collections.abc import Callable, Iterator
from functools import partial
from inspect import Parameter
from typing import Any

_SCALARS = (str, int, float, bool, type(None))

_BY_POSITION = "by_position"
"""Attribute of a partial with the values that it had by position."""


def is_plain(value: object) -> bool:
    """Tell whether a value is a str, number, bool or None, or a tuple, list or dict of these.

    A checkpoint can hold only such values, since it is read without running code from it.
    """
    if type(value) is dict:
        return all(type(key) in _SCALARS and is_plain(entry) for key, entry in value.items())
    if type(value) is tuple or type(value) is list:
        return all(is_plain(entry) for entry in value)
    return type(value) in _SCALARS


def parameters(factory: Callable) -> dict[str, Parameter]:
    """List the parameters that a factory takes by name, with their types and defaults.

    A value that a partial binds becomes the default. An annotation is a type, never a string; if
    there is none, it is the type of the default.

    Examples:
        >>> from functools import partial
        >>> def build(channels: int, dropout: float = 0.1): ...
        >>> found = parameters(partial(build, channels=64))
        >>> {name: (p.annotation.__name__, p.default) for name, p in found.items()}
        {'channels': ('int', 64), 'dropout': ('float', 0.1)}
    """
    return {
        name: parameter
        for name, parameter in _all_parameters(factory).items()
        if parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    }


def takes_any(factory: Callable) -> bool:
    """Tell whether a factory has a ``**options`` whose parameters cannot be found."""
    found = _all_parameters(factory).values()
    return any(parameter.kind is Parameter.VAR_KEYWORD for parameter in found)


def innermost(factory: Callable) -> Callable:
    """Return the class or function inside a partial, or inside nested partials."""
    return innermost(factory.func) if isinstance(factory, partial) else factory


def by_name(factory: Callable) -> Callable:
    """Bind the values of a partial by name, except those that only the data set decides.

    Args:
        factory: a class or function, or a partial of one. If its first value is for
            ``num_classes`` or ``ignore_index``, that stays where it is. Values that a checkpoint
            cannot store stay, too.

    Examples:
        >>> from functools import partial
        >>> def build(num_classes: int, channels: int, dropout: float = 0.1): ...
        >>> found = by_name(partial(build, 6, 64))
        >>> found.args, found.keywords
        ((6,), {'channels': 64})
    """
    if not isinstance(factory, partial):
        return factory
    known = _all_parameters(factory.func)
    if any(parameter.kind is Parameter.POSITIONAL_ONLY for parameter in known.values()):
        return factory
    names = [n for n, p in known.items() if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
    kept = int(bool(names) and names[0] in ("num_classes", "ignore_index"))
    named = dict(zip(names[kept:], factory.args[kept:], strict=False))
    is_whole = len(factory.args) <= len(names) and not named.keys() & factory.keywords.keys()
    # If a value does not fit, the call itself tells it.
    if not named or not is_whole or not all(map(is_plain, named.values())):
        return factory
    found = partial(factory.func, *factory.args[:kept], **named, **factory.keywords)
    found.__dict__[_BY_POSITION] = named
    return found


def given_by_position(factory: Callable) -> dict[str, Any]:
    """List the values that a factory had by position before :func:`by_name`, by their names."""
    if not isinstance(factory, partial):
        return {}
    return given_by_position(factory.func) | factory.__dict__.get(_BY_POSITION, {})


def hints(factory: Callable) -> dict[str, Any]:
    """List the types that the class or function inside a factory states for its own parameters."""
    function = innermost(factory)
    function = vars(function).get("__init__", function) if inspect.isclass(function) else function
    try:
        return typing.get_type_hints(inspect.unwrap(function))
    except (NameError, TypeError, AttributeError):  # names that are only known to type checkers
        return {}


def _all_parameters(factory: Callable) -> dict[str, Parameter]:
    if isinstance(factory, partial):
        return _bound(_all_parameters(factory.func), len(factory.args), factory.keywords)
    steps = _constructors(factory) if inspect.isclass(factory) else _one(factory)
    return _through(steps)


def _bound(found: dict[str, Parameter], count: int, values: dict) -> dict[str, Parameter]:
    """Leave out the first ``count`` parameters, given by position, and set defaults of others."""
    positional = [n for n, p in found.items() if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
    found = {name: p for name, p in found.items() if name not in positional[:count]}
    for name, value in values.items():
        old = found.get(name, Parameter(name, Parameter.KEYWORD_ONLY, annotation=type(value)))
        found[name] = old.replace(default=value)
    return found


def _constructors(cls: type) -> Iterator[Callable]:
    """Yield the constructors of a class and of its parents in the order of ``super()``."""
    for parent in cls.__mro__:
        if parent.__module__.partition(".")[0] == "torch" or parent is object:
            return
        if "__init__" in vars(parent):
            yield vars(parent)["__init__"]


def _one(function: Callable) -> Iterator[Callable]:
    yield function


def _through(steps: Iterator[Callable]) -> dict[str, Parameter]:
    """Find the parameters of the first of ``steps``, and those that ``**options`` stands for."""
    function = next(steps, None)
    if function is None:  # torch's own, which takes nothing
        return {}
    found = _own(function)
    if inspect.isfunction(function) and next(iter(found), None) == "self":
        del found["self"]
    options = [name for name, p in found.items() if p.kind is Parameter.VAR_KEYWORD]
    if not options:
        return found
    behind = _behind(function, options[0], steps)
    if behind is None:
        return found
    del found[options[0]]
    added = {n: p for n, p in behind.items() if n not in found}
    return found | {
        name: p if p.kind is Parameter.VAR_KEYWORD else p.replace(kind=Parameter.KEYWORD_ONLY)
        for name, p in added.items()
    }


def _own(function: Callable) -> dict[str, Parameter]:
    stated = hints(function)
    return {
        name: p.replace(annotation=stated.get(name, type(p.default)))
        for name, p in inspect.signature(function).parameters.items()
    }


def _behind(
    function: Callable, options: str, steps: Iterator[Callable]
) -> dict[str, Parameter] | None:
    """Find the parameters that ``**options`` stands for; None if they are unknown.

    Parameters to which the function gives a value itself are left out.

    Args:
        function: the function that has ``**options``.
        options: name of this parameter.
        steps: constructors to which ``super()`` leads.
    """
    function = inspect.unwrap(function)
    call = _call_with(function, options)
    if call is None:
        following = next(steps, None)
        return None if following is None else _through(_after(following, steps))
    fixed = [keyword.arg for keyword in call.keywords if keyword.arg]
    count = 0 if any(isinstance(a, ast.Starred) for a in call.args) else len(call.args)
    found: dict[str, Parameter] | None
    match call.func:
        case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__"):
            found = _through(steps)
        case ast.Attribute(value=parent, attr="__init__"):  # Parent.__init__(self, ...)
            target, count = _named(parent, function), count - 1
            found = _all_parameters(target) if target else None
        case _:
            target = _named(call.func, function)
            found = _all_parameters(target) if target else None
    if found is None:
        return None
    return {n: p for n, p in _bound(found, count, {}).items() if n not in fixed}


def _after(first: Callable, others: Iterator[Callable]) -> Iterator[Callable]:
    yield first
    yield from others


def _call_with(function: Callable, options: str) -> ast.Call | None:
    """Find the call in a function's source that passes ``**options`` on."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # no source, or it is only a part of a line
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                value = keyword.value
                if keyword.arg is None and isinstance(value, ast.Name) and value.id == options:
                    return node
    return None


def _named(expression: ast.expr, function: Callable) -> Any | None:
    """Find the class or function that a name, or ``module.name``, means inside ``function``."""
    match expression:
        case ast.Name(id=name):
            scope = inspect.getclosurevars(function)
            for names in (scope.nonlocals, scope.globals, scope.builtins):
                if name in names:
                    return names[name] if callable(names[name]) else None
            return None
        case ast.Attribute(value=ast.Name(id=name), attr=attribute):
            module = inspect.getclosurevars(function).globals.get(name)
            found = getattr(module, attribute, None)
            return found if callable(found) else None
    return None


def arguments(factory: Callable) -> dict[str, Any]:
    """List all values with which a factory is called, by name: bound values and defaults.

    Unlike :func:`parameters`, this includes values that are bound by position.

    Raises:
        TypeError: a partial binds a value that its function does not take.
    """
    values = {
        name: parameter.default
        for name, parameter in parameters(factory).items()
        if parameter.default is not Parameter.empty
    }
    while isinstance(factory, partial):
        positional = inspect.signature(factory.func).bind_partial(*factory.args).arguments
        values = {**positional, **values}
        factory = factory.func
    return values
