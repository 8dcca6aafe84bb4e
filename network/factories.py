"""What a factory of a config can be given: the parameters of a class or function, and their values.

Behind a parameter ``**options`` are those of whatever takes it: the next class in the order of
inheritance, or what the source of the function calls with it.
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


def is_plain(value: object) -> bool:
    """Whether it is a str, number, bool or None, or a tuple, list or dict of such.

    Nothing else can stand in a checkpoint that is read without running what it holds.
    """
    if type(value) is dict:
        return all(type(key) in _SCALARS and is_plain(entry) for key, entry in value.items())
    if type(value) is tuple or type(value) is list:
        return all(is_plain(entry) for entry in value)
    return type(value) in _SCALARS


def parameters(factory: Callable) -> dict[str, Parameter]:
    """What ``factory`` can be given by name, with defaults, or values that it is bound to.

    An annotation is a type, never a string; without one it is the type of the default.
    """
    return {
        name: parameter
        for name, parameter in _all_parameters(factory).items()
        if parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    }


def takes_any(factory: Callable) -> bool:
    """Whether it has a ``**options`` of which nobody can tell where it ends."""
    found = _all_parameters(factory).values()
    return any(parameter.kind is Parameter.VAR_KEYWORD for parameter in found)


def innermost(factory: Callable) -> Callable:
    """The class or function in a partial, or in a partial of one."""
    return innermost(factory.func) if isinstance(factory, partial) else factory


def _all_parameters(factory: Callable) -> dict[str, Parameter]:
    if isinstance(factory, partial):
        return _bound(_all_parameters(factory.func), len(factory.args), factory.keywords)
    steps = _constructors(factory) if inspect.isclass(factory) else _one(factory)
    return _through(steps)


def _bound(found: dict[str, Parameter], count: int, values: dict) -> dict[str, Parameter]:
    """Without the first ``count``, which are given by position; others have new defaults."""
    positional = [n for n, p in found.items() if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
    found = {name: p for name, p in found.items() if name not in positional[:count]}
    for name, value in values.items():
        old = found.get(name, Parameter(name, Parameter.KEYWORD_ONLY, annotation=type(value)))
        found[name] = old.replace(default=value)
    return found


def _constructors(cls: type) -> Iterator[Callable]:
    """The constructors of a class and of its parents, as ``super()`` finds them."""
    for parent in cls.__mro__:
        if parent.__module__.partition(".")[0] == "torch" or parent is object:
            return
        if "__init__" in vars(parent):
            yield vars(parent)["__init__"]


def _one(function: Callable) -> Iterator[Callable]:
    yield function


def _through(steps: Iterator[Callable]) -> dict[str, Parameter]:
    """The parameters of the first of ``steps``, and those behind its ``**options``."""
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
    try:
        hints = typing.get_type_hints(inspect.unwrap(function))
    except (NameError, TypeError, AttributeError):  # names that are only known to type checkers
        hints = {}
    return {
        name: p.replace(annotation=hints.get(name, type(p.default)))
        for name, p in inspect.signature(function).parameters.items()
    }


def _behind(
    function: Callable, options: str, steps: Iterator[Callable]
) -> dict[str, Parameter] | None:
    """What takes the ``**options`` of a function, without what it is given already; None: unknown.

    Args:
        steps: where ``super()`` goes on.
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
        case ast.Attribute(value=parent, attr="__init__"):  # by name, which gives it itself first
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
    """The call in a function that is given its ``**options``."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # there is no source, or it is a part of a line
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                value = keyword.value
                if keyword.arg is None and isinstance(value, ast.Name) and value.id == options:
                    return node
    return None


def _named(expression: ast.expr, function: Callable) -> Any | None:
    """The class or function that an expression of names and dots means in ``function``."""
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
    """Everything that ``factory`` is called with, by name: what it is bound to, and its defaults.

    Unlike :func:`parameters`, also what is bound by position.

    Raises:
        TypeError: something is bound that the function does not take.
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
