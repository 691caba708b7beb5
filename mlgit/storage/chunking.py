"""Parts of any size become chunks of one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlgit.objects.ids import Buffer


def as_bytes(part: Buffer) -> memoryview:
    """Return a C-contiguous buffer of any element type as a flat view of its bytes."""
    view = memoryview(part)
    return view.cast("B") if view.nbytes else memoryview(b"")


def cut(parts: Iterable[Buffer], size: int) -> Iterator[memoryview]:
    """Yield the bytes of ``parts`` in chunks that own their memory.

    Args:
        parts: C-contiguous buffers of any size and element type; each may change when the next is asked for.
        size: Bytes per chunk; the last one may be shorter, none is empty.
    """
    chunk = bytearray()
    for part in parts:
        rest = as_bytes(part)
        while rest:
            taken = rest[: size - len(chunk)]
            chunk += taken
            rest = rest[len(taken) :]
            if len(chunk) == size:
                yield memoryview(chunk)
                chunk = bytearray()
    if chunk:
        yield memoryview(chunk)
