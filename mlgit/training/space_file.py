"""Spaces of hyper-parameters that users write: a TOML file with the values of the first run, and ranges.

::

    [first]
    lr = 5e-5

    [draw]
    lr = { choice = [1e-5, 3e-5, 5e-5] }
    weight_decay = { base = 10, low = -6, high = -2 }
    dropout = { low = 0.0, high = 0.5 }
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mlgit.errors import InvalidInputError, did_you_mean
from mlgit.fileio import file_system_error
from mlgit.training.draws import DRAWN, Draw, Space
from mlgit.training.hyper import HyperParameters


def read_space(path: Path) -> Space:
    """Read a space.

    Each value of ``[draw]`` is drawn for runs from 1 on: ``choice``, one of a list; ``low`` and ``high``, uniformly
    between; with ``base`` as well, that to a power uniformly between. Batch sizes are rounded down.

    Args:
        path: A TOML file.

    Returns:
        The space, whose name is that of the file.

    Raises:
        InvalidInputError: Not TOML, an unknown name, or a range that is none; the place is named.
        FileSystemError: It cannot be read.
    """
    try:
        document = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise file_system_error(error, "read", path) from error
    except (ValueError, RecursionError) as error:  # not TOML, or not UTF-8
        raise _bad(path, f"it is not valid TOML: {error}") from error
    unknown = sorted(document.keys() - {"first", "draw"})
    if unknown:
        raise _bad(path, f"'{unknown[0]}' is neither `first` nor `draw`")
    first, draws = document.get("first", {}), document.get("draw", {})
    for table in (first, draws):
        _check_names(path, table)
    ranges = {name: (DRAWN[name], _draw(path, name, value)) for name, value in draws.items()}
    return Space(path.name, "a file", HyperParameters().with_overrides(first), ranges)


def _check_names(path: Path, table: object) -> None:
    if not isinstance(table, Mapping):
        raise _bad(path, "`first` and `draw` are tables")
    for name in table:
        if name not in DRAWN:
            raise _bad(path, f"'{name}' is not drawn", did_you_mean(name, DRAWN))


def _draw(path: Path, name: str, value: object) -> Draw:
    if not isinstance(value, Mapping):
        raise _bad(path, f"'draw.{name}' is not a table with `choice`, or `low` and `high`")
    whole = name == "batch_per_domain"
    if set(value) == {"choice"}:
        choices = value["choice"]
        if not isinstance(choices, list) or not choices or not all(map(_is_number, choices)):
            raise _bad(path, f"'draw.{name}.choice' is not a list of numbers")
        return lambda random: _cast(random.choice(choices), whole=whole)
    if not {"low", "high"} <= set(value) <= {"low", "high", "base"} or not all(map(_is_number, value.values())):
        raise _bad(path, f"'draw.{name}' has neither `choice`, nor numbers `low` and `high`, and perhaps `base`")
    low, high, base = value["low"], value["high"], value.get("base")
    if low > high or (base is not None and base <= 0):
        raise _bad(path, f"'draw.{name}' is empty: `low` {low} is above `high` {high}, or `base` {base} is not above 0")
    if base is None:
        return lambda random: _cast(random.uniform(low, high), whole=whole)
    return lambda random: _cast(base ** random.uniform(low, high), whole=whole)


def _cast(value: float, *, whole: bool) -> float:
    return int(value) if whole else float(np.float64(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _bad(path: Path, what: str, hint: str | None = None) -> InvalidInputError:
    return InvalidInputError(f"'{path}': {what}", kind="bad-space", hint=hint)
