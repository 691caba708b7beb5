"""The loops over elements: into planes of equal significance and back, with or without a difference to a base.

Compiled ones where the installation could build them, else the same in NumPy; both give the same bytes.
"""

from __future__ import annotations

import importlib
import sys
from enum import IntEnum
from typing import Protocol, cast

from mlgit.storage.codecs import Readable

WIDTHS = (1, 2, 4, 8)
"""Bytes that an element may have."""


class Change(IntEnum):
    """What is done to elements before they are split; ``docs/format-pack.md`` defines it."""

    NONE = 0
    DIFFERENCE = 1
    EXCLUSIVE_OR = 2


class Kernels(Protocol):
    """One implementation of the loops. Safe in threads; all buffers are flat bytes."""

    def split(self, change: int, raw: Readable, base: Readable, planes: memoryview, width: int) -> None:
        """Fill ``planes`` with the planes of ``raw``, least significant first.

        Args:
            change: A ``Change``.
            raw: Whole elements.
            base: As many bytes as ``raw``; any without a change.
            planes: Writable, as many bytes as ``raw``.
            width: Bytes per element: 1, 2, 4 or 8.

        Raises:
            ValueError: Sizes do not fit.
        """

    def join(self, change: int, planes: tuple[Readable, ...], base: Readable, out: memoryview) -> None:
        """Fill ``out`` with elements from planes and undo the change.

        Args:
            change: A ``Change``.
            planes: As many as an element has bytes, each with one byte per element.
            base: As many bytes as ``out``; any without a change.
            out: Writable; no part of ``base`` or ``planes``.

        Raises:
            ValueError: Sizes do not fit.
        """

    def lower_bound(self, table: Readable, offset: int, count: int, stride: int, key: bytes) -> int:
        """Return the number of the first record that does not begin with less than ``key``.

        Args:
            table: Holds the records, sorted by how they begin.
            offset: Where the first one stands.
            count: How many there are.
            stride: Bytes per record.
            key: At most ``stride`` bytes.

        Raises:
            ValueError: The records do not lie in the table.
        """


def compiled() -> Kernels | None:
    """Return the compiled loops, or None where they were not built."""
    if sys.byteorder != "little":
        return None
    try:
        return cast("Kernels", importlib.import_module("mlgit.storage.codecs._native"))
    except ImportError:
        return None


def plain() -> Kernels:
    """Return the loops in NumPy."""
    from mlgit.storage.codecs.numpy_kernels import NumpyKernels  # noqa: PLC0415 - only where nothing was compiled

    return NumpyKernels()


kernels: Kernels = compiled() or plain()
