"""Canonical JSON (RFC 8785): one written form per value, so that equal content has equal bytes.

``Fields`` reads such a document back, strictly: bytes in a store may be damaged or hostile.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeAlias, cast

from mlgit.errors import CorruptObjectError, InvalidInputError

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"


MAX_INTEGER = 2**53 - 1
"""The largest integer that RFC 8785 can write."""
MAX_VALUES = 1 << 21
"""How many values a document may have: a few bytes each, they take a hundred and more as Python objects."""


def canonical_json(value: JsonValue) -> bytes:
    """Return the RFC 8785 encoding of ``value``.

    Args:
        value: JSON data; integers up to 2^53 - 1, finite floats, strings without lone surrogates.

    Raises:
        InvalidInputError: Something that has no canonical form.
    """
    import rfc8785  # noqa: PLC0415 - whoever only reads never encodes

    try:
        return rfc8785.dumps(_plain(value))
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeEncodeError) as error:
        raise InvalidInputError(f"a value cannot be written as canonical JSON: {error}", kind="bad-value") from error


def _plain(value: JsonValue) -> JsonValue:
    """Return ``value`` made of dicts and lists only."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return str(value)  # ids and enumerations are subclasses of str
    return value


def parse_json(data: bytes, what: str, *, canonical: bool = False) -> Fields:
    """Read a JSON document whose top is an object.

    Args:
        data: The bytes.
        what: What they should be, for the error: ``commit 4f2a91c0de``.
        canonical: Refuse values that have no canonical form, so that what was read can be written again.

    Raises:
        CorruptObjectError: Not JSON, not an object, a key stands twice, or more than ``MAX_VALUES`` values.
    """
    if has_too_many_values(data):
        raise CorruptObjectError(f"{what} is not readable: it has more than {MAX_VALUES} values")
    try:
        text = data.decode("utf-8")
        if canonical:
            value = json.loads(
                text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_safe, parse_float=_finite
            )
            if "\\u" in text:  # half of a surrogate pair can be written as an escape alone
                json.dumps(value, ensure_ascii=False).encode("utf-8")
        else:
            value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise CorruptObjectError(f"{what} is not readable: {error}") from error
    return Fields(value, what)


def has_too_many_values(data: bytes) -> bool:
    """Whether a document may have more values than ``MAX_VALUES``: each begins after one of three characters."""
    return len(data) > MAX_VALUES and sum(map(data.count, (b",", b"[", b"{"))) > MAX_VALUES


def _unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _safe(digits: str) -> int:
    value = int(digits)
    if abs(value) > MAX_INTEGER:
        raise ValueError(f"{digits[:40]} is too large")
    return value


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is too large")
    return value


class Fields:
    """Strict access to the fields of a JSON object; every mismatch is a CorruptObjectError naming the field."""

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise CorruptObjectError(f"{what} is not a JSON object")
        self.values = cast("dict[str, JsonValue]", value)
        self.what = what

    def _fail(self, name: str, expected: str) -> NoReturn:
        raise CorruptObjectError(f"{self.what}: field '{name}' is not {expected}")

    def text(self, name: str) -> str:
        """Return a string field."""
        value = self.values.get(name)
        return value if isinstance(value, str) else self._fail(name, "a string")

    def optional_text(self, name: str) -> str | None:
        """Return a string field or None where it is null."""
        return None if self.values.get(name) is None else self.text(name)

    def integer(self, name: str) -> int:
        """Return an integer field."""
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            self._fail(name, "an integer")
        return value

    def flag(self, name: str) -> bool:
        """Return a boolean field."""
        value = self.values.get(name)
        return value if isinstance(value, bool) else self._fail(name, "true or false")

    def number(self, name: str) -> float:
        """Return a number field as a float."""
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._fail(name, "a number")
        return float(value)

    def optional_number(self, name: str) -> float | None:
        """Return a number field or None where it is null."""
        return None if self.values.get(name) is None else self.number(name)

    def mapping(self, name: str) -> Mapping[str, JsonValue]:
        """Return an object field as plain JSON."""
        value = self.values.get(name)
        return value if isinstance(value, dict) else self._fail(name, "an object")

    def fields(self, name: str) -> Fields:
        """Return an object field for strict reading."""
        return Fields(self.values.get(name), f"{self.what}: field '{name}'")

    def optional_fields(self, name: str) -> Fields | None:
        """Return an object field for strict reading, or None where it is null."""
        return None if self.values.get(name) is None else self.fields(name)

    def items(self, name: str) -> list[Fields]:
        """Return a list of objects, each for strict reading."""
        return [Fields(item, f"{self.what}: {name}[{index}]") for index, item in enumerate(self.list(name))]

    def list(self, name: str) -> Sequence[JsonValue]:
        """Return a list field as plain JSON."""
        value = self.values.get(name)
        return value if isinstance(value, list) else self._fail(name, "a list")
