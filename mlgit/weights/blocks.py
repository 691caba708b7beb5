"""Weighted sums of rows of numbers in float64, block by block: all steps of a block stay in a core's cache."""

from __future__ import annotations

import ctypes
import importlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from mlgit.errors import MlgitError
from mlgit.objects.ids import Buffer
from mlgit.weights.parts import PART
from mlgit.weights.rounding import narrow
from mlgit.weights.stored import writable_bytes

_MAX_ROWS = 4096
_sums: Any = None
with suppress(ImportError):  # compiled where the project is installed, if a compiler is there
    _sums = importlib.import_module("mlgit.weights._sums")
_thread = threading.local()


def start(total: torch.Tensor, row: torch.Tensor, factor: float) -> None:
    """Set ``total`` to ``factor * row``.

    Args:
        total: float64, at most ``PART`` numbers.
        row: As many numbers of any floating dtype.
        factor: Each product is rounded to float64; 1.0 needs none.
    """
    total.copy_(row)
    if factor != 1.0:
        total.mul_(factor)


def add(total: torch.Tensor, row: torch.Tensor, factor: float) -> None:
    """Add ``factor * row`` to ``total``; arguments as for ``start``."""
    term = block("term", len(row))
    start(term, row, factor)
    total.add_(term)


def finish(total: torch.Tensor, divisor: float, target: torch.Tensor) -> None:
    """Write ``total / divisor`` into ``target``, rounded once to its dtype; ``total`` is used up."""
    if divisor != 1.0:
        total.div_(divisor)
    target.copy_(narrow(total, target.dtype))


def combine(rows: Sequence[torch.Tensor], factors: Sequence[float], divisor: float, target: torch.Tensor) -> None:
    """Write ``(((f_1 * row_1) + f_2 * row_2) + …) / divisor`` into ``target``, in the calling thread.

    Args:
        rows: At least one, of one length and dtype.
        factors: One per row.
        divisor: Not 0.
        target: Of the same length and dtype; may be one of the rows.
    """
    done = 0
    while done < len(target):
        done += _combine_compiled([row[done:] for row in rows], factors, divisor, target[done:])
        part = slice(done, done + PART)
        if done < len(target):
            _combine_block([row[part] for row in rows], factors, divisor, target[part])
            done += PART


def _combine_compiled(
    rows: Sequence[torch.Tensor], factors: Sequence[float], divisor: float, target: torch.Tensor
) -> int:
    """Do as much as the compiled loops can; return how many numbers are done: none where there are no such loops."""
    if _sums is None or target.dtype not in (torch.float32, torch.float64) or len(rows) > _MAX_ROWS:
        return 0
    done: int = _sums.combine(
        tuple(map(writable_bytes, rows)), tuple(factors), divisor, writable_bytes(target), target.dtype.itemsize
    )
    return done


def _combine_block(
    rows: Sequence[torch.Tensor], factors: Sequence[float], divisor: float, target: torch.Tensor
) -> None:
    total, term = block("total", len(target)), block("term", len(target))
    start(total, rows[0], factors[0])
    for row, factor in zip(rows[1:], factors[1:], strict=True):
        start(term, row, factor)
        total.add_(term)
    finish(total, divisor, target)


def combine_parts(
    members: Sequence[Iterator[Buffer]], dtype: torch.dtype, factors: Sequence[float], divisor: float
) -> Iterator[Buffer]:
    """Yield the bytes of a weighted sum of rows that come in parts, side by side.

    Args:
        members: The bytes of each row in order, in parts of whole numbers, not all cut at the same places.
        dtype: A real floating dtype.
        factors: One per row.
        divisor: Not 0.

    Returns:
        Parts that are used again when the next one is asked for.

    Raises:
        MlgitError: The rows are not of one length.
    """
    rests = [memoryview(b"")] * len(members)
    result = torch.empty(0, dtype=dtype)
    while True:
        rests = [rest or next_part(member) for rest, member in zip(rests, members, strict=True)]
        size = min(map(len, rests))
        if not size:
            break
        if len(result) * dtype.itemsize < size:
            result = torch.empty(size // dtype.itemsize, dtype=dtype)
        target = result[: size // dtype.itemsize]
        combine([numbers(rest[:size], dtype) for rest in rests], factors, divisor, target)
        yield target.view(torch.uint8).numpy().data
        rests = [rest[size:] for rest in rests]
    if any(rests):
        raise MlgitError("tensors of one form have different numbers of bytes")


def next_part(parts: Iterator[Buffer]) -> memoryview:
    """Return the next part that is not empty as bytes, or an empty one after the last."""
    return next((view for view in map(as_bytes, parts) if view), memoryview(b""))


def as_bytes(part: Buffer) -> memoryview:
    """Return a contiguous buffer as bytes."""
    view = memoryview(part)
    return view.cast("B") if view.nbytes else memoryview(b"")


def block(name: str, count: int) -> torch.Tensor:
    """Return float64 memory of the calling thread for one block; the same name gives the same memory."""
    blocks: dict[str, torch.Tensor] | None = getattr(_thread, "blocks", None)
    if blocks is None:
        blocks = _thread.blocks = {}
    if name not in blocks:
        blocks[name] = torch.empty(PART, dtype=torch.float64)
    return blocks[name][:count]


def numbers(part: Buffer, dtype: torch.dtype) -> torch.Tensor:
    """Return the numbers in a buffer, only to be read, and only as long as the buffer is held.

    torch knows no tensors that cannot be written, and warns of memory that cannot; so it is told an address.

    Args:
        part: Bytes of whole numbers, not none.
        dtype: What they are.
    """
    view = np.frombuffer(part, np.uint8)
    memory = (ctypes.c_uint8 * len(view)).from_address(view.ctypes.data)
    return torch.frombuffer(memory, dtype=dtype)
