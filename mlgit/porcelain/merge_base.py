"""``mlgit merge-base``: where lines of development parted."""

from __future__ import annotations

from collections.abc import Sequence

from mlgit.errors import InvalidInputError
from mlgit.history import ancestry as history
from mlgit.objects import CommitId
from mlgit.porcelain.ancestry import ancestry
from mlgit.repository import Repository


def merge_base(repository: Repository, revisions: Sequence[str]) -> list[CommitId]:
    """Return the best common ancestors of the first revision and a merge of the others.

    Args:
        repository: Where.
        revisions: Two or more.

    Returns:
        Newest first; empty when they share no history.

    Raises:
        InvalidInputError: Fewer than two revisions.
        NotFoundError: A revision names nothing.
    """
    if len(revisions) < 2:
        raise InvalidInputError("two revisions are needed", kind="usage", hint="see `mlgit merge-base --help`")
    first, *others = map(repository.resolve, revisions)
    with ancestry(repository) as asked:
        return history.merge_bases(asked.read, first, *others, graph=asked.graph)


def is_ancestor(repository: Repository, old: str, new: str) -> bool:
    """Return whether ``old`` is an ancestor of ``new``, or the same commit.

    Raises:
        NotFoundError: A revision names nothing.
    """
    old_id, new_id = repository.resolve(old), repository.resolve(new)
    with ancestry(repository) as asked:
        return history.is_ancestor(asked.read, old_id, new_id, graph=asked.graph)
