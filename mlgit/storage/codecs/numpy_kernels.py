"""The loops of ``kernels.py`` in NumPy: for where they could not be compiled, and as their reference in tests.

Arrays are worked on in blocks that fit a core's cache, in memory the thread keeps, with every step in place.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mlgit.storage.codecs import Readable
from mlgit.storage.codecs.kernels import WIDTHS, Change
from mlgit.storage.scratch import scratch

Array = npt.NDArray[Any]
_UNSIGNED: dict[int, np.dtype[Any]] = {width: np.dtype(f"<u{width}") for width in WIDTHS}
_SIGNED: dict[int, np.dtype[Any]] = {width: np.dtype(f"<i{width}") for width in WIDTHS}
_BLOCK_BYTES = 1 << 18


class NumpyKernels:
    """Implements ``Kernels``."""

    def split(self, change: int, raw: Readable, base: Readable, planes: memoryview, width: int) -> None:
        """Fill the planes."""
        _check(change, width, len(raw), len(base))
        if len(planes) != len(raw):
            raise ValueError("planes have as many bytes as their elements")
        elements = np.frombuffer(raw, _SIGNED[width])
        rows = np.frombuffer(planes, np.uint8).reshape(width, elements.size)
        for part, work in _blocks(elements.size, width):
            if change == Change.NONE:
                np.copyto(work, elements[part])
            elif change == Change.EXCLUSIVE_OR:
                np.bitwise_xor(elements[part], np.frombuffer(base, _SIGNED[width])[part], out=work)
            else:
                _difference(elements[part], np.frombuffer(base, _SIGNED[width])[part], work)
            _split(work, rows[:, part])

    def join(self, change: int, planes: tuple[Readable, ...], base: Readable, out: memoryview) -> None:
        """Fill ``out``."""
        width = len(planes)
        _check(change, width, len(out), len(base))
        elements = np.frombuffer(out, _UNSIGNED[width])
        if any(len(plane) != elements.size for plane in planes):
            raise ValueError("a plane has one byte for each element")
        rows = [np.frombuffer(plane, np.uint8) for plane in planes]
        for part, work in _blocks(elements.size, width):
            _join(rows, part, elements[part])
            if change == Change.EXCLUSIVE_OR:
                np.bitwise_xor(elements[part], np.frombuffer(base, _UNSIGNED[width])[part], out=elements[part])
            elif change == Change.DIFFERENCE:
                _undo_difference(elements[part], np.frombuffer(base, _SIGNED[width])[part], work)

    def lower_bound(self, table: Readable, offset: int, count: int, stride: int, key: bytes) -> int:
        """Bisect."""
        if not (offset >= 0 <= count and stride >= max(1, len(key)) and offset + count * stride <= len(table)):
            raise ValueError("the records do not lie in the table")

        def start(number: int) -> bytes:
            at = offset + number * stride
            return bytes(table[at : at + len(key)])

        return bisect_left(range(count), key, key=start)


def _check(change: int, width: int, raw: int, base: int) -> None:
    if width not in WIDTHS:
        raise ValueError("elements have 1, 2, 4 or 8 bytes")
    if raw % width:
        raise ValueError("the bytes are no whole elements")
    if change not in tuple(Change):
        raise ValueError("no such change")
    if change != Change.NONE and base != raw:
        raise ValueError("a base has as many bytes as what is compared with it")


def _scratch(count: int, width: int, name: str) -> Array:
    return np.frombuffer(scratch(name, count * width), _SIGNED[width])


def _blocks(count: int, width: int) -> Iterator[tuple[slice, Array]]:
    """Cut ``count`` elements into blocks and yield each with signed working memory of its size."""
    step = _BLOCK_BYTES // width
    for start in range(0, count, step):
        end = min(start + step, count)
        yield slice(start, end), _scratch(end - start, width, "work")


def _difference(new: Array, old: Array, work: Array) -> None:
    """Fill ``work`` with the zigzag of the ordered-integer difference."""
    other = _scratch(work.size, work.itemsize, "other")
    _ordered(new, work)
    _ordered(old, other)
    np.subtract(work, other, out=work)
    np.right_shift(work, 8 * work.itemsize - 1, out=other)
    np.left_shift(work, 1, out=work)
    np.bitwise_xor(work, other, out=work)


def _undo_difference(out: Array, old: Array, work: Array) -> None:
    other = _scratch(work.size, work.itemsize, "other")
    np.bitwise_and(out, 1, out=other.view(out.dtype))
    np.negative(other, out=other)
    np.right_shift(out, 1, out=work.view(out.dtype))
    np.bitwise_xor(work, other, out=work)
    _ordered(old, other)
    np.add(work, other, out=work)
    _ordered(work, out.view(work.dtype))


def _ordered(bits: Array, out: Array) -> None:
    """Map float bits, as signed integers, to integers of the same order, or back; ``out`` is another array."""
    np.right_shift(bits, 8 * bits.itemsize - 1, out=out)
    np.bitwise_and(out, np.iinfo(bits.dtype).max, out=out)
    np.bitwise_xor(out, bits, out=out)


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
