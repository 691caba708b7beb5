"""``mlgit ls-tree`` and ``mlgit cat-file``: look at stored objects."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlgit.errors import InvalidInputError
from mlgit.history.names import possible_full_names
from mlgit.objects import Manifest, ManifestId, ObjectId
from mlgit.repository import Repository

_DIGITS = re.compile(r"[0-9a-fA-F]{4,64}")
KINDS = ("tensor", "blob", "manifest", "commit", "tag", "certificate")


def ls_tree(repository: Repository, revision: str = "HEAD") -> Manifest:
    """Return the manifest of a commit, or the manifest with this id.

    Raises:
        NotFoundError: ``revision`` names nothing.
    """
    found = [item for item in _by_id(repository, revision) if isinstance(item, ManifestId)]
    return repository.manifest(found[0]) if len(found) == 1 else repository.manifest_of(repository.resolve(revision))


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A stored object.

    Attributes:
        id: Its id.
        kind: ``tensor``, ``blob``, ``manifest``, ``commit``, ``tag`` or ``certificate``.
        size_bytes: Length of its content.
        stored_bytes: Bytes it takes in its pack.
        content: The content itself, verified against the id.
    """

    id: ObjectId
    kind: str
    size_bytes: int
    stored_bytes: int
    content: bytes


def cat_file(repository: Repository, name: str) -> StoredObject:
    """Return a stored object.

    Args:
        repository: Where.
        name: A unique prefix of any object's id, or a revision for its commit.

    Raises:
        NotFoundError: No such object.
        InvalidInputError: The prefix is ambiguous.
        CorruptObjectError: The stored bytes do not match the id.
    """
    object_id = _find(repository, name)
    return StoredObject(
        object_id,
        repository.objects.kind(object_id),
        repository.objects.size(object_id),
        repository.objects.stored_size(object_id),
        repository.objects.read(object_id),
    )


def _find(repository: Repository, name: str) -> ObjectId:
    found = _by_id(repository, name)
    if len(found) > 1:
        shown = ", ".join(f"{repository.objects.kind(item)} {item.short}" for item in found[:5])
        raise InvalidInputError(
            f"'{name}' is the beginning of {len(found)} ids: {shown}", kind="ambiguous-id", hint="give more digits"
        )
    return found[0] if found else repository.resolve(name)


def _by_id(repository: Repository, name: str) -> list[ObjectId]:
    """Return the objects whose ids begin with ``name``; none when it is the name of a ref, which goes first."""
    if not _DIGITS.fullmatch(name) or any(map(repository.refs.read, possible_full_names(name))):
        return []
    return repository.objects.with_prefix(name.lower())
