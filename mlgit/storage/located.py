"""Where an object lies: a published pack, or the one a transaction is writing."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from mlgit.errors import CorruptObjectError
from mlgit.storage.pack_format import ChunkEntry, ObjectEntry


class ChunkSource(Protocol):
    """Something that holds the chunks of objects."""

    def chunk(self, entry: ObjectEntry, place: int) -> ChunkEntry:
        """Return one chunk of an object."""

    def read_stored(self, chunk: ChunkEntry, target: memoryview) -> None:
        """Fill ``target`` with the stored bytes of a chunk."""

    def damaged(self, offset: int, reason: str, subject: str | None = None) -> CorruptObjectError:
        """Return the error for something wrong at an offset."""


class Located(NamedTuple):
    """An object and the place that holds it."""

    source: ChunkSource
    entry: ObjectEntry

    @property
    def subject(self) -> str:
        """What an error calls it."""
        return f"{self.entry.kind} {self.entry.digest.hex()[:10]}"

    def chunk(self, place: int) -> ChunkEntry:
        """Return its chunk number ``place``."""
        return self.source.chunk(self.entry, place)

    def fits(self, other: Located) -> bool:
        """Whether both are cut into the same chunks."""
        return (self.entry.size, self.entry.chunk_exponent) == (other.entry.size, other.entry.chunk_exponent)
