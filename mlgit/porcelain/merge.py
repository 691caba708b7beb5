"""``mlgit merge``: average models after checking that the paths between them hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from mlgit.errors import ConflictError
from mlgit.objects import Commit, CommitId, Manifest
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.averaging import Averaged, MergeResult, average, open_candidates
from mlgit.porcelain.merge_plan import MergeOptions, criterion, plan
from mlgit.porcelain.model_layout import check_weights_committed, head_layout
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime
from mlgit.porcelain.pool import Pool
from mlgit.porcelain.status import status
from mlgit.porcelain.switch import replace_working_files
from mlgit.progress import Progress
from mlgit.repository import Repository

__all__ = ["MergeOptions", "MergeResult", "criterion", "merge"]


def merge(
    repository: Repository,
    revisions: Sequence[str],
    message: str,
    *,
    task: str | None = None,
    options: MergeOptions | None = None,
    dry_run: bool = False,
    runtime: Runtime = DEFAULT_RUNTIME,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
) -> MergeResult:
    """Average the named commits and advance the current branch to the result.

    Everything that can be checked without reading a tensor is checked first. HEAD becomes the first parent with role
    ``base`` and takes no part in the average unless it is named.

    Args:
        repository: Where.
        revisions: Revisions and globs of branches; at least one commit, each counts once.
        message: Why.
        task: The task whose ID validation split selects and judges; None: no data are looked at.
        options: How.
        dry_run: Check names, shapes and options only; nothing is read or written.
        runtime: Device and trust.
        actor: Who and when.
        progress: Is told of pairs.

    Raises:
        CheckFailedError: A path between two members is violated; nothing was written.
        InvalidInputError: Unknown parameters, or a strategy that needs a task.
        IncompatibleWeightsError: Models that do not fit together.
        NotFoundError: No such revision, strategy or task.
        ConflictError: Uncommitted changes are in the way, or the branch moved.
    """
    wanted = plan(repository, revisions, message, task, options)
    if dry_run:
        open_candidates(repository, wanted, headers_only=True)
        return MergeResult(None, None, {}, (), "unchecked", ())
    _check_clean(repository, repository.manifest_of(wanted.ids[0]))
    averaged = average(repository, wanted, runtime=runtime, actor=actor, progress=progress)
    return averaged.result(repository, *_write(repository, averaged, actor, progress))


def _write(
    repository: Repository, averaged: Averaged, actor: Actor, progress: Progress | None
) -> tuple[CommitId, Commit]:
    """Store the merge, bring it into the working directory and advance the branch, in this order."""
    with repository.lock():
        head = repository.head
        layout = _layout(repository, averaged.pool, averaged.weights)
        with repository.objects.sharing_bases(), repository.transaction() as transaction:
            commit_id, commit = averaged.commit(repository, transaction, layout, head, actor)

        def advance() -> None:
            repository.advance(
                commit_id, expected=head, who=commit.author, when=commit.time, reason=f"merge: {commit.subject}"
            )

        replace_working_files(repository, commit_id, then=advance, progress=progress)
    return commit_id, commit


def _layout(repository: Repository, pool: Pool, weights: Mapping[str, torch.Tensor]) -> Manifest:
    """Return the files to put the merged weights into: HEAD's, unless it holds another model."""
    first = pool.manifests[0]
    current = head_layout(repository, first)
    return current if _same_model(current, first) and set(current.tensors) == set(weights) else first


def _same_model(a: Manifest, b: Manifest) -> bool:
    return (a.factory, a.head) == (b.factory, b.head) and a.tensors.keys() == b.tensors.keys()


def _check_clean(repository: Repository, first: Manifest) -> None:
    """Refuse before anything is measured what could not be checked out at the end."""
    check_weights_committed(repository)
    changes = status(repository).changes
    if changes and not _same_model(head_layout(repository, first), first):
        raise ConflictError(
            f"the merge is of another model than HEAD and would replace '{changes[0].path}', which is not committed",
            kind="uncommitted-changes",
            hint="commit with `mlgit commit`, or give the changes up with `mlgit restore .`",
        )
