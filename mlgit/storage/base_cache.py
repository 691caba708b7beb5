"""Decoded chunks of bases, kept while many differences to the same base are read side by side."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

_BUDGET_BYTES = 24 * 2**20

Key = tuple[bytes, int, bool]
"""Id of the base, number of its chunk, and whether checksums were compared."""


class BaseCache:
    """Keeps nothing but inside ``sharing``. Safe in threads.

    What was kept without comparing checksums may be wrong: whoever finds that an object's bytes do not give its id
    reads it again and asks for what was compared.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._held_bytes = 0
        self._chunks: OrderedDict[Key, memoryview] = OrderedDict()

    @property
    def is_used(self) -> bool:
        """Whether anybody is inside ``sharing``."""
        return self._users > 0

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Keep chunks while the block runs, up to 24 MiB of them; blocks may be nested."""
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._chunks.clear()
                    self._held_bytes = 0

    def get(self, key: Key, size: int) -> memoryview | None:
        """Return the bytes of a chunk, if they are kept and are so many; they must not be changed."""
        with self._lock:
            found = self._chunks.get(key)
            if found is None or len(found) != size:
                return None
            self._chunks.move_to_end(key)
            return found

    def put(self, key: Key, chunk: memoryview) -> None:
        """Keep a chunk, whose memory nobody changes any more, in the place of those not asked for longest."""
        with self._lock:
            if not self._users or key in self._chunks:
                return
            self._chunks[key] = chunk
            self._held_bytes += len(chunk)
            while self._held_bytes > _BUDGET_BYTES:
                self._held_bytes -= len(self._chunks.popitem(last=False)[1])
