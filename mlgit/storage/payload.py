"""Reading whole objects: many at once, in parallel, verified against their ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import Protocol

from blake3 import blake3

from mlgit.errors import CorruptObjectError, InvalidInputError
from mlgit.objects import hasher, preamble, tensor_size_bytes
from mlgit.objects.encoding import parse_json
from mlgit.objects.ids import tensor_preamble
from mlgit.storage.chunk_reader import ChunkReader
from mlgit.storage.chunking import Buffers
from mlgit.storage.located import Located
from mlgit.storage.workers import InOrder, Workers

_BATCH_BYTES = 1 << 20
_BATCH_COUNT = 64
"""Small objects that one thread reads one after another: handing each over alone would cost more than reading it."""


class Destination(Protocol):
    """Where the bytes of one object go. Parts come in any order, from several threads."""

    def part(self, start: int, size: int) -> memoryview:
        """Return writable memory for the bytes from ``start``; it is left alone until it is given back."""

    def filled(self, start: int, part: memoryview) -> None:
        """Take the bytes that were decoded into ``part``; they may still turn out to be wrong."""

    def give_back(self, part: memoryview) -> None:
        """Take back memory that nobody reads any more."""


class InMemory:
    """Bytes go straight into a buffer.

    Args:
        target: Writable bytes, exactly as many as the object has.
    """

    __slots__ = ("_target",)

    def __init__(self, target: memoryview) -> None:
        self._target = target

    def part(self, start: int, size: int) -> memoryview:
        """Return that part of the buffer."""
        return self._target[start : start + size]

    def filled(self, start: int, part: memoryview) -> None:
        """Do nothing: they are where they belong."""

    def give_back(self, part: memoryview) -> None:
        """Do nothing."""


class Elsewhere:
    """Bytes are decoded into memory that goes round, and passed on.

    Args:
        buffers: Where the memory comes from.
        write: Takes where the bytes begin in the object, and the bytes; called from several threads.
    """

    __slots__ = ("_buffers", "_write")

    def __init__(self, buffers: Buffers, write: Callable[[int, memoryview], None]) -> None:
        self._buffers = buffers
        self._write = write

    def part(self, start: int, size: int) -> memoryview:
        """Return memory."""
        del start
        return self._buffers.take(size)

    def filled(self, start: int, part: memoryview) -> None:
        """Pass the bytes on."""
        self._write(start, part)

    def give_back(self, part: memoryview) -> None:
        """Take back the memory."""
        self._buffers.give_back(part)


def start_of_id(located: Located) -> blake3:
    """Return a hasher that has seen what precedes the payload of this object.

    Raises:
        CorruptObjectError: A tensor's dtype or shape is unreadable, or does not fit its size.
    """
    entry = located.entry
    if entry.kind != "tensor":
        return hasher(preamble(entry.kind))
    form = _form(entry.metadata)
    if form is None or form[2] != entry.size:
        dtype, shape = tensor_type(located)
        raise located.source.damaged(0, f"{dtype}{list(shape)} does not take {entry.size} bytes", located.subject)
    return hasher(_TENSOR + entry.metadata + b"\n")


def tensor_type(located: Located) -> tuple[str, tuple[int, ...]]:
    """Return dtype and shape of a tensor from its pack's index.

    Raises:
        CorruptObjectError: They are unreadable.
    """
    form = _form(located.entry.metadata)
    if form is not None:
        return form[0], form[1]
    try:
        return _parsed(located.entry.metadata)[:2]
    except (InvalidInputError, CorruptObjectError) as error:
        raise located.source.damaged(0, error.message, located.subject) from error


_TENSOR = preamble("tensor")


@lru_cache(4096)
def _form(metadata: bytes) -> tuple[str, tuple[int, ...], int] | None:
    """Return dtype, shape and bytes, or None where they are unreadable; few models have many different ones."""
    try:
        return _parsed(metadata)
    except (InvalidInputError, CorruptObjectError):
        return None


def _parsed(metadata: bytes) -> tuple[str, tuple[int, ...], int]:
    fields = parse_json(metadata, "the form of a tensor")
    dtype, extents = fields.text("dtype"), fields.list("shape")
    shape = tuple(extent for extent in extents if isinstance(extent, int) and not isinstance(extent, bool))
    if len(shape) != len(extents) or tensor_preamble(dtype, shape).split(b"\n")[1] != metadata:
        raise InvalidInputError("its dtype and shape are not in canonical form")
    return dtype, shape, tensor_size_bytes(dtype, shape)


_Afterwards = Callable[[], None]
"""What is left to do in the calling thread when a job is done, in the order of the jobs."""


class PayloadReader:
    """Reads objects from their places.

    A first reading decodes and compares the id. Only where that does not match, a second one checks the checksum of
    every chunk and takes each from a sound copy, or names the one that has none.

    Args:
        chunks: Decodes chunks.
        workers: Threads to decode in.
    """

    def __init__(self, chunks: ChunkReader, workers: Workers) -> None:
        self._chunks = chunks
        self._workers = workers

    def read_into(self, located: Located, target: memoryview) -> None:
        """Decode an object into ``target`` and compare its id.

        Args:
            located: The object.
            target: Writable bytes, exactly as many as it has.

        Raises:
            CorruptObjectError: The bytes do not give the id; ``target`` holds rubbish.
        """
        destination = InMemory(target)
        if located.entry.chunk_count <= 1:
            self._read_small(located, destination)
        else:
            self.read_all([(located, destination)])

    def read_all(self, requests: Iterable[tuple[Located, Destination]]) -> None:
        """Decode many objects, each to its destination, and compare their ids.

        Args:
            requests: Objects and destinations; taken as they are needed.

        Raises:
            CorruptObjectError: An object's bytes do not give its id; its destination holds rubbish, others nothing.
        """
        tasks: InOrder[_Afterwards] = InOrder(self._workers)
        try:
            for job in self._jobs(requests):
                for afterwards in tasks.submit(job):
                    afterwards()
            for afterwards in tasks.drain():
                afterwards()
        finally:
            tasks.cancel()

    def stream(self, located: Located) -> Iterator[memoryview]:
        """Yield the parts of an object in order; each is sound by its checksum, the whole by the id at the end.

        Raises:
            CorruptObjectError: At the latest after the last part.
        """
        state = start_of_id(located)
        entry, step = located.entry, 1 << located.entry.chunk_exponent
        tasks: InOrder[memoryview] = InOrder(self._workers)

        def decode(place: int) -> memoryview:
            target = memoryview(bytearray(min(step, entry.size - place * step)))
            self._chunks.decode_any(located, place, target)
            return target

        try:
            for part in tasks.map([partial(decode, place) for place in range(entry.chunk_count)]):
                state.update(part)
                yield part.toreadonly()
        finally:
            tasks.cancel()
        if state.digest() != entry.digest:
            raise _mismatch(located)

    def _jobs(self, requests: Iterable[tuple[Located, Destination]]) -> Iterator[Callable[[], _Afterwards]]:
        batch: list[tuple[Located, Destination]] = []
        size = 0
        for located, destination in requests:
            if located.entry.chunk_count <= 1:
                batch.append((located, destination))
                size += located.entry.size
            if batch and (size >= _BATCH_BYTES or len(batch) == _BATCH_COUNT or located.entry.chunk_count > 1):
                yield partial(self._read_batch, batch)
                batch, size = [], 0
            if located.entry.chunk_count > 1:
                yield from self._large(located, destination)
        if batch:
            yield partial(self._read_batch, batch)

    def _read_batch(self, batch: list[tuple[Located, Destination]]) -> _Afterwards:
        for located, destination in batch:
            self._read_small(located, destination)
        return _nothing

    def _read_small(self, located: Located, destination: Destination) -> None:
        """Read an object of at most one chunk."""
        entry, state = located.entry, start_of_id(located)
        part = destination.part(0, entry.size)
        try:
            if entry.chunk_count:
                self._chunks.decode(located, 0, part)
                state.update(part)
            sound = state.digest() == entry.digest
        except CorruptObjectError:
            sound = False
        if sound:
            destination.filled(0, part)
        else:
            self._read_carefully(located, destination)
        destination.give_back(part)

    def _large(self, located: Located, destination: Destination) -> Iterator[Callable[[], _Afterwards]]:
        """Yield one job per chunk of an object of several; their parts are hashed in order, afterwards."""
        state = start_of_id(located)
        entry, step = located.entry, 1 << located.entry.chunk_exponent
        last, broken = entry.chunk_count - 1, False

        def finish(place: int, part: memoryview | None) -> None:
            nonlocal broken
            if part is None:
                broken = True
            else:
                state.update(part)
                destination.give_back(part)
            if place == last and (broken or state.digest() != entry.digest):
                self._read_carefully(located, destination)

        def decode(place: int) -> _Afterwards:
            part = destination.part(place * step, min(step, entry.size - place * step))
            try:
                self._chunks.decode(located, place, part)
            except CorruptObjectError:
                destination.give_back(part)
                return partial(finish, place, None)
            destination.filled(place * step, part)
            return partial(finish, place, part)

        for place in range(entry.chunk_count):
            yield partial(decode, place)

    def _read_carefully(self, located: Located, destination: Destination) -> None:
        """Read an object once more, every chunk checked and taken from whichever copy is sound."""
        state = start_of_id(located)
        entry, step = located.entry, 1 << located.entry.chunk_exponent
        for place in range(entry.chunk_count):
            part = destination.part(place * step, min(step, entry.size - place * step))
            self._chunks.decode_any(located, place, part)
            state.update(part)
            destination.filled(place * step, part)
            destination.give_back(part)
        if state.digest() != entry.digest:
            raise _mismatch(located)


def _nothing() -> None:
    """Leave nothing to be done."""


def _mismatch(located: Located) -> CorruptObjectError:
    offset = located.chunk(0).offset if located.entry.chunk_count else 0
    return located.source.damaged(offset, "its bytes do not give its id", located.subject)
