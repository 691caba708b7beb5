"""Values of options and arguments, from text to the type that the verb declared.

Typer hands this to pydantic, whose import alone takes longer than all of ``mlgit log``, and whose messages do not
repeat what the user wrote. So the simple types are converted here; a type that is not simple is left to Typer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import typer

# Any stands here for contexts, parameters and values: Typer keeps the types of the first two private.
Convert = Callable[[Any], Any]


class SimpleValue:
    """Stands where Typer keeps its own converter of one parameter.

    Args:
        convert: Turns one value, a text or a default, into the declared type, or raises ValueError.
    """

    def __init__(self, convert: Convert) -> None:
        self._convert = convert

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return ``value`` in the declared type; ``()`` or None when there is none, as Typer does.

        Raises:
            typer.BadParameter: It is not of that type.
        """
        many = param.multiple or param.nargs == -1
        if value is None:
            return () if many else None
        try:
            return [self._convert(item) for item in value] if many else self._convert(value)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param=param) from error


def simplify(parameters: Iterable[Any]) -> list[Any]:
    """Give every parameter of a simple type its own converter.

    Args:
        parameters: Of a Typer command. One that this version of Typer builds otherwise is left alone.

    Returns:
        The same parameters.
    """
    known = list(parameters)
    for parameter in known:
        descriptor = getattr(parameter, "type_descriptor", None)
        if descriptor is None or "get_runtime_param" in vars(parameter):
            continue
        convert = converter(descriptor.annotation, descriptor.parameter_info)
        if convert is not None:
            parameter.get_runtime_param = _always(SimpleValue(convert))
    return known


def converter(annotation: Any, info: Any) -> Convert | None:
    """Return what turns text into ``annotation``, or None when that is Typer's to do.

    Args:
        annotation: The declared type, without ``| None``; ``list[T]`` means one value of it.
        info: What ``typer.Option(...)`` or ``typer.Argument(...)`` said.
    """
    if info.parser is not None or info.clamp or not info.case_sensitive:
        return None
    if get_origin(annotation) is list:
        (annotation,) = get_args(annotation)
    if annotation is bool or annotation is str:
        return _same
    if annotation is int or annotation is float:
        return _number(annotation, info.min, info.max)
    if annotation is Path:
        plain = info.file_okay and info.dir_okay and not (info.exists or info.writable or info.resolve_path)
        return Path if plain and not info.allow_dash else None
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _choice({str(member.value): member for member in annotation})
    return None


def _always(value: SimpleValue) -> Callable[[], SimpleValue]:
    return lambda: value


def _same(value: Any) -> Any:
    return value


def _number(kind: type[int] | type[float], low: float | None, high: float | None) -> Convert:
    def convert(value: Any) -> Any:
        try:
            number = kind(value)
        except ValueError:
            number = math.nan
        if math.isnan(number):
            raise ValueError(f"'{str(value)[:80]}' is not a {'whole ' if kind is int else ''}number")
        if (low is not None and number < low) or (high is not None and number > high):
            raise ValueError(f"{str(value)[:80]} is not {_range(low, high)}")
        return number

    return convert


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"between {low} and {high}"


def _choice(members: dict[str, Enum]) -> Convert:
    def convert(value: Any) -> Enum:
        if isinstance(value, Enum):
            return value
        if value not in members:
            raise ValueError(f"'{str(value)[:80]}' is not one of {', '.join(members)}")
        return members[value]

    return convert
