"""New packs, written but not yet published: stored chunks copied as they are, or encoded against a new base."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from mlgit.errors import CorruptObjectError
from mlgit.storage.chunk_reader import ChunkReader
from mlgit.storage.codecs import codec
from mlgit.storage.codecs.selection import Content, encode_chunk
from mlgit.storage.encoder import Encoded
from mlgit.storage.located import Located
from mlgit.storage.pack_folder import PackFolder
from mlgit.storage.pack_format import BASE_BYTES, CHUNK, COUNTS, FOOTER, HEADER, OBJECT, ObjectEntry, checksum
from mlgit.storage.pack_writer import PackWriter
from mlgit.storage.payload import start_of_id, tensor_type
from mlgit.storage.repack.inventory import Inventory, Item, locate
from mlgit.storage.scratch import scratch
from mlgit.storage.workers import InOrder, Workers

T = TypeVar("T")
_Result = tuple[memoryview, Encoded]
PACK_BYTES = 1 << 32
"""A new pack is begun before the next group when this is reached."""
PACK_CHUNKS = 1 << 20
"""The same for its number of chunks, which are kept in memory until it is published."""


class UnsoundPackError(Exception):
    """An object cannot be read; the pack that holds it must stay.

    Args:
        name: Its file name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _Mark(NamedTuple):
    """How far a pack had come."""

    chunks: int
    objects: int
    stored: int


class NewPack:
    """One pack that nobody sees yet.

    Args:
        root: The folder of packs.
    """

    def __init__(self, root: Path) -> None:
        self._writer = PackWriter(root)
        self._entries: list[ObjectEntry] = []
        self._stored = 0

    @property
    def mark(self) -> _Mark:
        """How far it has come."""
        return _Mark(len(self._writer.chunks), len(self._entries), self._stored)

    def back_to(self, mark: _Mark) -> None:
        """Drop everything after a mark."""
        self._writer.truncate(mark.chunks)
        del self._entries[mark.objects :]
        self._stored = mark.stored

    def add(self, entry: ObjectEntry, chunks: Iterator[Encoded]) -> bytes:
        """Add an object and return the depths of its chunks."""
        first = len(self._writer.chunks)
        for encoded in chunks:
            self._writer.append(encoded)
            self._stored += len(encoded.stored)
        self._entries.append(entry._replace(first_chunk=first))
        return bytes(chunk.depth for chunk in self._writer.chunks[first:])

    @property
    def is_full(self) -> bool:
        """Whether the next group should begin another pack."""
        return self._stored >= PACK_BYTES or len(self._writer.chunks) >= PACK_CHUNKS

    @property
    def size_bytes(self) -> int:
        """How large the file will be."""
        bases = len({chunk.base for chunk in self._writer.chunks} - {None})
        return (
            HEADER.size + self._stored + COUNTS.size + OBJECT.size * len(self._entries)
            + CHUNK.size * len(self._writer.chunks) + BASE_BYTES * bases
            + sum(len(entry.metadata) for entry in self._entries) + FOOTER.size
        )  # fmt: skip

    def publish(self, written_ns: int) -> Path:
        """Give it its name, durably, and the age of what is in it."""
        commits = [entry for entry in self._entries if entry.kind == "commit"]
        path = self._writer.publish(self._entries, main=(commits or self._entries[-1:])[0].digest)
        with suppress(OSError):
            os.utime(path, ns=(written_ns, written_ns))
        return path

    def abandon(self) -> None:
        """Leave nothing behind; does nothing after ``publish``."""
        self._writer.abandon()


class Copier:
    """Brings objects from old packs into new ones.

    Args:
        folder: The packs.
        workers: Threads to encode in.
        inventory: What is stored.
    """

    def __init__(self, folder: PackFolder, workers: Workers, inventory: Inventory) -> None:
        self._folder = folder
        self._workers = workers
        self._inventory = inventory
        self._reader = ChunkReader(folder.copies_anywhere)
        self.depths: dict[bytes, bytes] = {}
        """How many differences stand before each chunk of the objects brought over, one byte per chunk."""
        self._verified: set[bytes] = set()

    def copy(self, digest: bytes, pack: NewPack) -> None:
        """Add an object with its stored bytes, each chunk compared with its checksum.

        Raises:
            UnsoundPackError: They are damaged.
            FileSystemError: The operating system refused.
        """
        item = self._inventory.items[digest]
        try:
            self.depths[digest] = pack.add(item.entry, self._stored_chunks(item))
        except CorruptObjectError as error:
            raise UnsoundPackError(item.pack) from error

    def encode(self, wanted: Sequence[tuple[bytes, bytes | None]], pack: NewPack) -> None:
        """Add tensors, each as a difference to another or whole.

        What is written is decoded again and compared, and every tensor and base is verified against its id.

        Args:
            wanted: Ids, each with that of its new base or None; bases are not among them.
            pack: Takes them.

        Raises:
            UnsoundPackError: One of them is damaged.
            FileSystemError: The operating system refused.
        """
        for base in dict.fromkeys(base for _, base in wanted if base is not None):
            self._verify(base)
        results = self._in_order(function for digest, base in wanted for function in self._encodings(digest, base))
        try:
            for digest, _ in wanted:
                item = self._inventory.items[digest]
                try:
                    self.depths[digest] = pack.add(item.entry, self._encoded_chunks(item, results))
                except CorruptObjectError as error:
                    raise UnsoundPackError(item.pack) from error
                self._verified.add(digest)
        finally:
            results.close()

    def _stored_chunks(self, item: Item) -> Iterator[Encoded]:
        located = locate(self._folder, item)
        for place in range(item.entry.chunk_count):
            chunk = located.chunk(place)
            stored = memoryview(bytearray(chunk.stored))
            located.source.read_stored(chunk, stored)
            if checksum(stored) != chunk.checksum:
                raise located.source.damaged(chunk.offset, f"chunk {place} does not match its checksum")
            depth = self._depth(chunk.base, place)
            yield Encoded(stored, chunk.codec, chunk.raw, chunk.width, depth, chunk.base, chunk.checksum)

    def _depth(self, base: bytes | None, place: int) -> int:
        """Return the depth of a difference to a chunk of a base."""
        if base is None:
            return 0
        if base in self.depths:
            return self.depths[base][place] + 1
        return locate(self._folder, self._inventory.items[base]).chunk(place).depth + 1

    def _verify(self, digest: bytes) -> None:
        """Read a tensor that others will rest on, unless that was done."""
        if digest in self._verified:
            return
        item = self._inventory.items[digest]
        try:
            located = locate(self._folder, item)
            state = start_of_id(located)
            for raw in self._in_order(partial(self._raw, located, place) for place in range(item.entry.chunk_count)):
                state.update(raw)
        except CorruptObjectError as error:
            raise UnsoundPackError(item.pack) from error
        if state.digest() != digest:
            raise UnsoundPackError(item.pack)
        self._verified.add(digest)

    def _encodings(self, digest: bytes, base: bytes | None) -> Iterator[Callable[[], _Result]]:
        """Yield what encodes the chunks of a tensor."""
        item = self._inventory.items[digest]
        located = locate(self._folder, item)
        other = None if base is None else locate(self._folder, self._inventory.items[base])
        content = Content.of(tensor_type(located)[0])
        for place in range(item.entry.chunk_count):
            yield partial(self._encoded, located, other, content, place)

    def _encoded_chunks(self, item: Item, results: Iterator[_Result]) -> Iterator[Encoded]:
        located = locate(self._folder, item)
        state = start_of_id(located)
        for place, (raw, encoded) in enumerate(islice(results, item.entry.chunk_count)):
            state.update(raw)
            yield replace(encoded, depth=self._depth(encoded.base, place))
        if state.digest() != item.entry.digest:
            raise located.source.damaged(located.chunk(0).offset, "its bytes do not give its id", located.subject)

    def _in_order(self, functions: Iterable[Callable[[], T]]) -> Generator[T, None, None]:
        tasks: InOrder[T] = InOrder(self._workers)
        try:
            for function in functions:
                yield from tasks.submit(function)
            yield from tasks.drain()
        finally:
            tasks.cancel()

    def _raw(self, located: Located, place: int) -> memoryview:
        target = memoryview(bytearray(located.chunk(place).raw))
        self._reader.decode_any(located, place, target)
        return target

    def _encoded(self, located: Located, other: Located | None, content: Content, place: int) -> _Result:
        """Encode one chunk, and see that it decodes; runs in threads."""
        raw = self._raw(located, place)
        base = None if other is None else scratch("new base", len(raw))
        if other is not None and base is not None:
            self._reader.decode_any(other, place, base)
        number, pieces = encode_chunk(raw, content, base)
        stored = memoryview(b"".join(pieces))
        implementation = codec(number)
        used = other.entry.digest if other is not None and implementation.needs_base else None
        again = scratch("written chunk", len(raw))
        implementation.decode(stored, again, content.width, base if used is not None else None)
        if again != raw:
            raise RuntimeError(f"codec {number} does not give back a chunk of {located.subject}")
        return raw, Encoded(stored, number, len(raw), content.width, 0, used, checksum(stored))
