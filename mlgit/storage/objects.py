"""The object database: what was stored, by id, verified whenever it is read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, overload

from mlgit.errors import CorruptObjectError, InvalidInputError, NotFoundError
from mlgit.fileio import write_at
from mlgit.objects import CertificateId, CommitId, ManifestId, ObjectId, Record, TagId, TensorId, record_type
from mlgit.objects.ids import ID_TYPES, LENGTH
from mlgit.objects.record import RECORDS
from mlgit.storage.chunk_reader import ChunkReader
from mlgit.storage.chunking import Buffers
from mlgit.storage.directories import make_directories
from mlgit.storage.located import Located
from mlgit.storage.pack_check import check_pack
from mlgit.storage.pack_folder import PackFolder
from mlgit.storage.pack_format import DEFAULT_DEPTH, MAX_RECORD_BYTES, ChunkEntry
from mlgit.storage.payload import Elsewhere, InMemory, PayloadReader, tensor_type
from mlgit.storage.workers import Workers

if TYPE_CHECKING:  # imported by those who need them: most runs write nothing and read commits alone
    from contextlib import AbstractContextManager

    from mlgit.objects import CertificateResult, Commit, Manifest, Tag
    from mlgit.storage.collect import Collector
    from mlgit.storage.commit_graph import CommitGraph
    from mlgit.storage.transaction import Transaction


class ObjectDatabase:
    """Tensors, blobs and records in pack files.

    Objects are never changed. Readers take no lock, and notice packs that other processes add.

    Args:
        root: The folder, ``.mlgit/objects``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._workers = Workers()
        self._folder = PackFolder(root)
        self._chunks = ChunkReader(self._folder.copies_anywhere)
        self._payloads = PayloadReader(self._chunks, self._workers)

    @classmethod
    def create(cls, root: Path) -> ObjectDatabase:
        """Make an empty database.

        Args:
            root: The folder, whose parent exists; it may exist itself.

        Raises:
            FileSystemError: The operating system refused.
        """
        make_directories(root, root.parent)
        return cls(root)

    def transaction(self, *, depth: int = DEFAULT_DEPTH, again: Collection[ObjectId] = ()) -> Transaction:
        """Return a context manager that adds objects, all or none.

        Args:
            depth: How many differences may stand between a chunk and its value, 0 to 8.
            again: Objects to store although they are known: damaged ones that are to be mended.
        """
        from mlgit.storage.transaction import Transaction  # noqa: PLC0415 - most runs only read

        return Transaction(self._folder, self._workers, depth=depth, again=again)

    def keeping(self) -> AbstractContextManager[None]:
        """Return a context manager: while its block runs, in any process, nothing is collected.

        It belongs around everything from finding an object here to a ref that leads to it; blocks may be nested.

        Raises:
            ConflictError: On entry: a collector was at work all the time (kind ``locked``).
            FileSystemError: On entry: the operating system refused.
        """
        return self._folder.guard.holding()

    def sharing_bases(self) -> AbstractContextManager[None]:
        """Return a context manager: while its block runs, decoded bases are kept, in at most 24 MiB.

        It pays where many differences to the same bases are read side by side, as by a merge.
        """
        return self._chunks.bases.sharing()

    def collector(self) -> Collector:
        """Return what finds and removes the packs that nothing needs."""
        from mlgit.storage.collect import Collector  # noqa: PLC0415 - one verb needs it

        return Collector(self._folder)

    def __contains__(self, object_id: ObjectId) -> bool:
        try:
            self._find(object_id)
        except (NotFoundError, CorruptObjectError):
            return False
        return True

    def kind(self, object_id: ObjectId) -> str:
        """Return ``tensor``, ``blob``, ``manifest``, ``commit``, ``tag`` or ``certificate``.

        Raises:
            NotFoundError: It is not here (kind ``missing-object``).
            CorruptObjectError: Its entry, or a pack that may hold it, is damaged.
        """
        return self._find(object_id).entry.kind

    def size(self, object_id: ObjectId) -> int:
        """Return how many bytes an object has, decoded; raises as ``kind``."""
        return self._find(object_id).entry.size

    def stored_size(self, object_id: ObjectId) -> int:
        """Return how many bytes an object's chunks take in its pack; raises as ``kind``."""
        return sum(chunk.stored for chunk in self.chunks(object_id))

    def tensor_type(self, object_id: TensorId) -> tuple[str, tuple[int, ...]]:
        """Return dtype and shape of a tensor; raises as ``kind``."""
        return tensor_type(self._find(object_id))

    def bases(self, object_id: ObjectId) -> set[TensorId]:
        """Return the tensors without which an object cannot be read, not counting their own; raises as ``kind``."""
        return {TensorId.from_digest(chunk.base) for chunk in self.chunks(object_id) if chunk.base is not None}

    def chunks(self, object_id: ObjectId) -> list[ChunkEntry]:
        """Return how the chunks of an object are stored, in order; raises as ``kind``."""
        located = self._find(object_id)
        return [located.chunk(place) for place in range(located.entry.chunk_count)]

    def read(self, object_id: ObjectId) -> bytes:
        """Return an object's payload, verified.

        Raises:
            NotFoundError: It is not here (kind ``missing-object``).
            CorruptObjectError: It cannot be read from any pack; names object, pack and offset.
            FileSystemError: The operating system refused.
        """
        located = self._find(object_id)
        target = bytearray(located.entry.size)
        self._payloads.read_into(located, memoryview(target))
        return bytes(target)

    def read_into(self, object_id: ObjectId, target: memoryview) -> None:
        """Decode an object straight into a buffer, in parallel, and verify it.

        Args:
            object_id: What.
            target: Writable, contiguous, of exactly ``size(object_id)`` bytes.

        Raises:
            NotFoundError, CorruptObjectError, FileSystemError: As ``read``; ``target`` then holds rubbish. The object
                has another size.
        """
        located = self._find(object_id)
        _check_size(located, target.nbytes)
        self._payloads.read_into(located, _flat(target))

    def read_all_into(self, targets: Iterable[tuple[ObjectId, memoryview]]) -> None:
        """Decode many objects straight into buffers, in parallel, and verify them.

        Args:
            targets: Ids, each with a writable, contiguous buffer of exactly its size; taken as they are needed.

        Raises:
            NotFoundError, CorruptObjectError, FileSystemError: As ``read_into``; some buffers then hold rubbish.
        """

        def requests() -> Iterator[tuple[Located, InMemory]]:
            for object_id, target in targets:
                located = self._find(object_id)
                _check_size(located, target.nbytes)
                yield located, InMemory(_flat(target))

        self._payloads.read_all(requests())

    def write_all(self, descriptor: int, places: Iterable[tuple[ObjectId, int, int]]) -> None:
        """Decode many objects, in parallel, straight to places in a file, and verify them.

        Args:
            descriptor: A file open for writing.
            places: Ids, each with the offset where its bytes begin and their number; taken as they are needed.

        Raises:
            NotFoundError, CorruptObjectError, FileSystemError: As ``read_into``; the file then holds rubbish.
            OSError: The file cannot be written.
        """
        buffers = Buffers()

        def requests() -> Iterator[tuple[Located, Elsewhere]]:
            for object_id, offset, size in places:
                located = self._find(object_id)
                _check_size(located, size)
                yield located, Elsewhere(buffers, partial(write_at, descriptor, offset))

        self._payloads.read_all(requests())

    def stream(self, object_id: ObjectId) -> Iterator[memoryview]:
        """Yield an object's payload in parts of at most 4 MiB, each checked, the whole verified at the end.

        Raises:
            NotFoundError, CorruptObjectError, FileSystemError: As ``read``; at the latest after the last part.
        """
        return self._payloads.stream(self._find(object_id))

    @overload
    def read_record(self, object_id: ManifestId) -> Manifest: ...
    @overload
    def read_record(self, object_id: CommitId) -> Commit: ...
    @overload
    def read_record(self, object_id: TagId) -> Tag: ...
    @overload
    def read_record(self, object_id: CertificateId) -> CertificateResult: ...
    def read_record(self, object_id: ObjectId) -> Record:
        """Return a manifest, commit, tag or certificate result; its type follows from the type of the id.

        Raises:
            NotFoundError, CorruptObjectError, FileSystemError: As ``read``.
            InvalidInputError: The id is that of a tensor or blob.
        """
        if self.size(object_id) > MAX_RECORD_BYTES:
            raise CorruptObjectError(f"{object_id.kind} {object_id.short} has {self.size(object_id)} bytes")
        if object_id.kind not in RECORDS:
            raise InvalidInputError(f"a {object_id.kind} is not a record", kind="bad-id")
        return record_type(object_id.kind).decode(self.read(object_id))

    def ids(self, kind: str | None = None) -> Iterator[ObjectId]:
        """Yield the ids of all objects, or of those of one kind; each once, in no order. Damaged packs are left out."""
        seen: set[bytes] = set()
        for pack in self._folder.packs():
            for number in range(pack.object_count):
                digest, found = pack.digest(number), pack.kind(number)
                if digest not in seen and kind in (None, found):
                    seen.add(digest)
                    yield ID_TYPES[found].from_digest(digest)

    def graph(self) -> CommitGraph | None:
        """Return the commit-graph file, mapped; None without a sound one."""
        from mlgit.storage.commit_graph import NAME, CommitGraph  # noqa: PLC0415 - few questions need it

        return CommitGraph.load(self.root / NAME)

    def with_prefix(self, prefix: str, kind: str | None = None) -> list[ObjectId]:
        """Return the ids that start with these hexadecimal digits, sorted; of one kind, if it is given."""
        if len(prefix) > LENGTH or not set(prefix) <= set("0123456789abcdef"):
            return []
        found = self._folder.with_prefix(prefix)
        return [
            ID_TYPES[found[digest]].from_digest(digest) for digest in sorted(found) if kind in (None, found[digest])
        ]

    def problems(self, object_id: ObjectId) -> str | None:
        """Read an object to its end and return what is wrong with it, or None.

        Raises:
            FileSystemError: The operating system refused.
        """
        try:
            for _ in self.stream(object_id):
                pass
        except (CorruptObjectError, NotFoundError) as error:
            return error.message
        return None

    def pack_paths(self) -> list[Path]:
        """Return the pack files, sorted by name."""
        return [self.root / name for name in self._folder.names()]

    def check_packs(self, *, checksums: bool = True) -> Iterator[str]:
        """Check the structure of every pack and yield what is wrong.

        Args:
            checksums: Compare the stored bytes of every chunk with their checksums too.
        """
        for path in self.pack_paths():
            yield from check_pack(path, checksums=checksums)

    def stored_bytes(self) -> int:
        """Return how many bytes all packs take."""
        return sum(path.stat().st_size for path in self.pack_paths() if path.exists())

    def _find(self, object_id: ObjectId) -> Located:
        located = self._folder.find(object_id.digest)
        if located is not None and object_id.kind in ("object", located.entry.kind):
            return located
        what = f"{object_id.kind} {object_id.short}"
        damaged = self._folder.damaged()
        if located is None and damaged:
            raise CorruptObjectError(f"{what} is not in a sound pack; {damaged[0].message}", hint=damaged[0].hint)
        raise NotFoundError(
            f"{what} is not in '{self.root}'",
            kind="missing-object",
            hint="`mlgit fsck` lists what is missing; get it again from a clone that has it",
        )


def _flat(target: memoryview) -> memoryview:
    return target.cast("B") if target.nbytes else target


def _check_size(located: Located, size: int) -> None:
    if size != located.entry.size:
        raise CorruptObjectError(
            f"{located.subject} has {located.entry.size} bytes, but {size} are expected",
            hint="the commit that says so was not made by mlgit: do not use it",
        )
