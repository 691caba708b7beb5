"""Codecs for numbers: the bytes of equal significance side by side, each such plane compressed on its own.

High bytes of weights are alike and compress, low bytes are noise and stay raw. A difference to a base makes the
higher planes nearly zero: the bits of a float, read as a signed integer with all bits but the sign inverted for
negative ones, order like the floats, so that the difference of two such integers is small where the floats are close.
Stored form: for each plane, from the least significant byte up, its stored length as ``u32``; then the planes. A plane
as long as the number of elements is raw, a shorter one a zstd frame.
"""

from __future__ import annotations

from struct import Struct

from mlgit.storage.codecs import CodecError, Readable
from mlgit.storage.codecs.kernels import WIDTHS, Change, kernels
from mlgit.storage.codecs.plain import compress, decompress
from mlgit.storage.scratch import scratch

_LENGTHS = {width: Struct(f"<{width}I") for width in WIDTHS}
_EMPTY = b""


class _Planes:
    """What the codecs share.

    Attributes:
        change: What is done to elements before they are split.
        needs_base: Whether it needs a base.
    """

    change = Change.NONE
    needs_base = False

    def encode(self, raw: memoryview, width: int, base: memoryview | None) -> list[Readable]:
        """Return the lengths of the planes, then the planes."""
        planes = scratch("planes", len(raw))
        kernels.split(self.change, raw, self._given(base), planes, width)
        stored: list[Readable] = []
        count = len(raw) // width
        for start in range(0, len(raw), count or 1):
            plane = planes[start : start + count]
            frame = compress(plane, is_plane=True)
            stored.append(frame if len(frame) < count else plane)
        return [_LENGTHS[width].pack(*map(len, stored)), *stored]

    def decode(self, stored: Readable, target: memoryview, width: int, base: memoryview | None) -> None:
        """Put the planes together."""
        if width not in _LENGTHS:
            raise CodecError(f"elements of {width} bytes cannot be")
        planes = _unpack(memoryview(stored), len(target) // width, width)
        try:
            kernels.join(self.change, planes, self._given(base), target)
        except ValueError as error:
            raise CodecError(str(error)) from error

    def _given(self, base: memoryview | None) -> Readable:
        if not self.needs_base:
            return _EMPTY
        if base is None:
            raise CodecError("a difference has no base")
        return base


class Shuffle(_Planes):
    """Codec 2: planes of the elements."""


class Difference(_Planes):
    """Codec 3: planes of the zigzag difference of floats taken as ordered integers."""

    change = Change.DIFFERENCE
    needs_base = True


class ExclusiveOr(_Planes):
    """Codec 4: planes of the elements with the bits flipped that are set in the base."""

    change = Change.EXCLUSIVE_OR
    needs_base = True


def _unpack(stored: memoryview, count: int, width: int) -> tuple[Readable, ...]:
    lengths = _LENGTHS[width]
    start = lengths.size
    if len(stored) < start:
        raise CodecError(f"{len(stored)} bytes cannot hold {width} planes")
    planes: list[Readable] = []
    for number, length in enumerate(lengths.unpack_from(stored)):
        data = stored[start : start + length]
        if len(data) != length or length > count:
            raise CodecError(f"plane {number} of {length} bytes does not fit")
        planes.append(data if length == count else decompress(data, count))
        start += length
    if start != len(stored):
        raise CodecError(f"{len(stored) - start} bytes follow the planes")
    return tuple(planes)
