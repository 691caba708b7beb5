"""Parts of any size become chunks of one size, in memory that is used again and again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlgit.objects.ids import Buffer

_LEAST = 1 << 16


def as_bytes(part: Buffer) -> memoryview:
    """Return a C-contiguous buffer of any element type as a flat view of its bytes."""
    view = memoryview(part)
    return view.cast("B") if view.nbytes else memoryview(b"")


class Buffers:
    """Chunk-sized memory that goes round: fresh memory for every chunk would cost a page fault per 4 KiB.

    Pieces are as large as powers of two, at least ``_LEAST``, so that few sizes serve all. Safe in threads.
    """

    def __init__(self) -> None:
        self._spare: dict[int, list[bytearray]] = {}

    def take(self, size: int) -> memoryview:
        """Return ``size`` bytes of writable memory, used before or new."""
        whole = max(_LEAST, 1 << (size - 1).bit_length()) if size else _LEAST
        spare = self._spare.get(whole)
        try:
            piece = spare.pop() if spare else bytearray(whole)
        except IndexError:  # another thread was faster
            piece = bytearray(whole)
        return memoryview(piece)[:size]

    def give_back(self, part: memoryview) -> None:
        """Take back the memory under ``part``, which nobody may use any more."""
        if isinstance(part.obj, bytearray):
            self._spare.setdefault(len(part.obj), []).append(part.obj)


def cut(parts: Iterable[Buffer], size: int, buffers: Buffers) -> Iterator[memoryview]:
    """Yield the bytes of ``parts`` in chunks that own their memory until they are given back.

    Args:
        parts: C-contiguous buffers of any size and element type; each may change when the next is asked for.
        size: Bytes per chunk; the last one may be shorter, none is empty.
        buffers: Where the memory comes from.
    """
    chunk, filled = memoryview(b""), 0
    for part in parts:
        rest = as_bytes(part)
        while rest:
            if filled == 0:
                chunk = buffers.take(size)
            count = min(size - filled, len(rest))
            chunk[filled : filled + count] = rest[:count]
            rest, filled = rest[count:], filled + count
            if filled == size:
                yield chunk
                filled = 0
    if filled:
        yield chunk[:filled]
