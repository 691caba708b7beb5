"""Codecs for numbers: the bytes of equal significance side by side, each such plane compressed on its own.

High bytes of weights are alike and compress, low bytes are noise and stay raw. A difference to a base makes the
higher planes nearly zero. Stored form of all three: for each plane, from the least significant byte up, its stored
length as ``u32``; then the planes. A plane as long as the number of elements is raw, a shorter one a zstd frame.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

import numpy as np
import numpy.typing as npt

from mlgit.storage.codecs import CodecError, Readable
from mlgit.storage.codecs.plain import compress, decompress

Array = npt.NDArray[Any]
_UNSIGNED: dict[int, np.dtype[Any]] = {1: np.dtype("<u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4"), 8: np.dtype("<u8")}
_SIGNED: dict[int, np.dtype[Any]] = {1: np.dtype("<i1"), 2: np.dtype("<i2"), 4: np.dtype("<i4"), 8: np.dtype("<i8")}
_BLOCK_BYTES = 1 << 17
_LENGTH = Struct("<I")


class Shuffle:
    """Codec 2: planes of the elements."""

    needs_base = False

    def encode(self, raw: memoryview, width: int, base: memoryview | None) -> bytes:
        """Return the planes of ``raw``."""
        del base
        return _pack(_split(np.frombuffer(raw, _UNSIGNED[width])))

    def decode(self, stored: Readable, target: memoryview, width: int, base: memoryview | None) -> None:
        """Put the planes together."""
        del base
        elements = np.frombuffer(target, _unsigned(width))
        _join(_unpack(stored, elements.size, width), elements)


class Difference:
    """Codec 3: planes of the zigzag difference of floats taken as ordered integers.

    The bits of a float, read as a signed integer with all bits but the sign inverted for negative ones, order like
    the floats. The difference modulo 2^n of two such integers is small where the floats are close.
    """

    needs_base = True

    def encode(self, raw: memoryview, width: int, base: memoryview | None) -> bytes:
        """Return the planes of the difference."""
        new, old = np.frombuffer(raw, _SIGNED[width]), np.frombuffer(_given(base), _SIGNED[width])
        coded = np.empty_like(new)
        for part in _blocks(new.size, width):
            step = _ordered(new[part])
            step -= _ordered(old[part])
            out = coded[part]
            np.left_shift(step, 1, out=out)
            step >>= 8 * width - 1
            out ^= step
        return _pack(_split(coded.view(_UNSIGNED[width])))

    def decode(self, stored: Readable, target: memoryview, width: int, base: memoryview | None) -> None:
        """Add the difference to the base."""
        elements = np.frombuffer(target, _unsigned(width))
        old = np.frombuffer(_given(base), _SIGNED[width])
        _join(_unpack(stored, elements.size, width), elements)
        for part in _blocks(elements.size, width):
            coded = elements[part]
            step = (coded >> 1).view(_SIGNED[width])
            coded &= 1
            step ^= -coded.view(_SIGNED[width])
            step += _ordered(old[part])
            coded.view(_SIGNED[width])[...] = _ordered(step)


class ExclusiveOr:
    """Codec 4: planes of the elements with the bits flipped that are set in the base."""

    needs_base = True

    def encode(self, raw: memoryview, width: int, base: memoryview | None) -> bytes:
        """Return the planes of the exclusive or."""
        new, old = np.frombuffer(raw, _UNSIGNED[width]), np.frombuffer(_given(base), _UNSIGNED[width])
        return _pack(_split(new ^ old))

    def decode(self, stored: Readable, target: memoryview, width: int, base: memoryview | None) -> None:
        """Flip the bits back."""
        elements = np.frombuffer(target, _unsigned(width))
        _join(_unpack(stored, elements.size, width), elements)
        elements ^= np.frombuffer(_given(base), _UNSIGNED[width])


def _given(base: memoryview | None) -> memoryview:
    if base is None:
        raise CodecError("a difference has no base")
    return base


def _unsigned(width: int) -> np.dtype[Any]:
    if width not in _UNSIGNED:
        raise CodecError(f"elements of {width} bytes cannot be")
    return _UNSIGNED[width]


def _blocks(count: int, width: int) -> list[slice]:
    """Cut ``count`` elements so that the steps of a codec stay in the fastest caches."""
    step = _BLOCK_BYTES // width
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _ordered(bits: Array) -> Array:
    """Map float bits to integers of the same order, or back; a new array."""
    mask = bits >> (8 * bits.itemsize - 1)
    mask &= np.iinfo(bits.dtype).max
    mask ^= bits
    return mask


def _split(elements: Array) -> Array:
    """Return planes ``(width, n)``, least significant first."""
    width = elements.itemsize
    planes = np.empty((width, elements.size), np.uint8)
    for part in _blocks(elements.size, width):
        shifted = elements[part].copy()
        for plane in planes:
            np.copyto(plane[part], shifted, casting="unsafe")
            shifted >>= 8 if width > 1 else 0
    return planes


def _join(planes: list[Array], elements: Array) -> None:
    """Fill ``elements`` from planes, least significant first."""
    for part in _blocks(elements.size, elements.itemsize):
        out = elements[part]
        np.copyto(out, planes[-1][part])
        for plane in planes[-2::-1]:
            out <<= 8
            out |= plane[part]


def _pack(planes: Array) -> bytes:
    stored: list[Readable] = []
    for plane in planes:
        frame = compress(plane.data, is_plane=True)
        stored.append(frame if len(frame) < plane.size else plane.data)
    return b"".join((*(_LENGTH.pack(len(plane)) for plane in stored), *stored))


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
