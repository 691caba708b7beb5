"""From a chunk to its stored bytes: the base looked up, the codec chosen, the checksum taken. Runs in threads."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from mlgit.errors import CorruptObjectError
from mlgit.storage.chunk_reader import ChunkReader, Copies
from mlgit.storage.codecs import RAW, Readable, codec
from mlgit.storage.codecs.selection import Content, encode_chunk, total
from mlgit.storage.located import Located
from mlgit.storage.pack_format import checksum
from mlgit.storage.scratch import scratch


@dataclass(frozen=True, slots=True)
class Encoded:
    """One chunk as it goes into a pack.

    Attributes:
        stored: Its bytes, in the memory that the chunk came in.
        codec: Number of the codec.
        raw: How many bytes they decode to.
        width: Bytes per element.
        depth: Differences between it and its value.
        base: Id of its base, or None.
        checksum: Of ``stored``.
    """

    stored: memoryview
    codec: int
    raw: int
    width: int
    depth: int
    base: bytes | None
    checksum: bytes


class ChunkEncoder:
    """Encodes chunks.

    Args:
        copies: Yields every place of an object, given the 32 bytes of its id.
        depth: How many differences may stand between a chunk and its value.
    """

    def __init__(self, copies: Copies, depth: int) -> None:
        self._copies = copies
        self._reader = ChunkReader(copies)
        self._depth = depth

    def encode(self, raw: memoryview, place: int, content: Content, base: Located | None) -> Encoded:
        """Encode one chunk.

        Args:
            raw: Its bytes, in memory that may be overwritten.
            place: 0 for the first chunk of its object.
            content: What the bytes are.
            base: A tensor of the same dtype and shape, or None. A damaged one is passed over.
        """
        size = len(raw)
        base_bytes, digest, depth = self._base_chunk(base, place)
        number, pieces = encode_chunk(raw, content, base_bytes)
        if not codec(number).needs_base:
            digest, depth = None, 0
        stored = raw if number == RAW else _gather(pieces, raw)
        return Encoded(stored, number, size, content.width, depth, digest, checksum(stored))

    def _base_chunk(self, located: Located | None, place: int) -> tuple[memoryview | None, bytes | None, int]:
        """Return the bytes of a base's chunk, its object's id and the depth of a difference to it.

        A chunk that already is as deep as allowed is replaced by its own base.
        """
        if not self._depth:
            return None, None, 0
        with suppress(CorruptObjectError):
            while located is not None:
                chunk = located.chunk(place)
                if chunk.depth < self._depth:
                    target = scratch("base of a new chunk", chunk.raw)
                    self._reader.decode(located, place, target, check=True)
                    return target, located.entry.digest, chunk.depth + 1
                located = next(filter(located.fits, self._copies(chunk.base or b"")), None)
        return None, None, 0


def _gather(pieces: list[Readable], target: memoryview) -> memoryview:
    """Copy pieces one after another to the start of ``target`` and return that part of it."""
    end = 0
    for piece in pieces:
        target[end : end + len(piece)] = piece
        end += len(piece)
    return target[: total(pieces)]
