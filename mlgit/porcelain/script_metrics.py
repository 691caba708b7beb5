"""The metrics that a script leaves as a JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from mlgit.errors import InvalidInputError
from mlgit.fileio import file_system_error
from mlgit.objects.manifest import check_name

MAX_BYTES = 2**20
MAX_METRICS = 1_000
_MAX_DEPTH = 8


def read_metrics(path: Path) -> dict[str, float]:
    """Read metrics: a JSON object of numbers; those of an object inside get names with ``/``: ``val/accuracy``.

    Args:
        path: The file; where there is none, there are no metrics.

    Raises:
        InvalidInputError: ``kind="bad-metrics"``: not such an object, a value that is no finite number, or too many.
        FileSystemError: The operating system refused.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise file_system_error(error, "read", path) from error
    if len(text) > MAX_BYTES:
        raise _bad(f"more than {MAX_BYTES} bytes")
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad("not JSON") from error
    if not isinstance(document, Mapping):
        raise _bad(f"a {type(document).__name__}, not an object of names and numbers")
    found: dict[str, float] = {}
    for name, value in _flat(document, "", 0):
        check_name(name, "a metric")
        if name in found:
            raise _bad(f"two values of '{name[:80]}'")
        found[name] = value
        if len(found) > MAX_METRICS:
            raise _bad(f"more than {MAX_METRICS} numbers")
    return found


def _flat(values: Mapping[str, object], prefix: str, depth: int) -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        name = prefix + key
        if isinstance(value, Mapping) and depth < _MAX_DEPTH:
            yield from _flat(value, name + "/", depth + 1)
        elif isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
            raise _bad(f"{str(value)[:80]!a} as '{name[:80]}', which is no finite number")
        else:
            yield name, float(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _bad(what: str) -> InvalidInputError:
    return InvalidInputError(
        f"the metrics that the script left are {what}",
        kind="bad-metrics",
        hint='write one JSON object of names and numbers, as in `{"accuracy": 0.9}`',
    )
