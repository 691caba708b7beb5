"""``mlgit train --onto``: fine-tune and commit straight onto a new branch; the working directory is not touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mlgit.errors import AlreadyExistsError
from mlgit.executors.job import Job
from mlgit.interrupts import held_back
from mlgit.objects import BlobFile, Commit, CommitId, Manifest
from mlgit.porcelain.actor import ANYONE, Actor, check_text
from mlgit.porcelain.model_layout import place_weights
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime
from mlgit.porcelain.train import Trained, TrainOptions, trained
from mlgit.progress import Progress
from mlgit.repository import HEADS, Repository, check_branch_name
from mlgit.storage.transaction import Transaction
from mlgit.worktree.model_file import MODEL_FILE, read_model_file

_WAIT_S = 60.0
"""How long to wait for the same run of a process that is about to end: the sweep it belonged to was killed."""


@dataclass(frozen=True, slots=True)
class OntoResult:
    """A run on a branch of its own.

    Attributes:
        id: Its commit.
        commit: It.
        branch: Short name of the new branch.
        done: The run.
    """

    id: CommitId
    commit: Commit
    branch: str
    done: Trained


def train_onto(
    repository: Repository,
    task: str,
    branch: str,
    message: str | None = None,
    *,
    start: str = "HEAD",
    options: TrainOptions | None = None,
    arguments: Sequence[str] = (),
    runtime: Runtime = DEFAULT_RUNTIME,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
) -> OntoResult:
    """Fine-tune the weights of ``start`` on a task and commit the result onto a new branch.

    The commit is that of a branch begun at ``start``, of ``train`` and of ``commit`` there: the same files,
    ``mlgit.toml`` of the working directory among them. Any number of processes may do this in one repository at the
    same time.

    Args:
        repository: Where.
        task: Name of the task.
        branch: Short name of the branch, which must not exist.
        message: Why; by default ``fine-tune on TASK``.
        start: Revision to start from.
        options: How.
        arguments: The command that asked for this, if one did; recorded, with the identity of the job that it is.
        runtime: Device and trust.
        actor: Who and when.
        progress: Is told of steps.

    Raises:
        AlreadyExistsError: The branch exists, or its name is in the way of another; nothing was trained.
        ConflictError: It came to exist meanwhile.
        InvalidInputError, NotFoundError, JobFailedError: As ``train``.
    """
    text = message or f"fine-tune on {task}"
    check_text(text, "the message")
    check_free(repository, branch)
    start_id = repository.resolve(start)
    job = {"job": Job(tuple(arguments), start_id).identity, "arguments": list(arguments)} if arguments else {}
    with trained(
        repository,
        task,
        start=start_id,
        options=options,
        runtime=runtime,
        actor=actor,
        progress=progress,
        wait_s=_WAIT_S,
    ) as done:
        run = replace(done.run, made={**done.run.made, **job, "run": done.key})
        commit_id, commit = _commit(repository, replace(done, run=run), branch, text, actor)
    return OntoResult(commit_id, commit, branch, done)


def check_free(repository: Repository, branch: str) -> None:
    """Refuse the name of a branch that exists, or that another one leaves no room for.

    Raises:
        AlreadyExistsError: It is taken, or ``a/b`` where ``a`` is, or ``a`` where ``a/b`` is.
        InvalidInputError: Not a name for a branch.
    """
    check_branch_name(branch)
    for other in repository.branches():
        if other == branch or other.startswith(branch + "/") or branch.startswith(other + "/"):
            raise AlreadyExistsError(
                f"a branch '{other}' exists" + ("" if other == branch else f", which leaves no room for '{branch}'"),
                kind="branch-exists",
                hint="choose another name",
            )


def _commit(repository: Repository, done: Trained, branch: str, message: str, actor: Actor) -> tuple[CommitId, Commit]:
    who, when = actor.who(repository), actor.when()
    with repository.keeping():
        with repository.transaction() as transaction:
            layout = _with_definitions(repository, transaction, done.base)
            manifest = place_weights(repository, transaction, done.weights, layout)
            commit = Commit(
                manifest=transaction.put_record(manifest),
                parents=done.run.parents,
                stage=done.run.stage,
                task=done.run.task,
                made=done.run.made,
                metrics=done.run.metrics,
                author=who,
                time=when,
                message=message,
            )
            commit_id = transaction.put_record(commit)
        reason = f"commit: {commit.subject}"
        with held_back():
            repository.refs.update(HEADS + branch, commit_id, expected=None, who=who, when=when, reason=reason)
    return commit_id, commit


def _with_definitions(repository: Repository, transaction: Transaction, base: Manifest) -> Manifest:
    """Return the state with the working directory's ``mlgit.toml``, which defines the task, if it is of this model."""
    path = repository.root / MODEL_FILE
    model = read_model_file(path)
    if (model.factory, model.head) != (base.factory, base.head) or not path.is_file():
        return base
    data = path.read_bytes()
    blob = BlobFile(MODEL_FILE, transaction.put_blob([data]), len(data))
    return replace(base, files=(*(file for file in base.files if file.path != MODEL_FILE), blob))
