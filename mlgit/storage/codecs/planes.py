"""Codecs for numbers: the bytes of equal significance side by side, each such plane compressed on its own.

High bytes of weights are alike and compress, low bytes are noise and stay raw. A difference to a base makes the
higher planes nearly zero. Stored form of all three: for each plane, from the least significant byte up, its stored
length as ``u32``; then the planes. A plane as long as the number of elements is raw, a shorter one a zstd frame.

Arrays are worked on in blocks that fit a core's cache, in memory the thread keeps, with every step in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any

import numpy as np
import numpy.typing as npt

from mlgit.storage.codecs import CodecError, Readable
from mlgit.storage.codecs.plain import compress, decompress
from mlgit.storage.scratch import scratch

Array = npt.NDArray[Any]
_UNSIGNED: dict[int, np.dtype[Any]] = {1: np.dtype("<u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4"), 8: np.dtype("<u8")}
_SIGNED: dict[int, np.dtype[Any]] = {1: np.dtype("<i1"), 2: np.dtype("<i2"), 4: np.dtype("<i4"), 8: np.dtype("<i8")}
_BLOCK_BYTES = 1 << 18
_LENGTH = Struct("<I")


class Shuffle:
    """Codec 2: planes of the elements."""

    needs_base = False

    def encode(self, raw: memoryview, width: int, base: memoryview | None) -> list[Readable]:
        """Return the planes of ``raw``."""
        del base
        elements = np.frombuffer(raw, _UNSIGNED[width])
        planes = _new_planes(elements.size, width)
        for part, work in _blocks(elements.size, width, "work"):
            np.copyto(work, elements[part])
            _split(work, planes[:, part])
        return _pack(planes)

    def decode(self, stored: Readable, target: memoryview, width: int, base: memoryview | None) -> None:
        """Put the planes together."""
        del base
        elements = np.frombuffer(target, _unsigned(width))
        planes = _unpack(stored, elements.size, width)
        for part, _ in _blocks(elements.size, width, "work"):
            _join(planes, part, elements[part])


class Difference:
    """Codec 3: planes of the zigzag difference of floats taken as ordered integers.

    The bits of a float, read as a signed integer with all bits but the sign inverted for negative ones, order like
    the floats. The difference modulo 2^n of two such integers is small where the floats are close.
    """

    needs_base = True

    def encode(self, raw: memoryview, width: int, base: memoryview | None) -> list[Readable]:
        """Return the planes of the difference."""
        new, old = np.frombuffer(raw, _SIGNED[width]), np.frombuffer(_given(base), _SIGNED[width])
        planes = _new_planes(new.size, width)
        for part, work in _blocks(new.size, width, "work"):
            other = _scratch(work.size, width, "other")
            _ordered(new[part], work)
            _ordered(old[part], other)
            np.subtract(work, other, out=work)
            np.right_shift(work, 8 * width - 1, out=other)
            np.left_shift(work, 1, out=work)
            np.bitwise_xor(work, other, out=work)
            _split(work, planes[:, part])
        return _pack(planes)

    def decode(self, stored: Readable, target: memoryview, width: int, base: memoryview | None) -> None:
        """Add the difference to the base."""
        elements = np.frombuffer(target, _unsigned(width))
        old = np.frombuffer(_given(base), _SIGNED[width])
        planes = _unpack(stored, elements.size, width)
        for part, work in _blocks(elements.size, width, "work"):
            out, other = elements[part], _scratch(work.size, width, "other")
            _join(planes, part, out)
            np.bitwise_and(out, 1, out=other.view(out.dtype))
            np.negative(other, out=other)
            np.right_shift(out, 1, out=work.view(out.dtype))
            np.bitwise_xor(work, other, out=work)
            _ordered(old[part], other)
            np.add(work, other, out=work)
            _ordered(work, out.view(work.dtype))


class ExclusiveOr:
    """Codec 4: planes of the elements with the bits flipped that are set in the base."""

    needs_base = True

    def encode(self, raw: memoryview, width: int, base: memoryview | None) -> list[Readable]:
        """Return the planes of the exclusive or."""
        new, old = np.frombuffer(raw, _SIGNED[width]), np.frombuffer(_given(base), _SIGNED[width])
        planes = _new_planes(new.size, width)
        for part, work in _blocks(new.size, width, "work"):
            np.bitwise_xor(new[part], old[part], out=work)
            _split(work, planes[:, part])
        return _pack(planes)

    def decode(self, stored: Readable, target: memoryview, width: int, base: memoryview | None) -> None:
        """Flip the bits back."""
        elements = np.frombuffer(target, _unsigned(width))
        old = np.frombuffer(_given(base), _UNSIGNED[width])
        planes = _unpack(stored, elements.size, width)
        for part, _ in _blocks(elements.size, width, "work"):
            _join(planes, part, elements[part])
            np.bitwise_xor(elements[part], old[part], out=elements[part])


def _given(base: memoryview | None) -> memoryview:
    if base is None:
        raise CodecError("a difference has no base")
    return base


def _unsigned(width: int) -> np.dtype[Any]:
    if width not in _UNSIGNED:
        raise CodecError(f"elements of {width} bytes cannot be")
    return _UNSIGNED[width]


def _scratch(count: int, width: int, name: str) -> Array:
    return np.frombuffer(scratch(name, count * width), _SIGNED[width])


def _blocks(count: int, width: int, name: str) -> Iterator[tuple[slice, Array]]:
    """Cut ``count`` elements into blocks and yield each with signed working memory of its size."""
    step = _BLOCK_BYTES // width
    for start in range(0, count, step):
        end = min(start + step, count)
        yield slice(start, end), _scratch(end - start, width, name)


def _ordered(bits: Array, out: Array) -> None:
    """Map float bits, as signed integers, to integers of the same order, or back; ``out`` is another array."""
    np.right_shift(bits, 8 * bits.itemsize - 1, out=out)
    np.bitwise_and(out, np.iinfo(bits.dtype).max, out=out)
    np.bitwise_xor(out, bits, out=out)


def _new_planes(count: int, width: int) -> Array:
    return np.frombuffer(scratch("planes", count * width), np.uint8).reshape(width, count)


def _split(work: Array, planes: Array) -> None:
    """Fill planes ``(width, n)``, least significant first; ``work``, of signed integers, is used up."""
    shifting = work.view(_UNSIGNED[work.itemsize])
    for number, plane in enumerate(planes):
        np.copyto(plane, shifting, casting="unsafe")
        if number + 1 < len(planes):
            np.right_shift(shifting, 8, out=shifting)


def _join(planes: list[Array], part: slice, out: Array) -> None:
    """Fill ``out``, of unsigned integers, from one part of the planes, least significant first."""
    np.copyto(out, planes[-1][part])
    for plane in planes[-2::-1]:
        np.left_shift(out, 8, out=out)
        np.bitwise_or(out, plane[part], out=out)


def _pack(planes: Array) -> list[Readable]:
    stored: list[Readable] = []
    for plane in planes:
        frame = compress(plane.data, is_plane=True)
        stored.append(frame if len(frame) < plane.size else plane.data)
    return [b"".join(_LENGTH.pack(len(plane)) for plane in stored), *stored]


def _unpack(stored: Readable, count: int, width: int) -> list[Array]:
    start = width * _LENGTH.size
    if len(stored) < start:
        raise CodecError(f"{len(stored)} bytes cannot hold {width} planes")
    planes = []
    for plane in range(width):
        (length,) = _LENGTH.unpack_from(stored, plane * _LENGTH.size)
        data = memoryview(stored)[start : start + length]
        if len(data) != length or length > count:
            raise CodecError(f"plane {plane} of {length} bytes does not fit")
        planes.append(np.frombuffer(data if length == count else decompress(data, count), np.uint8))
        start += length
    if start != len(stored):
        raise CodecError(f"{len(stored) - start} bytes follow the planes")
    return planes
