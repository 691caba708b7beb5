"""The tensors of a manifest as canonical JSON, written and read at the speed of one regular expression.

A model may have tens of thousands of tensors, and its manifest is written and read with every commit. What is not
written the plain way, as by this module, is left to the general writer and reader, so that both always agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol

_PLAIN = re.compile(r"[ !#-\[\]-~]+")
_START = b',"tensors":{'
_END = b'},"type":"manifest","version":1}'
_ENTRY = re.compile(
    r'"([ !#-\[\]-~]+)":\{"dtype":"([A-Z0-9_]+)","id":"([0-9a-f]{64})","shape":\[((?:0|[1-9][0-9]*|,)*+)\]\}(,?)'
)
_SHAPE = re.compile(r"(?:(?:0|[1-9][0-9]{0,15})(?:,(?:0|[1-9][0-9]{0,15}))*+)?")

Row = tuple[str, str, tuple[int, ...]]
"""Id, dtype and shape, unchecked but for their form."""


class Entry(Protocol):
    """What is written of a tensor."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def dtype(self) -> str:
        """Its dtype."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its extents."""


def is_plain(name: str) -> bool:
    """Whether a name is written without escapes and sorted like its bytes."""
    return _PLAIN.fullmatch(name) is not None


def insert(rest: bytes, tensors: Iterable[tuple[str, Entry]]) -> bytes:
    """Return a manifest's canonical bytes.

    Args:
        rest: The same without tensors.
        tensors: Plain names in their order, and what they stand for.
    """
    table = ",".join(
        f'"{name}":{{"dtype":"{entry.dtype}","id":"{entry.id}","shape":[{",".join(map(str, entry.shape))}]}}'
        for name, entry in tensors
    )
    return rest.removesuffix(_END) + table.encode("ascii") + _END


def take(data: bytes) -> tuple[bytes, dict[str, Row]] | None:
    """Split a manifest's bytes into the rest, with an empty table, and the table.

    Returns:
        Both; None when anything is written in another way than by ``insert``: whoever gets it reads it as any JSON.
    """
    start = data.find(_START) + len(_START)
    if start < len(_START) or not data.endswith(_END):
        return None
    try:
        table = data[start : -len(_END)].decode("ascii")
    except UnicodeDecodeError:
        return None
    rows: dict[str, Row] = {}
    expected, count, comma = 0, 0, ""
    for match in _ENTRY.finditer(table):
        name, dtype, text, extents, comma = match.groups()
        shape = _extents(extents)
        if match.start() != expected or shape is None:
            return None
        rows[name] = (text, dtype, shape)
        expected, count = match.end(), count + 1
        if not comma:
            break
    if expected != len(table) or comma or len(rows) != count:
        return None
    return data[:start] + _END, rows


@lru_cache(4096)
def _extents(text: str) -> tuple[int, ...] | None:
    if not _SHAPE.fullmatch(text):
        return None
    return tuple(map(int, text.split(","))) if text else ()
