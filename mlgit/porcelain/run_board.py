"""Making planned runs: where, in what order, and how each of them stands."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mlgit.errors import InvalidInputError, JobFailedError
from mlgit.executors import EXECUTORS
from mlgit.executors.executor import Executor, Workplace
from mlgit.executors.job import Job, Outcome, Resources
from mlgit.objects import CommitId, Stage
from mlgit.porcelain.actor import Actor
from mlgit.porcelain.open_model import Runtime
from mlgit.porcelain.probe import pretrained_commit, shared_probe
from mlgit.porcelain.saved_runs import drop_saved, saved_runs
from mlgit.porcelain.sweep_plan import PlannedRun
from mlgit.porcelain.sweep_state import finished
from mlgit.porcelain.train import TrainOptions
from mlgit.porcelain.train_onto import check_free
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.tasks.task import Task

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

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise InvalidInputError(f"a run cannot be tried again {self.retries} times", kind="bad-number")

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


def raise_failed(runs: Sequence[RunState]) -> None:
    """Raise when a run failed at every attempt.

    Raises:
        JobFailedError: One did; its log is named.
    """
    failed = [each for each in runs if each.state == "failed"]
    if failed:
        first = failed[0]
        code = first.outcome.exit_code if first.outcome else 1
        raise JobFailedError(
            f"{len(failed)} of {len(runs)} runs failed; run {first.run.number} ended with exit code {code} after "
            f"{first.attempts} attempts",
            kind="run-failed",
            hint=f"what it printed is in '{first.log}'; the same command tries again",
        )


def make_probes(
    repository: Repository,
    task: Task,
    runs: Sequence[PlannedRun],
    training: TrainOptions,
    runtime: Runtime,
    actor: Actor,
    progress: Progress | None,
) -> None:
    """Train the linear probes that runs share, before they begin at the same time."""
    how = training.on(task)
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


class Board:
    """Where all runs of a plan stand; follows an executor.

    Args:
        repository: Where.
        runs: The plan.
        tell: Is told of each run now, and whenever it changes its state.

    Raises:
        ConflictError: The branch of a run holds something else.
    """

    def __init__(
        self, repository: Repository, runs: Sequence[PlannedRun], tell: Callable[[RunState], None] | None
    ) -> None:
        self._repository = repository
        self._tell = tell
        self._states = {run.job.identity: self._finished(RunState(run), finished(repository, run)) for run in runs}
        for state in self._states.values():
            self._say(state)

    def states(self) -> tuple[RunState, ...]:
        """Return all, in the order of the plan."""
        return tuple(self._states.values())

    def waiting(self) -> list[PlannedRun]:
        """Return the runs that are to be made, failed ones among them."""
        return [state.run for state in self._states.values() if state.state != "finished"]

    def check_branches(self) -> None:
        """Refuse to begin when a run that is to be made would find its branch's name taken.

        Raises:
            AlreadyExistsError: One would.
        """
        for run in self.waiting():
            check_free(self._repository, run.branch)

    def execute(self, executor: Executor, *, retries: int) -> None:
        """Make the runs that are not made; what fails is tried again after the others.

        Args:
            executor: Makes them.
            retries: How often a run that failed is tried again.
        """
        self._drop_saves()
        for _ in range(1 + retries):
            executor.execute([run.job for run in self.waiting()], self)

    def _drop_saves(self) -> None:
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
