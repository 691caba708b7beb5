"""``mlgit sweep``: many runs on a task, one commit each, resumable at any point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace

from mlgit.errors import ConflictError, NotFoundError
from mlgit.objects import CommitId
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime, open_named_task
from mlgit.porcelain.run_board import Board, Place, RunState, make_probes, raise_failed
from mlgit.porcelain.sweep_plan import PlannedRun, SweepOptions, plan, sort_starts, training_arguments
from mlgit.porcelain.sweep_state import SweepState, read_state, sweep_folder, sweeping, write_state
from mlgit.porcelain.train import TrainOptions
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.tasks.task import Task

__all__ = ["Place", "PlannedRun", "RunState", "SweepOptions", "SweepResult", "TrainOptions", "sweep"]


@dataclass(frozen=True, slots=True)
class SweepResult:
    """A sweep, executed or planned.

    Attributes:
        task: Name of its task.
        name: Its own.
        runs: By number.
        moved: Revisions that lead elsewhere now than when the sweep began; it goes on with what they were.
    """

    task: str
    name: str
    runs: tuple[RunState, ...]
    moved: bool = False

    @property
    def failed(self) -> tuple[RunState, ...]:
        """The runs that failed at every attempt."""
        return tuple(each for each in self.runs if each.state == "failed")

    def raise_failed(self) -> None:
        """Raise when a run failed.

        Raises:
            JobFailedError: One did; its log is named.
        """
        raise_failed(self.runs)


def sweep(
    repository: Repository,
    task: str,
    revisions: Sequence[str],
    options: SweepOptions,
    *,
    place: Place | None = None,
    dry_run: bool = False,
    runtime: Runtime = DEFAULT_RUNTIME,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
    tell: Callable[[RunState], None] | None = None,
) -> SweepResult:
    """Make the runs of a sweep that are not made yet, each a commit on a branch of its own.

    The linear probe that they share is trained first. Whenever this ends, the same call goes on: finished runs are
    kept, unfinished ones resume from their last save. More ``runs`` add to a sweep and change none.

    Args:
        repository: Where; working files and HEAD are not touched.
        task: Name of the task.
        revisions: Where runs start, globs of branches allowed. The pretrained commit among them and each auxiliary task
            take turns.
        options: How many runs, and how.
        place: Where they are computed.
        dry_run: Only plan.
        runtime: Device and trust.
        actor: For a new linear probe's commit.
        progress: Is told of the probe's steps.
        tell: Is told of each run that changes its state.

    Returns:
        All runs; those that failed at every attempt are among them.

    Raises:
        InvalidInputError: Options that cannot be used, or a revision that was trained on the task itself.
        NotFoundError: No such revision, task, executor or space of hyper-parameters.
        AlreadyExistsError: The name of a branch is taken.
        ConflictError: The sweep was begun with other options, or is in progress.
        JobFailedError: The linear probe failed.
    """
    where = place or Place()
    opened = open_named_task(repository, task, runtime, progress)
    folder = sweep_folder(repository, opened.name, options.name)
    executor = where.open(repository, folder)
    state, moved = _state(repository, opened, revisions, options, runtime, read_state(folder))
    starts = sort_starts(repository, opened, state.starts, options.training.on(opened))
    runs = plan(opened, starts, options, runtime=runtime, resources=where.resources())
    if dry_run:
        return _result(repository, opened, options, runs, moved=moved)
    with sweeping(folder):
        board = Board(repository, runs, tell)
        board.check_branches()
        write_state(folder, state)
        make_probes(repository, opened, board.waiting(), options.training, runtime, actor, progress)
        board.execute(executor, retries=where.retries)
    return SweepResult(opened.name, options.name, board.states(), moved)


def _state(
    repository: Repository,
    task: Task,
    revisions: Sequence[str],
    options: SweepOptions,
    runtime: Runtime,
    known: SweepState | None,
) -> tuple[SweepState, bool]:
    """Return the inputs of a sweep, as they were when it began, and whether revisions have moved since."""
    texts = tuple(revisions) or ("HEAD",)
    starts: tuple[CommitId, ...] = ()
    with suppress(NotFoundError) if known else nullcontext():  # a sweep that has begun needs the names no more
        starts = tuple(repository.resolve_many(texts))
    how = options.training.on(task)
    fixed = replace(how, hyper=how.hyper.with_overrides(how.given))
    now = SweepState(
        task=task.digest,
        revisions=texts,
        starts=starts,
        hparams=options.hparams,
        arguments=training_arguments(fixed, runtime),
    )
    if known is None:
        return now, False
    difference = known.difference(now)
    if difference is not None:
        raise ConflictError(
            f"sweep '{options.name}' on task '{task.name}' was begun otherwise: {difference}",
            kind="other-sweep",
            hint="use the same options, or give this sweep another `--name`",
        )
    return known, known.starts != now.starts


def _result(
    repository: Repository, task: Task, options: SweepOptions, runs: Sequence[PlannedRun], *, moved: bool
) -> SweepResult:
    return SweepResult(task.name, options.name, Board(repository, runs, None).states(), moved)
