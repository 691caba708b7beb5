"""Tensors on their way into a pack: where their bytes come from, and the threads that hash and encode them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mlgit.errors import CorruptObjectError
from mlgit.objects import TensorId, hasher, tensor_preamble, tensor_size_bytes
from mlgit.storage.chunk_reader import Copies
from mlgit.storage.chunking import Buffers
from mlgit.storage.codecs.selection import Content
from mlgit.storage.encoder import ChunkEncoder, Encoded
from mlgit.storage.located import Located
from mlgit.storage.pack_format import CHUNK_BYTES, DEFAULT_EXPONENT
from mlgit.storage.scratch import scratch

Fill = Callable[[int, memoryview], None]
"""Fills a buffer with the bytes of a file, or of anything like one, from an offset on. Called from several threads,
perhaps more than once for the same bytes; raises when they cannot be had."""

_BATCH_COUNT = 64
"""Small tensors that one thread takes one after another: handing each over alone would cost more than encoding it."""


@dataclass(frozen=True, slots=True)
class TensorSource:
    """A tensor whose bytes can be read at will.

    Attributes:
        dtype: A safetensors dtype name.
        shape: Extents.
        fill: Reads what holds its little-endian, contiguous bytes.
        start: Where they begin there.
        base: A tensor of the same dtype and shape to store a difference to, where that is smaller. Unknown, damaged or
            different ones are passed over, and for small tensors those that are not published yet.
    """

    dtype: str
    shape: Sequence[int]
    fill: Fill
    start: int = 0
    base: TensorId | None = None

    @property
    def size_bytes(self) -> int:
        """How many bytes it has; raises InvalidInputError for an impossible dtype or shape."""
        return tensor_size_bytes(self.dtype, self.shape)


def hashed(source: TensorSource) -> TensorId:
    """Return the id of a tensor, reading it in bounded memory."""
    size = source.size_bytes
    state = hasher(tensor_preamble(source.dtype, source.shape))
    for start in range(0, size, CHUNK_BYTES):
        part = scratch("part to hash", min(CHUNK_BYTES, size - start))
        source.fill(source.start + start, part)
        state.update(part)
    return TensorId.from_digest(state.digest())


def parts_of(source: TensorSource) -> Iterator[memoryview]:
    """Yield a tensor's bytes in parts, each of which changes when the next one is asked for."""
    size = source.size_bytes
    for start in range(0, size, CHUNK_BYTES):
        part = scratch("part to store", min(CHUNK_BYTES, size - start))
        source.fill(source.start + start, part)
        yield part


def batches(sources: Iterable[TensorSource]) -> Iterator[list[TensorSource]]:
    """Group tensors, in order: those of one chunk into batches, each larger one alone."""
    batch: list[TensorSource] = []
    total = 0
    for source in sources:
        size = source.size_bytes
        if batch and (total + size > CHUNK_BYTES or len(batch) == _BATCH_COUNT):
            yield batch
            batch, total = [], 0
        batch.append(source)
        total += size
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Done:
    """What a thread found out about a tensor.

    Attributes:
        source: The tensor.
        digest: Its id; None when it was not looked at.
        is_known: Whether it is stored already.
        encoded: Its only chunk, when it is unknown and has one.
        exponent: Of the size that its chunks would have if there were more: that of its base.
    """

    source: TensorSource
    digest: bytes | None
    is_known: bool = False
    encoded: Encoded | None = None
    exponent: int = DEFAULT_EXPONENT


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a thread found out about a batch.

    Attributes:
        done: One result per tensor, in order.
        memory: Holds the encoded chunks; to be given back when they are written. None: there are none.
    """

    done: list[Done]
    memory: memoryview | None


class Preparer:
    """Hashes tensors and encodes the unknown ones of one chunk. Runs in threads.

    Args:
        encoder: Encodes chunks.
        has: Whether an id is known.
        published: Yields the places of an object in packs that stand.
        buffers: Where memory comes from.
    """

    def __init__(
        self, encoder: ChunkEncoder, has: Callable[[bytes], bool], published: Copies, buffers: Buffers
    ) -> None:
        self._encoder = encoder
        self._has = has
        self._published = published
        self._buffers = buffers

    def prepare(self, batch: list[TensorSource]) -> Prepared:
        """Work on one batch."""
        total = sum(source.size_bytes for source in batch)
        if total > CHUNK_BYTES:  # one large tensor
            [source] = batch
            if source.base is None:
                return Prepared([Done(source, None)], None)
            digest = hashed(source).digest
            return Prepared([Done(source, digest, self._has(digest))], None)
        memory = self._buffers.take(total)
        parts = _read(batch, memory)
        return Prepared([self._prepare(source, part) for source, part in zip(batch, parts, strict=True)], memory)

    def _prepare(self, source: TensorSource, raw: memoryview) -> Done:
        start = tensor_preamble(source.dtype, source.shape)
        state = hasher(start)
        state.update(raw)
        digest = state.digest()
        if self._has(digest):
            return Done(source, digest, is_known=True)
        base = None if source.base is None else self._base(source.base, start.split(b"\n")[1])
        if not raw or (base is not None and base.entry.chunk_count > 1):  # by another writer, in smaller chunks
            return Done(source, digest)
        exponent = DEFAULT_EXPONENT if base is None else base.entry.chunk_exponent
        encoded = self._encoder.encode(raw, 0, Content.of(source.dtype), base)
        return Done(source, digest, encoded=encoded, exponent=exponent)

    def _base(self, base: TensorId, metadata: bytes) -> Located | None:
        with suppress(CorruptObjectError):
            located = next(self._published(base.digest), None)
            if located is not None and located.entry.metadata == metadata:
                return located
        return None


def _read(batch: list[TensorSource], memory: memoryview) -> list[memoryview]:
    """Fill memory with the bytes of tensors; what follows one another where it comes from is read at once."""
    parts: list[memoryview] = []
    begin, end = 0, 0
    first = batch[0]
    for source in batch:
        if source.fill is not first.fill or source.start != first.start + end - begin:
            first.fill(first.start, memory[begin:end])
            first, begin = source, end
        size = source.size_bytes
        parts.append(memory[end : end + size])
        end += size
    first.fill(first.start, memory[begin:end])
    return parts
