"""Whether a pack is what its format says, from the first byte to the last."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlgit.errors import CorruptObjectError, FileSystemError
from mlgit.storage.codecs import NUMBERS
from mlgit.storage.located import Located
from mlgit.storage.pack import Pack
from mlgit.storage.pack_folder import HINT_DIGITS
from mlgit.storage.pack_format import FOOTER, HEADER, ChunkEntry, ObjectEntry, checksum
from mlgit.storage.payload import start_of_id
from mlgit.storage.scratch import scratch

Identity = tuple[int, int, int]
"""Device, inode and time of the last change of a file: another file of the same name has another one."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a pack says that it holds.

    Attributes:
        identity: Which file it was.
        pack: The pack, or None when it cannot be opened.
        entries: Its objects, in the order of their chunks; those whose entries are damaged are left out.
        problems: What is wrong with its structure.
    """

    identity: Identity
    pack: Pack | None
    entries: tuple[ObjectEntry, ...]
    problems: tuple[str, ...]


def survey(path: Path) -> Survey | None:
    """Read a pack's index and check its structure; return None when the file is gone.

    Every byte before the index must belong to one chunk, every chunk to one object, and ids must rise.

    Raises:
        FileSystemError: The operating system refused, for another reason than a bad disk.
    """
    identity = identity_of(path)
    if identity is None:
        return None
    problems: list[str] = []
    try:
        pack = Pack(path)
        entries = sorted(_entries(pack, problems), key=lambda entry: (entry.first_chunk, entry.chunk_count))
        if not problems:
            problems += _check_chunks(pack, entries)
        problems += _check_name(pack)
    except FileNotFoundError:
        return None
    except (CorruptObjectError, FileSystemError) as error:
        return Survey(identity, None, (), (damage(error),))
    return Survey(identity, pack, tuple(entries), tuple(problems))


def check_pack(path: Path, *, checksums: bool) -> Iterator[str]:
    """Yield what is wrong with a pack.

    Args:
        path: The file.
        checksums: Compare the stored bytes of every chunk with their checksums too.

    Raises:
        FileSystemError: The operating system refused, for another reason than a bad disk.
    """
    found = survey(path)
    if found is None:
        return
    yield from found.problems
    if checksums and found.pack is not None:
        for entry in found.entries:
            problem = stored_problem(found.pack, entry)
            if problem is not None:
                yield problem


def stored_problem(pack: Pack, entry: ObjectEntry) -> str | None:
    """Compare the stored bytes of an object with the checksums of its chunks; return the first that differs, or None.

    Raises:
        FileSystemError: The operating system refused, for another reason than a bad disk.
    """
    subject = f"{entry.kind} {entry.digest.hex()[:10]}"
    try:
        for place, chunk in enumerate(pack.chunks(entry)):
            if _stored_checksum(pack, chunk) != chunk.checksum:
                return pack.damaged(chunk.offset, f"chunk {place} does not match its checksum", subject).message
    except (CorruptObjectError, FileSystemError) as error:
        return damage(error)
    return None


def digests_in_several(paths: Iterable[Path]) -> set[bytes]:
    """Return the ids, 32 bytes each, of the objects that more than one of these packs holds."""
    seen: set[bytes] = set()
    several: set[bytes] = set()
    for path in paths:
        try:
            pack = Pack(path)
        except (FileNotFoundError, CorruptObjectError, FileSystemError):
            continue
        here = {pack.digest(number) for number in range(pack.object_count)}
        several |= here & seen
        seen |= here
    return several


def damage(error: CorruptObjectError | FileSystemError) -> str:
    """Return what an error says about damaged data.

    Raises:
        FileSystemError: It says nothing about data: no permission, too many open files.
    """
    if isinstance(error, FileSystemError) and getattr(error.__cause__, "errno", None) != errno.EIO:
        raise error
    return error.message


def identity_of(path: Path) -> Identity | None:
    """Return which file a path names now, or None when it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _check_name(pack: Pack) -> list[str]:
    """Compare the name of a pack with its index: in another's place it would be written over when that is stored."""
    with pack.path.open("rb") as stream:
        stream.seek(-FOOTER.size, os.SEEK_END)
        digest = FOOTER.unpack(stream.read(FOOTER.size))[2]
    if pack.path.stem.endswith(digest.hex()[:HINT_DIGITS]):
        return []
    return [pack.damaged(0, "it has the name of another pack").message]


def _entries(pack: Pack, problems: list[str]) -> Iterator[ObjectEntry]:
    last = b""
    known: set[tuple[bytes, int]] = set()  # types of tensors that were looked at: a model has few
    for number in range(pack.object_count):
        try:
            entry = pack.entry(number)
            if entry.digest <= last:
                raise pack.damaged(pack.index_offset, f"id {entry.digest.hex()[:10]} is out of order in the index")
            last = entry.digest
            if (entry.metadata, entry.size) not in known:
                start_of_id(Located(pack, entry))
                if entry.kind == "tensor":
                    known.add((entry.metadata, entry.size))
        except CorruptObjectError as error:
            problems.append(error.message)
        else:
            yield entry


def _check_chunks(pack: Pack, entries: list[ObjectEntry]) -> list[str]:
    next_chunk, end = 0, HEADER.size
    for entry in entries:
        subject = f"{entry.kind} {entry.digest.hex()[:10]}"
        if entry.first_chunk != next_chunk and entry.chunk_count:
            return [pack.damaged(end, "its chunks are shared with another object, or nobody's", subject).message]
        next_chunk += entry.chunk_count
        for place in range(entry.chunk_count):
            try:
                chunk = pack.chunk(entry, place)
                if chunk.codec not in NUMBERS:
                    raise pack.damaged(chunk.offset, f"codec {chunk.codec} is unknown", subject)
                if chunk.offset != end:
                    raise pack.damaged(chunk.offset, f"chunk {place} does not follow the one before", subject)
            except CorruptObjectError as error:
                return [error.message]
            end += chunk.stored
    if next_chunk != pack.chunk_count or end != pack.index_offset:
        return [pack.damaged(end, "bytes or chunks that belong to no object").message]
    return []


def _stored_checksum(pack: Pack, chunk: ChunkEntry) -> bytes:
    stored = scratch("checked", chunk.stored)
    pack.read_stored(chunk, stored)
    return checksum(stored)
