"""``mlgit log``: the history, newest first, with what each commit is, scored and passed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlgit.errors import InvalidInputError
from mlgit.history.ancestry import Order, walk
from mlgit.history.names import names_by_commit
from mlgit.objects import CertificateId, Commit, CommitId
from mlgit.repository import CERTIFICATES, Repository

if TYPE_CHECKING:  # most commits have no certificate
    from mlgit.objects import CertificateResult


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A commit and what is known of it.

    Attributes:
        id: Its id.
        commit: It.
        names: Branches and tags on it, as shown: ``HEAD -> main``, ``tag: v1``.
        certificates: Results stored for it, newest first.
    """

    id: CommitId
    commit: Commit
    names: tuple[str, ...] = ()
    certificates: tuple[CertificateResult, ...] = field(default=())

    @property
    def headline(self) -> tuple[str, float] | None:
        """The metric to show beside the commit, if it has any: ``id_accuracy`` before the others."""
        metrics = self.commit.metrics
        if not metrics:
            return None
        name = "id_accuracy" if "id_accuracy" in metrics else min(metrics)
        return name, metrics[name]


@dataclass(frozen=True, slots=True)
class LogResult:
    """A stretch of history.

    Attributes:
        entries: Newest first; with ``topological``, children before parents always.
    """

    entries: tuple[LogEntry, ...]


def log(
    repository: Repository,
    revisions: Sequence[str] = ("HEAD",),
    *,
    limit: int | None = None,
    everything: bool = False,
    topological: bool = False,
) -> LogResult:
    """Return commits reachable from ``revisions``.

    Args:
        repository: Where.
        revisions: Revisions or globs of branches.
        limit: At most this many commits; None for all.
        everything: Start at every branch and tag as well.
        topological: Never show a parent before its child, as the graph needs.

    Raises:
        NotFoundError: A revision names nothing, or there is no commit yet.
        InvalidInputError: A negative limit.
    """
    if limit is not None and limit < 0:
        raise InvalidInputError(f"{limit} commits cannot be shown", hint="give `-n` a number from 0 up")
    starts = list(repository.resolve_many(revisions)) if not everything or repository.head else []
    names = names_by_commit(repository.refs, repository.objects)
    if everything:
        starts += [commit_id for commit_id in names if commit_id not in starts]
    order = Order.TOPO if topological else Order.TIME
    found = walk(repository.commit_of, starts, order=order, limit=limit)
    certified = {name.removeprefix(CERTIFICATES).partition("/")[0] for name in repository.refs.names(CERTIFICATES)}
    return LogResult(
        tuple(
            LogEntry(
                commit_id,
                commit,
                tuple(names.get(commit_id, ())),
                certificates_of(repository, commit_id) if commit_id in certified else (),
            )
            for commit_id, commit in found
        )
    )


def certificates_of(repository: Repository, commit_id: CommitId) -> tuple[CertificateResult, ...]:
    """Return the certificate results stored for a commit, newest first."""
    found = [
        repository.objects.read_record(value)
        for value in repository.named(f"{CERTIFICATES}{commit_id}/").values()
        if isinstance(value, CertificateId)
    ]
    return tuple(sorted(found, key=lambda result: result.time, reverse=True))
