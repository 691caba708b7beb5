"""Turn the working files into a manifest: into the object database for a commit, or only into ids for a status."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from mlgit.errors import ConflictError, CorruptObjectError, InvalidInputError
from mlgit.fileio import file_system_error, read_at
from mlgit.objects import BlobFile, BlobId, Manifest, TensorEntry, TensorFile, TensorId, blob_id
from mlgit.objects.ids import Buffer
from mlgit.progress import NoProgress, Progress
from mlgit.repository import Repository
from mlgit.storage.incoming import Fill, TensorSource, hashed
from mlgit.weights.header import Header, HeaderEntry, parse_header, read_header
from mlgit.worktree.index import Index, read_index
from mlgit.worktree.model_file import MODEL_FILE, read_model_file
from mlgit.worktree.scan import TENSOR_SUFFIX, Skipped, Stat, scan


class Sink(Protocol):
    """Where contents go; a storage transaction is one."""

    def put_tensors(self, sources: Iterable[TensorSource]) -> list[TensorId]:
        """Take tensors and return their ids."""

    def put_blob(self, parts: Iterable[Buffer]) -> BlobId:
        """Take a blob and return its id."""


class Hashing:
    """The sink that keeps nothing."""

    def put_tensors(self, sources: Iterable[TensorSource]) -> list[TensorId]:
        """Return the ids of the tensors."""
        return [hashed(source) for source in sources]

    def put_blob(self, parts: Iterable[Buffer]) -> BlobId:
        """Return the blob's id."""
        return blob_id(parts)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The working files as a manifest.

    Attributes:
        manifest: What they are.
        names: Path of each safetensors file -> names of its tensors, in the order of their bytes.
        files: Relative path -> state at the time of reading.
        skipped: What stays out, and why.
    """

    manifest: Manifest
    names: dict[str, list[str]]
    files: dict[str, Stat]
    skipped: tuple[Skipped, ...]


def snapshot(
    repository: Repository, sink: Sink, *, base: Manifest | None = None, progress: Progress | None = None
) -> Snapshot:
    """Read the working files that changed and describe them all.

    Args:
        repository: Whose files.
        sink: Where contents go.
        base: The state before; its tensors of the same name, dtype and shape are bases for differences.
        progress: Is told of bytes.

    Raises:
        InvalidInputError: A file that is not what its name says, or the same tensor name with two contents.
        ConflictError: A file changed while it was read.
        FileSystemError: A file cannot be read.
    """
    found = scan(repository.root)
    index = read_index(repository)
    known = _Known(repository, index)
    reader = _Reader(repository.root, sink, base)
    with (progress or NoProgress()).task("reading", sum(state.size_bytes for state in found.files.values())) as bar:
        for path, state in found.files.items():
            if not known.take(path, state, reader):
                reader.read(path, state)
            bar.advance(state.size_bytes, path)
    model = read_model_file(repository.root / MODEL_FILE)
    manifest = Manifest(reader.tensors, tuple(reader.files), factory=model.factory, head=model.head)
    return Snapshot(manifest, reader.names, found.files, found.skipped)


class _Reader:
    """Collects the entries of the files it is given."""

    def __init__(self, root: Path, sink: Sink, base: Manifest | None) -> None:
        self.root = root
        self.sink = sink
        self.base = base
        self.tensors: dict[str, TensorEntry] = {}
        self.files: list[TensorFile | BlobFile] = []
        self.names: dict[str, list[str]] = {}
        self._origin: dict[str, str] = {}

    def read(self, path: str, state: Stat) -> None:
        """Read one file and pass its content on."""
        place = self.root / path
        try:
            if path.endswith(TENSOR_SUFFIX):
                self._read_tensors(path, place)
            else:
                with opened(place) as data:
                    self.files.append(BlobFile(path, self.sink.put_blob([data]), data.nbytes))
        except (InvalidInputError, CorruptObjectError) as error:
            _check_unchanged(place, path, state, error)
            raise
        _check_unchanged(place, path, state, None)

    def _read_tensors(self, path: str, place: Path) -> None:
        header = read_header(place)
        with reading(place) as descriptor:
            fill = partial(read_at, descriptor, header.data_offset)
            ids = self.sink.put_tensors(self._source(entry, fill) for entry in header.entries)
        for entry, tensor_id in zip(header.entries, ids, strict=True):
            self.add(path, entry.name, TensorEntry(tensor_id, entry.dtype, entry.shape))
        self.files.append(TensorFile(path, self.sink.put_blob([header.raw])))

    def _source(self, entry: HeaderEntry, fill: Fill) -> TensorSource:
        base = self._base(entry.name, entry.dtype, entry.shape)
        return TensorSource(entry.dtype, entry.shape, fill, entry.start, base)

    def add(self, path: str, name: str, entry: TensorEntry) -> None:
        """Take one tensor of a file."""
        self.names.setdefault(path, []).append(name)
        if self.tensors.setdefault(name, entry) != entry:
            raise InvalidInputError(
                f"tensor '{name}' stands in '{self._origin[name]}' and in '{path}' with different contents",
                kind="tensor-twice",
                hint="rename one, or write one of the files into .mlgitignore",
            )
        self._origin.setdefault(name, path)

    def _base(self, name: str, dtype: str, shape: tuple[int, ...]) -> TensorId | None:
        entry = None if self.base is None else self.base.tensors.get(name)
        return entry.id if entry is not None and (entry.dtype, entry.shape) == (dtype, shape) else None


def _check_unchanged(place: Path, path: str, state: Stat, cause: Exception | None) -> None:
    """Refuse a file that is not as it was, whatever reading it led to."""
    with suppress(FileNotFoundError):
        if Stat.of(place) == state:
            return
    raise ConflictError(
        f"'{path}' changed while it was read", kind="file-changed", hint="wait for its writer, then run it again"
    ) from cause


class _Known:
    """What the index tells without reading."""

    def __init__(self, repository: Repository, index: Index) -> None:
        self.repository = repository
        self.index = index
        usable = index.manifest is not None and index.manifest in repository.objects
        self.manifest = repository.manifest(index.manifest) if usable and index.manifest else None
        self.files = {} if self.manifest is None else {file.path: file for file in self.manifest.files}

    def take(self, path: str, state: Stat, reader: _Reader) -> bool:
        """Hand a file that did not change to ``reader`` and return True; return False when it must be read."""
        file = self.files.get(path)
        if self.manifest is None or file is None or not self.index.unchanged(path, state):
            return False
        if isinstance(file, TensorFile):
            for name in tensor_names(self.repository, self.manifest, file):
                reader.add(path, name, self.manifest.tensors[name])
        reader.files.append(file)
        return True


def stored_header(repository: Repository, manifest: Manifest, file: TensorFile) -> Header:
    """Return the header of a committed safetensors file.

    Raises:
        CorruptObjectError: It names a tensor that the manifest does not have in this form.
    """
    header = parse_header(repository.objects.read(file.header), f"the committed header of '{file.path}'")
    for entry in header.entries:
        known = manifest.tensors.get(entry.name)
        if known is None or (known.dtype, known.shape) != (entry.dtype, entry.shape):
            raise CorruptObjectError(
                f"manifest {manifest.id.short} does not have tensor '{entry.name}' as the header of '{file.path}' says",
                hint="the commit was not made by mlgit: do not use it",
            )
    return header


def tensor_names(repository: Repository, manifest: Manifest, file: TensorFile) -> list[str]:
    """Return the names of the tensors in a committed safetensors file, in the order of their bytes."""
    return [entry.name for entry in stored_header(repository, manifest, file).entries]


@contextmanager
def reading(path: Path) -> Iterator[int]:
    """Open a file and yield its descriptor.

    Raises:
        FileSystemError: It cannot be opened, or the block met an OSError.
    """
    try:
        with path.open("rb", buffering=0) as stream:
            yield stream.fileno()
    except OSError as error:
        raise file_system_error(error, "read", path) from error


@contextmanager
def opened(path: Path) -> Iterator[memoryview]:
    """Map a file into memory for reading; an empty one gives an empty view.

    Raises:
        FileSystemError: It cannot be opened.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise file_system_error(error, "read", path) from error
    with stream:
        if path.stat().st_size == 0:
            yield memoryview(b"")
            return
        # Not closed here: slices of the view may live on in other threads; the mapping goes with the last of them.
        yield memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
