"""Which codec a chunk is written with: the one that does best on a sample of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlgit.objects import BITS
from mlgit.storage.codecs import COPY, DIFFERENCE, EXCLUSIVE_OR, RAW, SHUFFLE, ZSTD, Readable, codec

SMALL_BYTES = 1 << 16
"""A chunk up to this size is encoded with every candidate, a larger one with the best on a sample."""
SAMPLE_BYTES = 1 << 14
"""Bytes of each of the three samples: start, middle and end."""
PLAIN_BYTES = 4096
"""Shorter chunks stay raw: there are many of them, in most models as in most histories, together they are a hundredth
of the whole, and decoding one takes longer than reading it."""


@dataclass(frozen=True, slots=True)
class Content:
    """What is known about the bytes of an object.

    Attributes:
        width: Bytes per element; 1 where there are none.
        is_float: Whether the elements are IEEE-like floats of at least 16 bits.
        is_tensor: Whether they are numbers at all.
    """

    width: int = 1
    is_float: bool = False
    is_tensor: bool = False

    @classmethod
    def of(cls, dtype: str) -> Content:
        """Return what a safetensors dtype says; a complex number is two floats."""
        width = 4 if dtype == "C64" else max(1, BITS[dtype] // 8)
        return cls(width, is_float=width > 1 and dtype.startswith(("F", "BF", "C")), is_tensor=True)


def encode_chunk(raw: memoryview, content: Content, base: memoryview | None) -> tuple[int, list[Readable]]:
    """Encode a chunk.

    Args:
        raw: The bytes; a multiple of the element width.
        content: What they are.
        base: Bytes of the base's chunk, as many, or None.

    Returns:
        Codec number and the stored bytes in pieces, together never more than ``raw``. They hold until this thread
        encodes again.
    """
    if len(raw) < PLAIN_BYTES:
        return RAW, [raw]
    if base is not None and raw == base:
        return COPY, []
    numbers = _candidates(content, has_base=base is not None, small=len(raw) <= SMALL_BYTES)
    number = _smallest(numbers, raw, content.width, base)
    pieces = codec(number).encode(raw, content.width, base)
    return (number, pieces) if total(pieces) < len(raw) else (RAW, [raw])


def total(pieces: Iterable[Readable]) -> int:
    """Return how many bytes the pieces have together."""
    return sum(map(len, pieces))


def _smallest(numbers: list[int], raw: memoryview, width: int, base: memoryview | None) -> int:
    """Return the codec that does best: on the chunk when it is small, else on a sample."""
    if len(numbers) == 1:
        return numbers[0]
    if len(raw) > SMALL_BYTES:
        raw, base = _sample(raw), None if base is None else _sample(base)
    return min(numbers, key=lambda number: total(codec(number).encode(raw, width, base)))


def _candidates(content: Content, *, has_base: bool, small: bool) -> list[int]:
    numbers = [ZSTD] if content.width == 1 or small or not content.is_float else []
    if content.is_tensor:
        numbers.append(SHUFFLE)
    if has_base and content.is_float:
        numbers.append(DIFFERENCE)
    if has_base and (not content.is_float or content.width == 2):
        numbers.append(EXCLUSIVE_OR)
    return numbers


def _sample(data: memoryview) -> memoryview:
    middle = len(data) // 2 // SAMPLE_BYTES * SAMPLE_BYTES
    last = (len(data) - SAMPLE_BYTES) // 16 * 16
    return memoryview(b"".join(data[start : start + SAMPLE_BYTES] for start in (0, middle, last)))
