"""One write: objects go into a pack of their own, which appears when the block ends well."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self, overload

from blake3 import blake3

from mlgit.errors import CorruptObjectError, InvalidInputError
from mlgit.objects import (
    BlobId,
    CertificateId,
    CertificateResult,
    Commit,
    CommitId,
    Manifest,
    ManifestId,
    ObjectId,
    Record,
    Tag,
    TagId,
    TensorId,
    hasher,
    preamble,
    tensor_preamble,
    tensor_size_bytes,
)
from mlgit.objects.ids import ID_TYPES, Buffer
from mlgit.storage import pack_format as layout
from mlgit.storage.chunking import Buffers, as_bytes, cut
from mlgit.storage.codecs.selection import Content
from mlgit.storage.encoder import ChunkEncoder, Encoded
from mlgit.storage.incoming import Done, Prepared, Preparer, TensorSource, batches, parts_of
from mlgit.storage.located import Located
from mlgit.storage.pack_folder import PackFolder
from mlgit.storage.pack_format import ObjectEntry
from mlgit.storage.pack_writer import PackWriter, remove_stale
from mlgit.storage.workers import InOrder, Workers


@dataclass(frozen=True, slots=True)
class _Incoming:
    """An object on its way in."""

    kind: str
    start: bytes
    content: Content
    metadata: bytes = b""
    size: int | None = None
    base: Located | None = None

    @property
    def exponent(self) -> int:
        return layout.DEFAULT_EXPONENT if self.base is None else self.base.entry.chunk_exponent


class Transaction:
    """Adds objects to a database, all or none.

    Use as a context manager. Leaving it well publishes one pack, durably; leaving it with an exception, Ctrl-C
    included, publishes nothing. Nothing is published either when every object was known. Encoding runs in threads
    and continues after a ``put`` has returned; memory is bounded by chunks times threads. Not for several threads.

    Args:
        folder: The packs.
        workers: Threads to encode in.
        depth: How many differences may stand between a chunk and its value.
        again: Objects to store although they are known, since what is stored is damaged.
    """

    def __init__(
        self,
        folder: PackFolder,
        workers: Workers,
        *,
        depth: int = layout.DEFAULT_DEPTH,
        again: Collection[ObjectId] = (),
    ) -> None:
        self._folder = folder
        self._again = {object_id.digest for object_id in again}
        self._objects: dict[bytes, ObjectEntry] = {}
        self._workers = workers
        self._tasks: InOrder[Encoded] = InOrder(workers)
        self._encoder = ChunkEncoder(self._copies, depth)
        self._buffers = Buffers()
        self._held = ExitStack()
        self._submitted = 0
        self._writer: PackWriter | None = None
        self._broken: BaseException | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._folder.guard.holding())
            self._folder.refresh()
            self._held = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._held:
            try:
                if kind is None and self._objects:
                    self._publish()
            finally:
                self._tasks.cancel()
                if self._writer is not None:
                    self._writer.abandon()

    def __contains__(self, object_id: ObjectId) -> bool:
        return self._has(object_id.digest)

    def put_tensor(
        self,
        dtype: str,
        shape: Sequence[int],
        parts: Iterable[Buffer],
        *,
        base: TensorId | None = None,
        expected: TensorId | None = None,
    ) -> TensorId:
        """Add a tensor, unless it is known.

        Args:
            dtype: A safetensors dtype name.
            shape: Extents.
            parts: Its little-endian, contiguous bytes, in any number of parts. When there is a base, a list or tuple
                is read twice: hashed first, so that a known tensor is not encoded at all. All else is read once.
            base: A tensor of the same dtype and shape to store a difference to, where that is smaller. Unknown,
                damaged or different ones are passed over.
            expected: Its id, when that is known: if the database has it, ``parts`` is not read.

        Returns:
            Its id.

        Raises:
            InvalidInputError: No such dtype or shape, or the wrong number of bytes.
            CorruptObjectError: The id is not the expected one.
            FileSystemError: The operating system refused; the transaction cannot be used any more.
        """
        start = tensor_preamble(dtype, shape)
        metadata = start.split(b"\n")[1]
        located = None if base is None else self._base(base, metadata)
        incoming = _Incoming(
            "tensor", start, Content.of(dtype), metadata, tensor_size_bytes(dtype, shape), base=located
        )
        return TensorId.from_digest(self._put(incoming, parts, expected))

    def put_tensors(self, sources: Iterable[TensorSource]) -> list[TensorId]:
        """Add many tensors, unless they are known; small ones are hashed and encoded in batches, in threads.

        A large one with a base is hashed first, so that a known one is not encoded at all; then it is read, and hashed,
        once more. So every tensor is stored as it was when its id was computed.

        Args:
            sources: The tensors, in the order in which they go into the pack.

        Returns:
            Their ids, in the same order.

        Raises:
            InvalidInputError: No such dtype or shape.
            FileSystemError: The operating system refused.
            Exception: What a source raised. After any error the transaction cannot be used any more.
        """
        self._refuse_if_broken()
        ids: list[TensorId] = []
        preparer = Preparer(self._encoder, self._has, self._folder.copies, self._buffers)
        ahead: InOrder[Prepared] = InOrder(self._workers)
        try:
            for batch in batches(sources):
                for prepared in ahead.submit(partial(preparer.prepare, batch)):
                    ids += self._finish(prepared)
            for prepared in ahead.drain():
                ids += self._finish(prepared)
        except BaseException as error:
            self._broken = error
            raise
        finally:
            ahead.cancel()
        return ids

    def _finish(self, prepared: Prepared) -> Iterator[TensorId]:
        """Take a batch into the pack, in order."""
        for done in prepared.done:
            if done.digest is not None and (done.is_known or done.digest in self._objects):
                yield TensorId.from_digest(done.digest)
            elif done.digest is None or done.encoded is None:
                yield self._put_source(done)
            else:
                self._append_only_chunk(done.source, done.digest, done.encoded, done.exponent)
                yield TensorId.from_digest(done.digest)
        if prepared.memory is not None:
            self._buffers.give_back(prepared.memory)

    def _append_only_chunk(self, source: TensorSource, digest: bytes, encoded: Encoded, exponent: int) -> None:
        self._write(self._tasks.drain())
        self._append_chunk(encoded)
        metadata = tensor_preamble(source.dtype, source.shape).split(b"\n")[1]
        self._objects[digest] = ObjectEntry(digest, "tensor", encoded.raw, self._submitted, 1, exponent, metadata)
        self._submitted += 1

    def _put_source(self, done: Done) -> TensorId:
        """Add an unknown tensor, reading it once more: chunks are encoded in threads and hashed here."""
        source = done.source
        expected = None if done.digest is None else TensorId.from_digest(done.digest)
        return self.put_tensor(source.dtype, source.shape, parts_of(source), base=source.base, expected=expected)

    def put_blob(self, parts: Iterable[Buffer], *, expected: BlobId | None = None) -> BlobId:
        """Add a blob, unless it is known; arguments and errors as for ``put_tensor``."""
        return BlobId.from_digest(self._put(_Incoming("blob", preamble("blob"), Content()), parts, expected))

    @overload
    def put_record(self, record: Manifest) -> ManifestId: ...
    @overload
    def put_record(self, record: Commit) -> CommitId: ...
    @overload
    def put_record(self, record: Tag) -> TagId: ...
    @overload
    def put_record(self, record: CertificateResult) -> CertificateId: ...
    @overload
    def put_record(self, record: Record) -> ObjectId: ...
    def put_record(self, record: Record) -> ObjectId:
        """Add a manifest, commit, tag or certificate result, unless it is known, and return its id.

        Raises:
            InvalidInputError: It is larger than 64 MiB.
            FileSystemError: The operating system refused; the transaction cannot be used any more.
        """
        data = record.encode()
        if len(data) > layout.MAX_RECORD_BYTES:
            raise InvalidInputError(f"a {record.kind} of {len(data)} bytes is too large", kind="too-large")
        incoming = _Incoming(record.kind, preamble(record.kind), Content())
        return ID_TYPES[record.kind].from_digest(self._put(incoming, [data], None))

    def _has(self, digest: bytes) -> bool:
        if digest in self._objects:
            return True
        return digest not in self._again and self._folder.contains(digest)

    def _put(self, incoming: _Incoming, parts: Iterable[Buffer], expected: ObjectId | None) -> bytes:
        self._refuse_if_broken()
        if expected is not None and self._has(expected.digest):
            return expected.digest
        if incoming.base is not None and isinstance(parts, (list, tuple)):
            digest = _hash(incoming, parts, expected)  # most tensors of a commit are those of its parent
            if self._has(digest):
                return digest
        first = self._submitted
        try:
            state = hasher(incoming.start)
            size = self._send(incoming, parts, state)
            digest = _checked(incoming, state.digest(), size, expected)
            if self._has(digest):
                self._take_back(first)
                return digest
        except Exception:  # whatever the caller's parts raised: only this object is given up, the others stand
            self._take_back(first)
            raise
        except BaseException as error:
            self._broken = error
            raise
        count = self._submitted - first
        self._objects[digest] = ObjectEntry(
            digest, incoming.kind, size, first, count, incoming.exponent, incoming.metadata
        )
        return digest

    def _send(self, incoming: _Incoming, parts: Iterable[Buffer], state: blake3) -> int:
        """Hand the chunks to the hasher and to the threads; return the size."""
        size = 0
        for place, raw in enumerate(cut(parts, 1 << incoming.exponent, self._buffers)):
            state.update(raw)
            size += len(raw)
            self._submitted += 1
            encode = partial(self._encoder.encode, raw, place, incoming.content, incoming.base)
            self._write(self._tasks.submit(encode))
        return size

    def _refuse_if_broken(self) -> None:
        """Raise what broke the transaction, if its caller has caught it and goes on."""
        if self._broken is not None:
            raise self._broken

    def _write(self, results: Iterator[Encoded]) -> None:
        try:
            self._append(results)
        except BaseException as error:
            self._broken = error  # chunks of objects that seemed written may be lost
            raise

    def _append(self, results: Iterator[Encoded]) -> None:
        for encoded in results:
            self._append_chunk(encoded)
            self._buffers.give_back(encoded.stored)

    def _append_chunk(self, encoded: Encoded) -> None:
        if self._writer is None:
            remove_stale(self._folder.root)
            self._writer = PackWriter(self._folder.root)
        self._writer.append(encoded)

    def _take_back(self, first: int) -> None:
        """Drop all chunks from number ``first`` on."""
        if self._broken is not None:
            return
        self._write(self._tasks.drain())
        if self._writer is not None:
            self._writer.truncate(first)
        self._submitted = first

    def _publish(self) -> None:
        self._refuse_if_broken()
        self._write(self._tasks.drain())
        entries = list(self._objects.values())
        commits = [entry for entry in entries if entry.kind == "commit"]
        if self._writer is None:  # nothing but empty tensors and blobs
            self._writer = PackWriter(self._folder.root)
        path = self._writer.publish(entries, main=(commits or entries)[-1].digest)
        self._folder.replaced(path.name)

    def _base(self, base: TensorId, metadata: bytes) -> Located | None:
        """Return the place of a base, if it is a tensor of the same dtype and shape."""
        if base.digest in self._objects:  # its chunks must be in the file before a thread reads them
            self._write(self._tasks.drain())
            if self._writer is not None:
                self._writer.flush()
        with suppress(CorruptObjectError):
            located = next(self._copies(base.digest), None)
            if located is not None and located.entry.metadata == metadata:
                return located
        return None

    def _copies(self, digest: bytes) -> Iterator[Located]:
        entry = self._objects.get(digest)
        if entry is not None and self._writer is not None:
            yield Located(self._writer, entry)
        yield from self._folder.copies(digest)


def _hash(incoming: _Incoming, parts: Sequence[Buffer], expected: ObjectId | None) -> bytes:
    state = hasher(incoming.start)
    size = 0
    for part in parts:
        view = as_bytes(part)
        state.update(view)
        size += len(view)
    return _checked(incoming, state.digest(), size, expected)


def _checked(incoming: _Incoming, digest: bytes, size: int, expected: ObjectId | None) -> bytes:
    if incoming.size is not None and size != incoming.size:
        described = incoming.metadata.decode()
        raise InvalidInputError(f"a tensor {described} has {incoming.size} bytes, not {size}", kind="bad-tensor")
    if expected is not None and digest != expected.digest:
        raise CorruptObjectError(
            f"expected {incoming.kind} {expected.short}, but the bytes given are {digest.hex()[:10]}",
            hint="the place it was read from is damaged",
        )
    return digest
