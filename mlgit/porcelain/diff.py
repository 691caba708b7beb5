"""``mlgit diff``: what changed between two states, file by file and tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlgit.errors import ConflictError
from mlgit.objects import Manifest, ObjectId, TensorFile, TensorId
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.weights.difference import TensorDifference, compare
from mlgit.weights.header import read_header
from mlgit.worktree.snapshot import Hashing, opened, snapshot
from mlgit.worktree.status import FileChange, committed_contents, file_changes, working_contents

PART_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class DiffResult:
    """How two states differ.

    Attributes:
        old: What the first side is called.
        new: What the second side is called.
        files: Files that differ.
        tensors: Tensors that differ, with how far; sorted by name.
        unchanged: How many tensors are the same on both sides.
    """

    old: str
    new: str
    files: tuple[FileChange, ...]
    tensors: tuple[TensorDifference, ...]
    unchanged: int


def diff(
    repository: Repository, old: str = "HEAD", new: str | None = None, *, progress: Progress | None = None
) -> DiffResult:
    """Compare two commits, or a commit with the working files.

    Args:
        repository: Where.
        old: Revision of the first side.
        new: Revision of the second side; None for the working files.
        progress: Is told of bytes.

    Returns:
        The differences; relative L2 change, cosine, share of changed values and largest change per tensor.

    Raises:
        NotFoundError: A revision names nothing.
        CorruptObjectError: A stored tensor is damaged.
    """
    before = repository.manifest_of(repository.resolve(old))
    old_contents = committed_contents(repository, before)
    if new is not None:
        after = repository.manifest_of(repository.resolve(new))
        files = file_changes(old_contents, committed_contents(repository, after))
        found = tuple(compare(repository.objects, before, after))
        return DiffResult(old, new, tuple(files), found, _same(before, after))
    current = snapshot(repository, Hashing(), progress=progress)
    files = file_changes(old_contents, working_contents(current))
    found = tuple(compare(_Overlay(repository, current.manifest), before, current.manifest))
    return DiffResult(old, "working files", tuple(files), found, _same(before, current.manifest))


def _same(a: Manifest, b: Manifest) -> int:
    return sum(b.tensors.get(name) == entry for name, entry in a.tensors.items())


class _Overlay:
    """The stored objects, and the tensors of the working files as if they were stored."""

    def __init__(self, repository: Repository, manifest: Manifest) -> None:
        self._objects = repository.objects
        self._places: dict[ObjectId, tuple[Path, int, int]] = {}
        for file in manifest.files:
            if isinstance(file, TensorFile):
                path = repository.root / file.path
                header = read_header(path)
                for entry in header.entries:
                    place = (path, header.data_offset + entry.start, header.data_offset + entry.end)
                    self._places[manifest.tensors[entry.name].id] = place

    def stream(self, object_id: TensorId) -> Iterator[bytes | memoryview]:
        """Yield a tensor's bytes in parts."""
        if object_id in self._objects:
            yield from self._objects.stream(object_id)
            return
        path, start, end = self._places[object_id]
        with opened(path) as data:
            if data.nbytes < end:
                raise ConflictError(f"'{path}' changed while it was read", kind="file-changed")
            for offset in range(start, end, PART_BYTES):
                yield bytes(data[offset : min(offset + PART_BYTES, end)])
