"""``mlgit merge --onto``: average and commit straight onto a new branch; the working directory is not touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlgit.errors import InvalidInputError
from mlgit.interrupts import held_back
from mlgit.objects import Commit, CommitId, JsonValue
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.averaging import Averaged, MergeResult, average, open_candidates
from mlgit.porcelain.merge_plan import MergeOptions, plan
from mlgit.porcelain.model_layout import with_definitions
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime
from mlgit.porcelain.train_onto import check_free
from mlgit.progress import Progress
from mlgit.repository import HEADS, Repository


def merge_onto(
    repository: Repository,
    revisions: Sequence[str],
    branch: str,
    message: str,
    *,
    task: str | None = None,
    options: MergeOptions | None = None,
    start: str | None = None,
    made: Mapping[str, JsonValue] | None = None,
    dry_run: bool = False,
    runtime: Runtime = DEFAULT_RUNTIME,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
) -> MergeResult:
    """Average the named commits as ``merge`` does and commit the result onto a new branch.

    The files are those of the first candidate by id, with ``mlgit.toml`` of the working directory if it is of the same
    model. HEAD plays no part: there is no parent with role ``base`` unless ``start`` names one. Any number of processes
    may do this in one repository at the same time.

    Args:
        repository: Where.
        revisions: Revisions and globs of branches; at least one commit, each counts once.
        branch: Short name of the branch, which must not exist.
        message: Why.
        task: The task whose ID validation split selects and judges; None: no data are looked at.
        options: How.
        start: The commit that the new branch goes on from, as parent with role ``base``; it takes no part in the
            average unless it is named. None: the branch begins with the merge.
        made: More facts for the record; names of the record's own are refused.
        dry_run: Check names, shapes and options only; nothing is read or written.
        runtime: Device and trust.
        actor: Who and when.
        progress: Is told of pairs.

    Raises:
        AlreadyExistsError: The branch exists, or its name is in the way of another; nothing was measured.
        ConflictError: It came to exist meanwhile.
        CheckFailedError, InvalidInputError, IncompatibleWeightsError, NotFoundError: As ``merge``.
    """
    check_free(repository, branch)
    base = None if start is None else repository.resolve(start)
    wanted = plan(repository, revisions, message, task, options)
    if dry_run:
        open_candidates(repository, wanted, headers_only=True)
        return MergeResult(None, None, {}, (), "unchecked", ())
    averaged = average(repository, wanted, runtime=runtime, actor=actor, progress=progress)
    averaged = replace(averaged, made=_with_facts(averaged.made, made or {}))
    return averaged.result(repository, *_write(repository, averaged, branch, base, actor))


def _with_facts(record: Mapping[str, JsonValue], more: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    taken = sorted(record.keys() & more.keys())
    if taken:
        raise InvalidInputError(
            f"the record of a merge has '{taken[0]}' of its own", kind="bad-parameter", hint="choose another name"
        )
    return {**record, **more}


def _write(
    repository: Repository, averaged: Averaged, branch: str, base: CommitId | None, actor: Actor
) -> tuple[CommitId, Commit]:
    """Store the merge and give it the branch, in this order."""
    with repository.keeping():
        with repository.objects.sharing_bases(), repository.transaction() as transaction:
            layout = with_definitions(repository, transaction, averaged.pool.manifests[0])
            commit_id, commit = averaged.commit(repository, transaction, layout, base, actor)
        who, when, reason = commit.author, commit.time, f"merge: {commit.subject}"
        with held_back():
            repository.refs.update(HEADS + branch, commit_id, expected=None, who=who, when=when, reason=reason)
    return commit_id, commit
