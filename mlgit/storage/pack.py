"""Reading one pack: its index by bisection, its chunks by position.

A pack may be damaged or hostile. Opening it checks header, footer and the digest of the index; reading an entry
checks every field against the others and against the file's size before anything is allocated or decoded.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from mlgit.errors import CorruptObjectError
from mlgit.fileio import file_system_error
from mlgit.storage import pack_format as layout
from mlgit.storage.codecs.kernels import kernels
from mlgit.storage.pack_format import BASE_BYTES, CHUNK, COUNTS, FOOTER, HEADER, OBJECT, ChunkEntry, ObjectEntry

_MAP_FROM = 1 << 16
_VERIFY_LATER = 1 << 20
"""An index of more bytes may be compared with its digest later than when the pack is opened."""
_ALL_ZERO = bytes(8)


class Pack:
    """One pack file, open for reading; closed when nobody holds it any more.

    Args:
        path: The file.
        verify_later: Leave it to the caller to ``verify`` a large index.

    Raises:
        CorruptObjectError: Not a pack, cut short, or its index is damaged.
        FileSystemError: The operating system refused. A missing file raises FileNotFoundError.
    """

    def __init__(self, path: Path, *, verify_later: bool = False) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise file_system_error(error, "read", path) from error
        weakref.finalize(self, os.close, self._descriptor)
        self.size_bytes = os.fstat(self._descriptor).st_size
        self._unverified: bytes | None = None
        self.index_offset, self._index = self._open_index()
        if not (verify_later and len(self._index) > _VERIFY_LATER):
            self.verify()
        counts = COUNTS.unpack_from(self._index)
        self.object_count, self.chunk_count, self._base_count, self._metadata_bytes = counts
        self._chunks_at = COUNTS.size + self.object_count * OBJECT.size
        self._bases_at = self._chunks_at + self.chunk_count * CHUNK.size
        self._metadata_at = self._bases_at + self._base_count * BASE_BYTES
        if self._metadata_at + self._metadata_bytes != len(self._index):
            raise self.damaged(self.index_offset, f"its index has {len(self._index)} bytes, its counts say otherwise")

    @property
    def is_verified(self) -> bool:
        """Whether the index was compared with its digest."""
        return self._unverified is None

    def verify(self) -> None:
        """Compare the index with its digest, unless that was done.

        What is found in a damaged index is noticed when it is read, by its id; what is not found may be there.

        Raises:
            CorruptObjectError: They differ.
        """
        if self._unverified is not None:
            if blake3(self._index).digest() != self._unverified:
                raise self.damaged(self.index_offset, "the index does not match its digest")
            self._unverified = None

    @property
    def object_table(self) -> memoryview:
        """The entries of all objects, 64 bytes each, in order of their ids."""
        return memoryview(self._index)[COUNTS.size : self._chunks_at]

    @property
    def chunk_table(self) -> memoryview:
        """The entries of all chunks, 32 bytes each, in order of their places."""
        return memoryview(self._index)[self._chunks_at : self._bases_at]

    @property
    def base_table(self) -> memoryview:
        """The ids of all bases, 32 bytes each, sorted."""
        return memoryview(self._index)[self._bases_at : self._metadata_at]

    def damaged(self, offset: int, reason: str, subject: str | None = None) -> CorruptObjectError:
        """Return the error for something wrong at a place of this pack.

        Args:
            offset: Where, in bytes from the start of the file.
            reason: What is wrong.
            subject: What cannot be read because of it: ``tensor 4f2a91c0de``.
        """
        start = f"{subject} is damaged: " if subject else ""
        return CorruptObjectError(
            f"{start}pack '{self.path}' at offset {offset}: {reason}",
            hint="`mlgit fsck` lists everything that is hurt; get the object again from a clone that has it",
        )

    def find(self, digest: bytes) -> int | None:
        """Return the number of the object with this id, or None.

        Raises:
            CorruptObjectError: The id stands twice.
        """
        number = self.lower_bound(digest)
        if number == self.object_count or self.digest(number) != digest:
            return None
        if number + 1 < self.object_count and self.digest(number + 1) == digest:
            raise self.damaged(self._entry_offset(number), f"the id {digest.hex()[:10]} stands twice in its index")
        return number

    @property
    def has_bases(self) -> bool:
        """Whether any chunk is a difference."""
        return bool(self._base_count)

    def base_digests(self) -> list[bytes]:
        """Return the ids of all bases of its differences, 32 bytes each."""
        return [bytes(self._index[at : at + BASE_BYTES]) for at in range(self._bases_at, self._metadata_at, BASE_BYTES)]

    def lower_bound(self, start: bytes) -> int:
        """Return the number of the first object whose id is not below ``start``, up to 32 bytes."""
        return kernels.lower_bound(self._index, COUNTS.size, self.object_count, OBJECT.size, start)

    def digest(self, number: int) -> bytes:
        """Return the id of an object, by its number."""
        at = COUNTS.size + number * OBJECT.size
        return bytes(self._index[at : at + 32])

    def kind(self, number: int) -> str:
        """Return the kind of an object, by its number."""
        code = OBJECT.unpack_from(self._index, COUNTS.size + number * OBJECT.size)[6]
        if code not in layout.KIND_NAMES:
            raise self.damaged(self._entry_offset(number), f"{code} is not a kind of object")
        return layout.KIND_NAMES[code]

    def entry(self, number: int) -> ObjectEntry:
        """Return what the index says about an object, by its number.

        Raises:
            CorruptObjectError: The entry contradicts itself or the file.
        """
        values = OBJECT.unpack_from(self._index, COUNTS.size + number * OBJECT.size)
        digest, size, first, count, metadata_at, metadata_bytes, code, exponent, rest = values
        at = self._metadata_at + metadata_at
        kind = layout.KIND_NAMES.get(code) or self.kind(number)
        entry = ObjectEntry(digest, kind, size, first, count, exponent, bytes(self._index[at : at + metadata_bytes]))
        if not layout.MIN_EXPONENT <= exponent <= layout.MAX_EXPONENT:
            raise self.damaged(self._entry_offset(number), f"a chunk size of 2^{exponent} bytes is not allowed")
        if (
            count != layout.chunk_count(size, exponent)
            or first + count > self.chunk_count
            or metadata_at + metadata_bytes > self._metadata_bytes
            or rest != _ALL_ZERO
        ):
            raise self.damaged(self._entry_offset(number), f"the entry of {digest.hex()[:10]} contradicts itself")
        return entry

    def chunks(self, entry: ObjectEntry) -> Iterator[ChunkEntry]:
        """Yield the chunks of an object in order; raises CorruptObjectError as ``chunk``."""
        return (self.chunk(entry, place) for place in range(entry.chunk_count))

    def chunk(self, entry: ObjectEntry, place: int) -> ChunkEntry:
        """Return one chunk of an object.

        Args:
            entry: The object.
            place: 0 for its first chunk.

        Raises:
            CorruptObjectError: The chunk contradicts its object or the file.
        """
        at = self._chunks_at + (entry.first_chunk + place) * CHUNK.size
        offset, stored, raw, base, codec, width, depth, rest, check = CHUNK.unpack_from(self._index, at)
        reason = None
        if raw != min(1 << entry.chunk_exponent, entry.size - (place << entry.chunk_exponent)):
            reason = f"chunk {place} decodes to {raw} bytes, which is not its share"
        elif stored > raw or offset < HEADER.size or offset + stored > self.index_offset:
            reason = f"chunk {place} has {stored} bytes at {offset}, which cannot be"
        elif base > self._base_count or (depth > 0) != (base > 0) or depth > layout.MAX_DEPTH:
            reason = f"chunk {place} names base {base} and depth {depth}, which cannot be"
        elif rest or width < 1 or raw % width:
            reason = f"chunk {place} has elements of {width} bytes, which cannot be"
        if reason:
            raise self.damaged(self.index_offset + at, reason)
        return ChunkEntry(offset, stored, raw, codec, width, depth, self._base(base), check)

    def read_stored(self, chunk: ChunkEntry, target: memoryview) -> None:
        """Fill ``target`` with the stored bytes of a chunk, unchecked.

        Raises:
            CorruptObjectError: The file ends before them.
            FileSystemError: The operating system refused.
        """
        self._read_into(chunk.offset, target)

    def _base(self, number: int) -> bytes | None:
        at = self._bases_at + (number - 1) * BASE_BYTES
        return bytes(self._index[at : at + BASE_BYTES]) if number else None

    def _entry_offset(self, number: int) -> int:
        return self.index_offset + COUNTS.size + number * OBJECT.size

    def _open_index(self) -> tuple[int, bytes | memoryview]:
        least = HEADER.size + COUNTS.size + FOOTER.size
        if self.size_bytes < least:
            raise self.damaged(self.size_bytes, f"the file ends; a pack has {least} bytes at least")
        magic, version, rest = HEADER.unpack(self._read(0, HEADER.size))
        if magic != layout.MAGIC or rest:
            raise self.damaged(0, "the file does not begin like a pack")
        if version != layout.VERSION:
            raise CorruptObjectError(
                f"pack '{self.path}' has version {version}, this mlgit reads version {layout.VERSION}",
                kind="newer-version",
                hint="update mlgit",
            )
        footer_at = self.size_bytes - FOOTER.size
        offset, length, digest, zeros, end = FOOTER.unpack(self._read(footer_at, FOOTER.size))
        if end != layout.END_MAGIC or zeros != _ALL_ZERO:
            raise self.damaged(footer_at, "the file does not end like a pack; it may have been cut short")
        if offset < HEADER.size or length < COUNTS.size or offset + length != footer_at:
            raise self.damaged(footer_at, f"an index of {length} bytes at {offset} does not fit the file")
        self._unverified = digest
        return offset, self._map(offset, length)

    def _map(self, offset: int, length: int) -> bytes | memoryview:
        """Return the index: read when small, mapped when large, since every mapping costs a file descriptor."""
        if length < _MAP_FROM:
            return self._read(offset, length)
        start = offset - offset % mmap.ALLOCATIONGRANULARITY
        try:
            mapped = mmap.mmap(self._descriptor, offset + length - start, offset=start, access=mmap.ACCESS_READ)
        except OSError as error:
            raise file_system_error(error, "read", self.path) from error
        return memoryview(mapped)[offset - start :]

    def _read(self, offset: int, length: int) -> bytes:
        target = bytearray(length)
        self._read_into(offset, memoryview(target))
        return bytes(target)

    def _read_into(self, offset: int, target: memoryview) -> None:
        try:
            while target:
                count = os.preadv(self._descriptor, [target], offset)
                if not count:
                    raise self.damaged(offset, "the file ends")
                target, offset = target[count:], offset + count
        except OSError as error:
            raise file_system_error(error, "read", self.path) from error
