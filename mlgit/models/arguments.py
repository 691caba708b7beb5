"""Arguments in the text of a factory: ``vit_b_16?image_size=32&dropout=0.1``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

from mlgit.errors import InvalidInputError, MlgitError

Argument: TypeAlias = "bool | int | float | str | list[int] | list[float] | None"

_WORD = re.compile(r"[A-Za-z0-9_.+-]{1,64}", re.ASCII)
_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_REFUSED = frozenset(
    {
        "cache_dir",
        "checkpoint_path",
        "exportable",
        "features_only",
        "num_classes",
        "num_labels",
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "progress",
        "scriptable",
        "weights",
        "weights_backbone",
    }
)
"""What a model's size or form has no part in: where weights come from, and the classes, which the task says."""


def split_arguments(rest: str, factory: str) -> tuple[str, dict[str, Argument]]:
    """Return the model's name and the arguments behind it.

    Args:
        rest: ``NAME`` or ``NAME?key=value&key=value``; a value is a number, ``true``, ``false``, ``null``, a list of
            numbers (``[2,2,6,2]``) or a word.
        factory: The whole text, for messages.

    Raises:
        InvalidInputError: Not of this form, or an argument that does not say what a model looks like.
    """
    name, _, text = rest.partition("?")
    found: dict[str, Argument] = {}
    for pair in text.split("&") if text else []:
        key, equals, value = pair.partition("=")
        if not equals or not _KEY.fullmatch(key) or key in found:
            raise _bad(factory, f"'{pair[:80]}' is not one argument, `key=value`")
        if key in _REFUSED:
            raise _bad(factory, f"'{key}' is no argument for the text of a factory")
        found[key] = _value(value, factory)
    return name, found


def _value(text: str, factory: str) -> Argument:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    simple = isinstance(value, (bool, int, float)) or value is None
    numbers = isinstance(value, list) and all(type(item) in (int, float) for item in value)
    if simple or numbers or (isinstance(value, str) and _WORD.fullmatch(value)):
        return value  # type: ignore[return-value]  # one of the types of Argument, by the line above
    raise _bad(factory, f"'{text[:80]}' is no number, list of numbers or word")


def _bad(factory: str, said: str) -> InvalidInputError:
    return InvalidInputError(
        f"model factory '{factory[:80]}': {said}",
        kind="bad-factory",
        hint="write arguments as in `torchvision:vit_b_16?image_size=32`",
    )


@contextmanager
def refusing(factory: str, arguments: Mapping[str, Argument]) -> Iterator[None]:
    """Turn what a library raises about its arguments into an error that names the factory.

    Args:
        factory: The whole text.
        arguments: Those it was called with; without any, errors pass as they are.

    Raises:
        InvalidInputError: The library refused.
    """
    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if not arguments or isinstance(error, MlgitError):
            raise
        said = (str(error).strip() or type(error).__name__).partition("\n")[0][:300]
        raise _bad(factory, f"the model cannot be built so: {said}") from error
