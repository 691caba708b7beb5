"""Compare the working files with a manifest, file by file and tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mlgit.objects import Manifest, TensorFile, TensorId
from mlgit.repository import Repository
from mlgit.worktree.snapshot import Snapshot, tensor_names


class Change(StrEnum):
    """What happened to a file."""

    ADDED = "added"
    DELETED = "deleted"
    MODIFIED = "modified"


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file that differs.

    Attributes:
        path: Relative to the model directory.
        change: What happened.
        tensors: How many tensors of the file differ; None for other files.
        of: How many tensors the file has; None for other files.
    """

    path: str
    change: Change
    tensors: int | None = None
    of: int | None = None


FileContent = tuple[str, tuple[tuple[str, TensorId], ...]]
"""Id of the blob or header, then the tensors by name; equal contents are equal."""


def committed_contents(repository: Repository, manifest: Manifest) -> dict[str, FileContent]:
    """Return what each file of a committed manifest holds, by path."""
    names = {
        file.path: tensor_names(repository, manifest, file) for file in manifest.files if isinstance(file, TensorFile)
    }
    return _contents(manifest, names)


def working_contents(current: Snapshot) -> dict[str, FileContent]:
    """Return what each working file holds, by path."""
    return _contents(current.manifest, current.names)


def _contents(manifest: Manifest, names: Mapping[str, Sequence[str]]) -> dict[str, FileContent]:
    return {
        file.path: (file.header, tuple((name, manifest.tensors[name].id) for name in names.get(file.path, ())))
        if isinstance(file, TensorFile)
        else (file.id, ())
        for file in manifest.files
    }


def working_changes(repository: Repository, committed: Manifest | None, current: Snapshot) -> list[FileChange]:
    """Return how the working files differ from a committed state, None for the empty one."""
    before = Manifest({}) if committed is None else committed
    if (before.files, before.tensors) == (current.manifest.files, current.manifest.tensors):
        return []
    return file_changes(committed_contents(repository, before), working_contents(current))


def file_changes(old: Mapping[str, FileContent], new: Mapping[str, FileContent]) -> list[FileChange]:
    """Return the files that differ between two states, sorted by path."""
    changes = []
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path), new.get(path)
        if before == after:
            continue
        change = Change.ADDED if before is None else Change.DELETED if after is None else Change.MODIFIED
        tensors = dict((after or before or ("", ()))[1])
        others = dict(before[1]) if before and after else {}
        differing = sum(others.get(name) != found for name, found in tensors.items())
        changes.append(FileChange(path, change, differing, len(tensors)) if tensors else FileChange(path, change))
    return changes
