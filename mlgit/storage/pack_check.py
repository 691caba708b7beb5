"""Whether a pack is what its format says, from the first byte to the last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mlgit.errors import CorruptObjectError
from mlgit.storage.codecs import NUMBERS
from mlgit.storage.located import Located
from mlgit.storage.pack import Pack
from mlgit.storage.pack_format import HEADER, ChunkEntry, ObjectEntry, checksum
from mlgit.storage.payload import start_of_id
from mlgit.storage.scratch import scratch


def check_pack(path: Path, *, checksums: bool) -> Iterator[str]:
    """Yield what is wrong with a pack.

    Every byte before the index must belong to one chunk, every chunk to one object, and ids must rise.

    Args:
        path: The file.
        checksums: Compare the stored bytes of every chunk with their checksums too.

    Raises:
        FileSystemError: The operating system refused.
    """
    try:
        pack = Pack(path)
        entries = sorted(_entries(pack), key=lambda entry: (entry.first_chunk, entry.chunk_count))
    except FileNotFoundError:
        return
    except CorruptObjectError as error:
        yield error.message
        return
    yield from _check_chunks(pack, entries, checksums=checksums)


def _entries(pack: Pack) -> Iterator[ObjectEntry]:
    last = b""
    for number in range(pack.object_count):
        entry = pack.entry(number)
        if entry.digest <= last:
            raise pack.damaged(pack.index_offset, f"id {entry.digest.hex()[:10]} is out of order in the index")
        start_of_id(Located(pack, entry))
        last = entry.digest
        yield entry


def _check_chunks(pack: Pack, entries: list[ObjectEntry], *, checksums: bool) -> Iterator[str]:
    next_chunk, end = 0, HEADER.size
    for entry in entries:
        subject = f"{entry.kind} {entry.digest.hex()[:10]}"
        if entry.first_chunk != next_chunk and entry.chunk_count:
            yield pack.damaged(end, "its chunks are shared with another object, or nobody's", subject).message
            return
        next_chunk += entry.chunk_count
        for place in range(entry.chunk_count):
            try:
                chunk = pack.chunk(entry, place)
                if chunk.codec not in NUMBERS:
                    raise pack.damaged(chunk.offset, f"codec {chunk.codec} is unknown", subject)
                if chunk.offset != end:
                    raise pack.damaged(chunk.offset, f"chunk {place} does not follow the one before", subject)
                if checksums and _stored_checksum(pack, chunk) != chunk.checksum:
                    yield pack.damaged(chunk.offset, f"chunk {place} does not match its checksum", subject).message
            except CorruptObjectError as error:
                yield error.message
                return
            end += chunk.stored
    if next_chunk != pack.chunk_count or end != pack.index_offset:
        yield pack.damaged(end, "bytes or chunks that belong to no object").message


def _stored_checksum(pack: Pack, chunk: ChunkEntry) -> bytes:
    stored = scratch("checked", chunk.stored)
    pack.read_stored(chunk, stored)
    return checksum(stored)
