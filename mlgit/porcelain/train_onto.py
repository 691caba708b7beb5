"""``mlgit train --onto``: fine-tune and commit straight onto a new branch; the working directory is not touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlgit.errors import AlreadyExistsError
from mlgit.executors.job import Job
from mlgit.interrupts import held_back
from mlgit.objects import Commit, CommitId, JsonValue, Manifest
from mlgit.porcelain.actor import ANYONE, Actor, check_text
from mlgit.porcelain.model_layout import place_weights, with_definitions
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime
from mlgit.porcelain.train import Kept, Trained, TrainOptions, trained
from mlgit.progress import Progress
from mlgit.repository import HEADS, Repository, check_branch_name
from mlgit.storage.transaction import Transaction

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
        collected: Commits of the averages that it collected, by name; on branches that ``collected_branch`` names.
    """

    id: CommitId
    commit: Commit
    branch: str
    done: Trained
    collected: Mapping[str, CommitId] = field(default_factory=dict)


def collected_branch(branch: str, average: str) -> str:
    """Return where an average is committed that a run collects: for ``a/b/run-3``, ``a/b/moving/run-3``.

    Args:
        branch: Short name of the branch of the run.
        average: Name of the average.
    """
    above, slash, name = branch.rpartition("/")
    return f"{above}{slash}{average}/{name}"


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
    same time. Averages that the run collects (``TrainOptions.collect``) are committed alike, on branches of their own;
    the branch of the run is made last.

    Args:
        repository: Where.
        task: Name of the task.
        branch: Short name of the branch, which must not exist; nor may those of what is collected, unless this very
            run made them before it was killed.
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
    how = options or TrainOptions()
    check_free(repository, branch)
    _check_collected(repository, branch, how.collect)
    start_id = repository.resolve(start)
    job = {"job": Job(tuple(arguments), start_id).identity, "arguments": list(arguments)} if arguments else {}
    with trained(
        repository,
        task,
        start=start_id,
        options=how,
        runtime=runtime,
        actor=actor,
        progress=progress,
        wait_s=_WAIT_S,
        ready=lambda key: _check_collected(repository, branch, how.collect, key),
    ) as done:
        commit_id, commit, collected = _commit(repository, done, job, branch, text, actor)
    return OntoResult(commit_id, commit, branch, done, collected)


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


def _check_collected(repository: Repository, branch: str, collect: Sequence[str], key: str | None = None) -> None:
    """Refuse a branch for what is collected that is taken, unless a killed run left it there.

    Args:
        repository: Where.
        branch: Of the run.
        collect: Names of averages.
        key: The run's identity; None: not known yet, any run's will do.
    """
    for average in collect:
        name = collected_branch(branch, average)
        if name.startswith(branch + "/"):
            raise AlreadyExistsError(
                f"branch '{branch}' leaves no room for '{name}', where an average is to be collected",
                kind="branch-exists",
                hint="choose another name",
            )
        if not _left_behind(repository, name, average, key):
            check_free(repository, name)


def _left_behind(repository: Repository, name: str, average: str, key: str | None) -> CommitId | None:
    """Return the commit of an average on a branch, if it is of this run."""
    found = repository.branches().get(name)
    made = {} if found is None else repository.commit_of(found).made
    return found if made.get("collected") == average and key in (None, made.get("run")) else None


def _commit(
    repository: Repository, done: Trained, job: Mapping[str, JsonValue], branch: str, message: str, actor: Actor
) -> tuple[CommitId, Commit, dict[str, CommitId]]:
    """Commit all that a run left; the branch of the run itself comes last, so that it stands for all."""
    who, when = actor.who(repository), actor.when()
    more = {**job, "run": done.key}

    def commit(transaction: Transaction, layout: Manifest, kept: Kept, **made: JsonValue) -> Commit:
        return Commit(
            manifest=transaction.put_record(place_weights(repository, transaction, kept.weights, layout)),
            parents=kept.run.parents,
            stage=kept.run.stage,
            task=kept.run.task,
            made={**kept.run.made, **more, **made},
            metrics=kept.run.metrics,
            author=who,
            time=when,
            message=message,
        )

    def move(name: str, commit_id: CommitId, expected: CommitId | None) -> None:
        reason = f"commit: {own.subject}"
        repository.refs.update(HEADS + name, commit_id, expected=expected, who=who, when=when, reason=reason)

    with repository.keeping():
        with repository.transaction() as transaction:
            layout = with_definitions(repository, transaction, done.base)
            collected = {
                name: transaction.put_record(commit(transaction, layout, kept, collected=name))
                for name, kept in done.collected.items()
            }
            own = commit(transaction, layout, done.kept)
            own_id = transaction.put_record(own)
        with held_back():
            for average, commit_id in collected.items():
                name = collected_branch(branch, average)
                move(name, commit_id, _left_behind(repository, name, average, done.key))
            move(branch, own_id, None)
    return own_id, own, collected
