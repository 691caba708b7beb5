"""How a function becomes a verb: what Typer reads from its signature, and what it is handed."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, cast, get_type_hints

import typer
from typer.core import TyperGroup
from typer.main import get_command

from mlgit.cli.commands import Command, CommandGroup
from mlgit.cli.context import Context, resolve
from mlgit.cli.options import Quiet, Verbose

Verb = Callable[..., int | None]
"""``def verb(context: Context, ...) -> None``; a number returned is the exit code, None is success."""

_COMMON = {"quiet": Quiet, "verbose": Verbose}


@dataclass(frozen=True, slots=True)
class Group:
    """Verbs below a verb, as in ``mlgit task add``.

    Attributes:
        summary: One line, imperative, without a full stop.
        verbs: Name -> function.
    """

    summary: str
    verbs: Mapping[str, Verb]


def load(name: str, row: str) -> Command | CommandGroup:
    """Import the verb that a row of the table names.

    Args:
        name: What the user types.
        row: ``module:attribute``; the attribute is a function or a ``Group``.

    Returns:
        The command, ready to parse arguments.
    """
    module, _, attribute = row.partition(":")
    return build(name, getattr(importlib.import_module(module), attribute))


def build(name: str, target: Verb | Group) -> Command | CommandGroup:
    """Return the Typer command for a function or a group of them."""
    holder = typer.Typer(add_completion=False, rich_markup_mode=None)
    holder.callback()(_nothing)  # with a callback Typer makes a group even of one command
    if isinstance(target, Group):
        inner = typer.Typer(cls=CommandGroup, help=target.summary)
        for inner_name, function in target.verbs.items():
            _register(inner, inner_name, function)
        holder.add_typer(inner, name=name)
    else:
        _register(holder, name, target)
    group = get_command(holder)
    assert isinstance(group, TyperGroup)  # noqa: S101 - tells the type checker what the callback above ensures
    command = group.commands[name]
    assert isinstance(command, Command | CommandGroup)  # noqa: S101 - the same
    return command


def _nothing() -> None:
    """Do nothing."""


def _register(app: typer.Typer, name: str, function: Verb) -> None:
    summary, _, rest = inspect.cleandoc(function.__doc__ or "").partition("\n")
    app.command(name, cls=Command, help=f"{summary.removesuffix('.')}\n{rest}")(_adapt(function))


def _adapt(function: Verb) -> Verb:
    """Return ``function`` with the signature Typer should see: no context, but the options every verb has."""
    context, *own = inspect.signature(function, eval_str=True).parameters.values()
    groups = {parameter.name: cast("type[Any]", parameter.annotation) for parameter in own if _is_group(parameter)}
    own = [each for parameter in own for each in _expanded(parameter)]
    if context.annotation is not Context or _COMMON.keys() & {parameter.name for parameter in own}:
        raise TypeError(f"{function.__qualname__} must take a Context first, and no {' or '.join(_COMMON)}")

    @functools.wraps(function)
    def run(*, frame: typer.Context, quiet: bool, verbose: bool, **values: Any) -> int | None:
        as_json = bool(values.get("json"))
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        return function(
            resolve(command=frame.obj, quiet=quiet, verbose=verbose, as_json=as_json, environment=os.environ), **values
        )

    keyword = inspect.Parameter.KEYWORD_ONLY
    shown = [
        inspect.Parameter("frame", keyword, annotation=typer.Context),
        *(parameter.replace(kind=keyword) for parameter in own),
        *(inspect.Parameter(name, keyword, annotation=kind, default=False) for name, kind in _COMMON.items()),
    ]
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]  # inspect reads it from any function
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return run


def _is_group(parameter: inspect.Parameter) -> bool:
    return isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation)


def _expanded(parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """Return the parameter, or one per field where its type is a dataclass: options that several verbs share."""
    if not _is_group(parameter):
        return [parameter]
    hints = get_type_hints(parameter.annotation, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(field.name, keyword, annotation=hints[field.name], default=field.default)
        for field in fields(parameter.annotation)
    ]
