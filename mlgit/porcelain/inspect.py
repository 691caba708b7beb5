"""``mlgit ls-tree`` and ``mlgit cat-file``: look at stored objects."""

from __future__ import annotations

from dataclasses import dataclass

from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.objects import Manifest, ObjectId
from mlgit.repository import Repository

KINDS = ("tensor", "blob", "manifest", "commit", "tag", "certificate")


def ls_tree(repository: Repository, revision: str = "HEAD") -> Manifest:
    """Return the manifest of a commit, or the manifest with this id.

    Raises:
        NotFoundError: ``revision`` names nothing.
    """
    try:
        return repository.manifest_of(repository.resolve(revision))
    except NotFoundError:
        found = repository.objects.with_prefix(revision, "manifest") if len(revision) >= 4 else []
        if len(found) != 1:
            raise
        return Manifest.decode(repository.objects.read(found[0]))


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
    try:
        return repository.resolve(name)
    except NotFoundError:
        found = repository.objects.with_prefix(name) if len(name) >= 4 else []
        if not found:
            raise
        if len(found) > 1:
            shown = ", ".join(f"{repository.objects.kind(item)} {item.short}" for item in found[:5])
            raise InvalidInputError(
                f"'{name}' is the beginning of {len(found)} ids: {shown}", kind="ambiguous-id", hint="give more digits"
            ) from None
        return found[0]
