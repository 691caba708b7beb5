"""The values of stored elements in float64, by NumPy alone, so that comparing models does not need torch."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Reals = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.floating | np.integer]

_NATIVE = {
    "BOOL": "<u1",
    "U8": "<u1",
    "I8": "<i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "C64": "<f4",
}


class _Small(NamedTuple):
    """A float of at most eight bits: sign, exponent, mantissa. IEEE 754 but for its special values."""

    exponent_bits: int
    mantissa_bits: int
    bias: int
    specials: str


_SMALL = {
    "F4": _Small(2, 1, 1, "none"),
    "F8_E4M3": _Small(4, 3, 7, "all ones is NaN"),
    "F8_E5M2": _Small(5, 2, 15, "as in IEEE 754"),
    "F8_E4M3FNUZ": _Small(4, 3, 8, "minus zero is NaN"),
    "F8_E5M2FNUZ": _Small(5, 2, 16, "minus zero is NaN"),
}


def differing(left: Bytes, right: Bytes, bits: int) -> npt.NDArray[np.bool_]:
    """Return for each element whether its bits differ.

    Args:
        left: Bytes of whole elements.
        right: As many.
        bits: Bits per element, from ``mlgit.objects.BITS``; packed elements start at the low bit.
    """
    if bits % 8 == 0:
        unsigned = np.dtype(f"<u{bits // 8}")
        return np.asarray(left.view(unsigned) != right.view(unsigned), dtype=np.bool_)
    changed = np.unpackbits(left ^ right, bitorder="little").reshape(-1, bits)
    return np.asarray(changed.any(axis=1), dtype=np.bool_)


def native(data: Bytes, dtype: str) -> Numbers | None:
    """Return the elements as NumPy numbers: integers as they are, narrow floats in a wider one, complex ones as pairs.

    Args:
        data: Bytes of whole elements.
        dtype: The dtype, by its name in safetensors.

    Returns:
        The numbers, all exact; None for F6, whose packing no specification fixes.
    """
    if dtype in _NATIVE:
        return data.view(_NATIVE[dtype])
    if dtype == "BF16":
        return (data.view("<u2").astype(np.uint32) << 16).view(np.float32)
    if dtype == "F8_E8M0":
        return np.where(data == 255, np.nan, np.ldexp(1.0, data.astype(np.int32) - 127))
    if dtype == "F4":
        return _table(dtype)[np.stack((data & 15, data >> 4), axis=1).reshape(-1)]
    return _table(dtype)[data] if dtype in _SMALL else None


@cache
def _table(dtype: str) -> Reals:
    """Return the value of every bit pattern."""
    small = _SMALL[dtype]
    count = 2 ** (1 + small.exponent_bits + small.mantissa_bits)
    patterns = np.arange(count)
    mantissa = patterns & (2**small.mantissa_bits - 1)
    exponent = (patterns >> small.mantissa_bits) & (2**small.exponent_bits - 1)
    sign = np.where(patterns < count // 2, 1.0, -1.0)
    normal = exponent > 0
    significand = mantissa / 2**small.mantissa_bits + normal
    values: Reals = sign * np.ldexp(significand, np.where(normal, exponent, 1) - small.bias)
    if small.specials == "minus zero is NaN":
        values[count // 2] = np.nan
    elif small.specials == "all ones is NaN":
        values[[count // 2 - 1, count - 1]] = np.nan
    elif small.specials == "as in IEEE 754":
        top = exponent == 2**small.exponent_bits - 1
        values[top] = np.where(mantissa[top] == 0, sign[top] * np.inf, np.nan)
    return values
