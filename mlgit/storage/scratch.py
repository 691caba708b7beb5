"""Working memory that a thread keeps, since fresh memory costs a page fault for every 4 KiB."""

from __future__ import annotations

import threading

_thread = threading.local()


def scratch(name: str, size: int) -> memoryview:
    """Return writable memory of this thread; what it holds is lost when the same name is asked for again.

    Args:
        name: Which piece: two that are needed at once have two names.
        size: Bytes wanted. A piece keeps its largest size, which callers bound by the size of a chunk.
    """
    pieces: dict[str, bytearray] | None = getattr(_thread, "pieces", None)
    if pieces is None:
        pieces = _thread.pieces = {}
    piece = pieces.get(name)
    if piece is None or len(piece) < size:
        piece = pieces[name] = bytearray(size)
    return memoryview(piece)[:size]
