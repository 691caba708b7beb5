"""The dtypes a tensor may have: all of safetensors, by its names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from mlgit.errors import InvalidInputError, did_you_mean

BITS: Mapping[str, int] = MappingProxyType(
    {
        "BOOL": 8,
        "F4": 4,
        "F6_E2M3": 6,
        "F6_E3M2": 6,
        "U8": 8,
        "I8": 8,
        "F8_E5M2": 8,
        "F8_E4M3": 8,
        "F8_E8M0": 8,
        "F8_E4M3FNUZ": 8,
        "F8_E5M2FNUZ": 8,
        "I16": 16,
        "U16": 16,
        "F16": 16,
        "BF16": 16,
        "I32": 32,
        "U32": 32,
        "F32": 32,
        "C64": 64,
        "F64": 64,
        "I64": 64,
        "U64": 64,
    }
)
"""Bits per element by dtype name."""

MAX_SIZE_BYTES = 2**53 - 1
"""The largest integer every JSON reader keeps exact (RFC 8785 section 3.2.2.3)."""


def tensor_size_bytes(dtype: str, shape: Sequence[int]) -> int:
    """Return how many bytes a tensor's elements take.

    Args:
        dtype: A name from ``BITS``.
        shape: Non-negative extents; empty for a scalar.

    Returns:
        Bytes of the contiguous, little-endian elements; sub-byte dtypes are packed.

    Raises:
        InvalidInputError: Unknown dtype, negative extent, more than 2^53 - 1 bytes, or packed elements that do not
            fill whole bytes.
    """
    return _size_bytes(dtype, tuple(shape))


@lru_cache(4096)
def _size_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    if dtype not in BITS:
        raise InvalidInputError(f"no dtype is named '{dtype}'", kind="unknown-dtype", hint=did_you_mean(dtype, BITS))
    if any(extent < 0 for extent in shape):
        raise InvalidInputError(f"shape {list(shape)} has a negative extent", kind="bad-shape")
    bits = math.prod(shape) * BITS[dtype]
    if bits % 8:
        raise InvalidInputError(f"{math.prod(shape)} elements of {dtype} do not fill whole bytes", kind="bad-shape")
    if bits // 8 > MAX_SIZE_BYTES:
        raise InvalidInputError(f"shape {list(shape)} of {dtype} is larger than 2^53 bytes", kind="bad-shape")
    return bits // 8
