"""How a chunk's bytes are written: codecs, each with a number that is part of the format for ever.

The table is data: a codec's module is imported when a chunk that uses it is met, so reading commits needs no numpy.
Numbers are only ever added.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Protocol, cast

RAW, ZSTD, SHUFFLE, DIFFERENCE, EXCLUSIVE_OR, COPY = range(6)

NUMBERS: dict[int, str] = {
    RAW: "mlgit.storage.codecs.plain:Raw",
    ZSTD: "mlgit.storage.codecs.plain:Zstd",
    SHUFFLE: "mlgit.storage.codecs.planes:Shuffle",
    DIFFERENCE: "mlgit.storage.codecs.planes:Difference",
    EXCLUSIVE_OR: "mlgit.storage.codecs.planes:ExclusiveOr",
    COPY: "mlgit.storage.codecs.plain:Copy",
}

Readable = bytes | bytearray | memoryview


class CodecError(ValueError):
    """Stored bytes that do not decode to what they should."""


class Codec(Protocol):
    """One way to write a chunk. Codecs hold no state and may be used by several threads."""

    needs_base: bool

    def encode(self, raw: memoryview, width: int, base: memoryview | None) -> list[Readable]:
        """Return the stored bytes, of any length, in pieces; they hold until this thread encodes again.

        Args:
            raw: The chunk; its length is a multiple of ``width``.
            width: Bytes per element: 1, 2, 4 or 8.
            base: Bytes of the base's chunk, as many; None unless ``needs_base``.
        """

    def decode(self, stored: Readable, target: memoryview, width: int, base: memoryview | None) -> None:
        """Fill ``target`` with exactly the bytes that were encoded.

        Args:
            stored: The stored bytes, possibly hostile.
            target: Writable bytes, as many as the chunk has.
            width: Bytes per element as recorded.
            base: Bytes of the base's chunk; None unless ``needs_base``.

        Raises:
            CodecError: ``stored`` does not decode to that many bytes. Memory stays bounded by the chunk's size.
        """


@cache
def codec(number: int) -> Codec:
    """Return the codec with this number, importing its module.

    Raises:
        CodecError: This version of mlgit knows no such codec.
    """
    if number not in NUMBERS:
        raise CodecError(f"codec {number} is unknown to this mlgit")
    module, _, name = NUMBERS[number].partition(":")
    return cast("Codec", getattr(importlib.import_module(module), name)())
