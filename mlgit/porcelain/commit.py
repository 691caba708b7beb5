"""``mlgit commit``: record the working files, and the run that made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlgit.errors import CheckFailedError, InvalidInputError
from mlgit.interrupts import held_back
from mlgit.objects import Commit, CommitId, JsonValue, Manifest, Parent, Role, Stage
from mlgit.objects.many import making_many
from mlgit.porcelain.actor import ANYONE, Actor, check_text
from mlgit.porcelain.pending_run import PendingRun, drop_run, load_run
from mlgit.porcelain.task_names import recorded_name
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.storage.effort import Effort
from mlgit.worktree.index import write_index
from mlgit.worktree.scan import Skipped
from mlgit.worktree.snapshot import snapshot
from mlgit.worktree.status import FileChange, working_changes

__all__ = ["CommitResult", "Effort", "commit"]


@dataclass(frozen=True, slots=True)
class CommitResult:
    """A new commit.

    Attributes:
        id: Its id.
        commit: It.
        branch: Full name of the branch it is on, or None when HEAD is detached.
        changes: Files that differ from the state before.
        skipped: Files that stayed out, and why.
    """

    id: CommitId
    commit: Commit
    branch: str | None
    changes: tuple[FileChange, ...]
    skipped: tuple[Skipped, ...]


def commit(
    repository: Repository,
    message: str,
    *,
    task: str | None = None,
    stage: Stage | None = None,
    made: Mapping[str, JsonValue] | None = None,
    allow_empty: bool = False,
    effort: Effort | None = None,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
) -> CommitResult:
    """Record the working files on the current branch.

    A run that was trained and not committed yet is recorded with it when the files hold the weights it left.

    Args:
        repository: Where.
        message: Why; the first line is the subject.
        task: Demand that the commit records a run on this task.
        stage: Place in the lineage; by default what the run says, ``pretrain`` for the first commit of a history,
            ``snapshot`` otherwise.
        made: How the files were made, when no run says so.
        allow_empty: Record a commit whose files are those of the one before.
        effort: Favour speed or size; None: as the settings say.
        actor: Who and when.
        progress: Is told of bytes.

    Raises:
        CheckFailedError: Nothing changed.
        InvalidInputError: No message, no files, a file that cannot be read as what it is, or no run on ``task``.
        ConflictError: The branch moved, or another command works here.
        FileSystemError: The operating system refused; the history is as it was.
    """
    if not message.strip():
        raise InvalidInputError("a commit needs a message", kind="no-message", hint='give one with `-m "…"`')
    check_text(message, "the message")
    with repository.lock(), making_many():
        head = repository.refs.head()
        before = None if head.commit is None else repository.manifest_of(head.commit)
        with repository.transaction(effort) as transaction:
            current = snapshot(repository, transaction, base=before, progress=progress)
            changes = working_changes(repository, before, current)
            run = _run(repository, task, current.manifest)
            if not current.manifest.files:
                raise InvalidInputError(
                    "there is nothing to commit: no file is tracked here",
                    kind="nothing-to-commit",
                    hint="put a `.safetensors` file here, or run `mlgit import SOURCE`",
                )
            if not changes and run is None and not allow_empty:
                raise CheckFailedError(
                    "nothing to commit: the working files are those of HEAD", kind="nothing-to-commit"
                )
            record = Commit(
                manifest=transaction.put_record(current.manifest),
                parents=parents_on(head.commit, run.parents if run else ()),
                stage=stage or (run.stage if run else Stage.SNAPSHOT if head.commit else Stage.PRETRAIN),
                task=run.task if run else None,
                made=run.made if run else made or {},
                metrics=run.metrics if run else {},
                author=actor.who(repository),
                time=actor.when(),
                message=message,
            )
            new = transaction.put_record(record)
        with held_back():
            repository.advance(
                new, expected=head.commit, who=record.author, when=record.time, reason=f"commit: {record.subject}"
            )
            drop_run(repository)
            write_index(repository, record.manifest, current.files)
    return CommitResult(new, record, head.branch, tuple(changes), current.skipped)


def _run(repository: Repository, task: str | None, manifest: Manifest) -> PendingRun | None:
    """Return the run to record, or None."""
    run = load_run(repository)
    if run is not None and not run.left(manifest):
        run = None
    if task is not None and (run is None or run.task is None or run.task.name != recorded_name(repository, task)):
        raise InvalidInputError(
            f"no run on task '{task}' waits for a commit with these weights",
            kind="no-run",
            hint=f"train first with `mlgit train --task {task}`, or commit without `--task`",
        )
    return run


def parents_on(head: CommitId | None, sources: tuple[Parent, ...]) -> tuple[Parent, ...]:
    """Return the parents of a commit; the first one is the branch's state before.

    Args:
        head: Where the branch is; None before its first commit.
        sources: Where the weights came from, when a run made them.
    """
    if head is None or (sources and sources[0].id == head):
        return sources
    if not sources:
        return (Parent(head, Role.INIT),)
    return (Parent(head, Role.BASE), *sources)
