"""``mlgit sweep``: many runs on a task, one commit each, resumable at any point."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mlgit.errors import ConflictError, InvalidInputError, JobFailedError, NotFoundError
from mlgit.executors import EXECUTORS
from mlgit.executors.executor import Executor, Workplace
from mlgit.executors.job import Job, Outcome, Resources
from mlgit.objects import CommitId, Stage
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime, open_named_task
from mlgit.porcelain.probe import pretrained_commit, shared_probe
from mlgit.porcelain.saved_runs import drop_saved, saved_runs
from mlgit.porcelain.sweep_plan import PlannedRun, SweepOptions, plan, sort_starts, training_arguments
from mlgit.porcelain.sweep_state import (
    SweepState,
    finished,
    finished_runs,
    read_state,
    sweep_folder,
    sweeping,
    write_state,
)
from mlgit.porcelain.train import TrainOptions
from mlgit.porcelain.train_onto import check_free
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.tasks.task import Task

__all__ = ["Place", "PlannedRun", "RunState", "SweepOptions", "SweepResult", "TrainOptions", "sweep"]

State = Literal["waiting", "running", "finished", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the runs of a sweep are computed.

    Attributes:
        executor: A row of ``EXECUTORS``; None: ``inline`` for one run at a time, ``process`` for several.
        jobs: Runs at the same time, at least 1.
        threads: CPU threads of each; None: all there are, shared out when several run at once.
        gpus: Accelerators to share out, one for each run; None: each run sees what this process sees.
        retries: How often a run that failed is tried again, from 0.
    """

    executor: str | None = None
    jobs: int = 1
    threads: int | None = None
    gpus: tuple[str, ...] | None = None
    retries: int = 1

    def open(self, repository: Repository, logs: Path) -> Executor:
        """Return the executor.

        Raises:
            NotFoundError: No such executor.
            InvalidInputError: It cannot run so many at once.
        """
        name = self.executor or ("inline" if self.jobs == 1 and self.threads is None and not self.gpus else "process")
        workplace = Workplace(directory=repository.root, logs=logs, gpus=self.gpus)
        return EXECUTORS.get(name)(workplace, at_once=self.jobs)

    def resources(self) -> Resources:
        """Return what each run needs."""
        share = max(1, (os.cpu_count() or 1) // self.jobs) if self.jobs > 1 else None
        return Resources(threads=share if self.threads is None else self.threads, gpus=1 if self.gpus else 0)


@dataclass(frozen=True, slots=True)
class RunState:
    """A run of a sweep at one moment.

    Attributes:
        run: Which.
        state: Where it stands.
        commit: Its commit, when it is finished.
        metrics: What its commit records.
        attempts: How often this process began it.
        outcome: How the last attempt ended.
        log: What the last attempt printed.
    """

    run: PlannedRun
    state: State = "waiting"
    commit: CommitId | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    attempts: int = 0
    outcome: Outcome | None = None
    log: Path | None = None


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
        if self.failed:
            first = self.failed[0]
            code = first.outcome.exit_code if first.outcome else 1
            raise JobFailedError(
                f"{len(self.failed)} of {len(self.runs)} runs failed; run {first.run.number} ended with exit code "
                f"{code} after {first.attempts} attempts",
                kind="run-failed",
                hint=f"what it printed is in '{first.log}'; the same command tries again",
            )


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
    if where.retries < 0:
        raise InvalidInputError(f"a run cannot be tried again {where.retries} times", kind="bad-number")
    opened = open_named_task(repository, task, runtime, progress)
    folder = sweep_folder(repository, opened.name, options.name)
    executor = where.open(repository, folder)
    state, moved = _state(repository, opened, revisions, options, runtime, read_state(folder))
    starts = sort_starts(repository, opened, state.starts, options.training.on(opened))
    runs = plan(opened, starts, options, runtime=runtime, resources=where.resources())
    if dry_run:
        return _result(repository, opened, options, runs, moved=moved)
    with sweeping(folder):
        board = _Board(repository, runs, tell)
        for run in board.waiting():
            check_free(repository, run.branch)
        write_state(folder, state)
        board.drop_saves()
        _make_probes(repository, opened, board.waiting(), options, runtime, actor, progress)
        for _ in range(1 + where.retries):
            executor.execute([run.job for run in board.waiting()], board)
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


def _make_probes(
    repository: Repository,
    task: Task,
    runs: Sequence[PlannedRun],
    options: SweepOptions,
    runtime: Runtime,
    actor: Actor,
    progress: Progress | None,
) -> None:
    """Train what all runs share before they begin at the same time."""
    how = options.training.on(task)
    if how.stage_on(task) is Stage.PRETRAIN:
        return
    for pretrained in dict.fromkeys(pretrained_commit(repository, run.start) for run in runs):
        shared_probe(
            repository,
            task,
            pretrained,
            hyper=how.probe_hyper,
            trial=how.trial,
            runtime=runtime,
            actor=actor,
            progress=progress,
        )


def _result(
    repository: Repository, task: Task, options: SweepOptions, runs: Sequence[PlannedRun], *, moved: bool
) -> SweepResult:
    return SweepResult(task.name, options.name, _Board(repository, runs, None).states(), moved)


class _Board:
    """Where all runs stand; follows an executor."""

    def __init__(
        self, repository: Repository, runs: Sequence[PlannedRun], tell: Callable[[RunState], None] | None
    ) -> None:
        self._repository = repository
        self._tell = tell
        done = finished_runs(repository, runs)
        self._states = {run.job.identity: self._finished(RunState(run), done.get(run.number)) for run in runs}
        for state in self._states.values():
            self._say(state)

    def states(self) -> tuple[RunState, ...]:
        """Return all, by number."""
        return tuple(self._states.values())

    def waiting(self) -> list[PlannedRun]:
        """Return the runs that are to be made, failed ones among them."""
        return [state.run for state in self._states.values() if state.state != "finished"]

    def drop_saves(self) -> None:
        """Let go what is still saved of finished runs: their process was killed when it had just committed."""
        for commit_id in (state.commit for state in self._states.values()):
            key = None if commit_id is None else self._repository.commit_of(commit_id).made.get("run")
            if isinstance(key, str) and key in {run.key for run in saved_runs(self._repository)}:
                drop_saved(self._repository, key)

    def started(self, job: Job, log: Path) -> None:
        """Take notice of a job that begins."""
        before = self._states[job.identity]
        self._put(replace(before, state="running", attempts=before.attempts + 1, log=log))

    def finished(self, job: Job, outcome: Outcome) -> None:
        """Take notice of a job that has ended; its commit alone says whether the run is finished."""
        state = replace(self._states[job.identity], state="failed", outcome=outcome)
        self._put(self._finished(state, finished(self._repository, state.run)))

    def _finished(self, state: RunState, commit_id: CommitId | None) -> RunState:
        if commit_id is None:
            return state
        metrics = self._repository.commit_of(commit_id).metrics
        return replace(state, state="finished", commit=commit_id, metrics=metrics)

    def _put(self, state: RunState) -> None:
        self._states[state.run.job.identity] = state
        self._say(state)

    def _say(self, state: RunState) -> None:
        if self._tell is not None:
            self._tell(state)
