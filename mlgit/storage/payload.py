"""Reading whole objects: in parallel, verified against their ids."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from blake3 import blake3

from mlgit.errors import CorruptObjectError, InvalidInputError
from mlgit.objects import hasher, preamble, tensor_size_bytes
from mlgit.objects.encoding import parse_json
from mlgit.objects.ids import tensor_preamble
from mlgit.storage.chunk_reader import ChunkReader
from mlgit.storage.located import Located
from mlgit.storage.workers import InOrder, Workers


def start_of_id(located: Located) -> blake3:
    """Return a hasher that has seen what precedes the payload of this object.

    Raises:
        CorruptObjectError: A tensor's dtype or shape is unreadable, or does not fit its size.
    """
    entry = located.entry
    if entry.kind != "tensor":
        return hasher(preamble(entry.kind))
    dtype, shape = tensor_type(located)
    if tensor_size_bytes(dtype, shape) != entry.size:
        raise located.source.damaged(0, f"{dtype}{list(shape)} does not take {entry.size} bytes", located.subject)
    return hasher(preamble("tensor") + entry.metadata + b"\n")


def tensor_type(located: Located) -> tuple[str, tuple[int, ...]]:
    """Return dtype and shape of a tensor from its pack's index.

    Raises:
        CorruptObjectError: They are unreadable.
    """
    fields = parse_json(located.entry.metadata, located.subject)
    dtype, extents = fields.text("dtype"), fields.list("shape")
    shape = tuple(extent for extent in extents if isinstance(extent, int) and not isinstance(extent, bool))
    try:
        if len(shape) != len(extents) or tensor_preamble(dtype, shape).split(b"\n")[1] != located.entry.metadata:
            raise InvalidInputError("its dtype and shape are not in canonical form")
        tensor_size_bytes(dtype, shape)
    except InvalidInputError as error:
        raise located.source.damaged(0, error.message, located.subject) from error
    return dtype, shape


class PayloadReader:
    """Reads objects from their places.

    Args:
        chunks: Decodes chunks.
        workers: Threads to decode in.
    """

    def __init__(self, chunks: ChunkReader, workers: Workers) -> None:
        self._chunks = chunks
        self._workers = workers

    def read_into(self, located: Located, target: memoryview, *, check: bool = False) -> None:
        """Decode an object into ``target`` and compare its id.

        Args:
            located: The object.
            target: Writable bytes, exactly as many as it has.
            check: Compare checksums of chunks and take each from a sound copy; finds where damage is.

        Raises:
            CorruptObjectError: The bytes do not give the id; ``target`` holds rubbish.
        """
        state = start_of_id(located)
        entry, step = located.entry, 1 << located.entry.chunk_exponent
        parts = [target[start : start + step] for start in range(0, entry.size, step)]
        tasks: InOrder[memoryview] = InOrder(self._workers)

        def decode(place: int) -> memoryview:
            if check:
                self._chunks.decode_any(located, place, parts[place])
            else:
                self._chunks.decode(located, place, parts[place])
            return parts[place]

        try:
            for part in tasks.map([partial(decode, place) for place in range(len(parts))]):
                state.update(part)
        finally:
            tasks.cancel()
        if state.digest() != entry.digest:
            raise _mismatch(located)

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


def _mismatch(located: Located) -> CorruptObjectError:
    offset = located.chunk(0).offset if located.entry.chunk_count else 0
    return located.source.damaged(offset, "its bytes do not give its id", located.subject)
