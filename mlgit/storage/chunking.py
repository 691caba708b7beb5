"""Parts of any size become chunks of one size, in memory that is used again and again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlgit.objects.ids import Buffer


def as_bytes(part: Buffer) -> memoryview:
    """Return a C-contiguous buffer of any element type as a flat view of its bytes."""
    view = memoryview(part)
    return view.cast("B") if view.nbytes else memoryview(b"")


class Buffers:
    """Chunk-sized memory that goes round: fresh memory for every chunk would cost a page fault per 4 KiB."""

    def __init__(self) -> None:
        self._spare: dict[int, list[bytearray]] = {}

    def take(self, size: int) -> bytearray:
        """Return a buffer of ``size`` bytes, used before or new."""
        spare = self._spare.get(size)
        return spare.pop() if spare else bytearray(size)

    def give_back(self, chunk: memoryview) -> None:
        """Take back the buffer under ``chunk``, which nobody may use any more."""
        if isinstance(chunk.obj, bytearray):
            self._spare.setdefault(len(chunk.obj), []).append(chunk.obj)


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
                chunk = memoryview(buffers.take(size))
            count = min(size - filled, len(rest))
            chunk[filled : filled + count] = rest[:count]
            rest, filled = rest[count:], filled + count
            if filled == size:
                yield chunk
                filled = 0
    if filled:
        yield chunk[:filled]
