"""What every executor promises; the contract suite is ``mlgit.testing.executor``."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from mlgit.errors import InvalidInputError
from mlgit.executors.job import Job, Outcome
from mlgit.fileio import file_system_error

PROGRAM = "mlgit.cli.main:main"


class Watch(Protocol):
    """Is told what happens, always from the thread that called ``execute``."""

    def started(self, job: Job, log: Path) -> None:
        """A job begins; what it prints goes to ``log``."""

    def finished(self, job: Job, outcome: Outcome) -> None:
        """A job has ended."""


class Nobody:
    """The watch that looks away."""

    def started(self, job: Job, log: Path) -> None:
        """Ignore it."""

    def finished(self, job: Job, outcome: Outcome) -> None:
        """Ignore it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Where jobs run, and what there is.

    Attributes:
        directory: Where the program stands.
        logs: Folder for one log per job, ``IDENTITY.log``; made when it is missing. A job that runs again adds to its
            log.
        program: ``module:function`` that takes the arguments and returns the exit code.
        gpus: The accelerators that jobs may have, as CUDA names them; None: nobody shares them out, and each job sees
            what the program sees.
        memory: Bytes of main memory for all jobs together; None: not counted.
        environment: Added to the environment of jobs that run in processes of their own.
    """

    directory: Path
    logs: Path
    program: str = PROGRAM
    gpus: tuple[str, ...] | None = None
    memory: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def log(self, job: Job) -> Path:
        """Return where a job's log is."""
        return self.logs / f"{job.identity}.log"


class Executor(ABC):
    """Runs jobs.

    Args:
        workplace: Where.
        at_once: How many at the same time, at least 1.

    Raises:
        InvalidInputError: ``at_once`` is not possible.
    """

    isolates: ClassVar[bool]
    """Whether each job has a process of its own: resources are kept to, and its death harms nobody else."""

    def __init__(self, workplace: Workplace, *, at_once: int = 1) -> None:
        if at_once < 1:
            raise InvalidInputError(f"{at_once} jobs at once are none", kind="bad-jobs")
        self.workplace = workplace
        self.at_once = at_once

    def execute(self, jobs: Sequence[Job], watch: Watch | None = None) -> dict[str, Outcome]:
        """Run each job once and wait for all.

        A job that fails is reported, never raised. When this is interrupted, or the watch raises, the running jobs are
        stopped and nothing is left running; the others are not begun.

        Args:
            jobs: In the order in which they are begun.
            watch: Is told of each.

        Returns:
            Identity -> how it ended, for all jobs.

        Raises:
            InvalidInputError: Two jobs are the same, or one needs what there is not; none was begun.
            FileSystemError: A log cannot be written.
        """
        if len({job.identity for job in jobs}) != len(jobs):
            raise InvalidInputError("the same job stands twice in a list", kind="job-twice")
        for job in jobs:
            self._check(job)
        if not jobs:
            return {}
        try:
            self.workplace.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise file_system_error(error, "create", self.workplace.logs) from error
        return self._run(jobs, watch or Nobody())

    @abstractmethod
    def _run(self, jobs: Sequence[Job], watch: Watch) -> dict[str, Outcome]:
        """Run jobs that are different and possible; the folder for logs is there."""

    def _check(self, job: Job) -> None:
        """Refuse a job that could never run here."""
        gpus, memory = self.workplace.gpus, self.workplace.memory
        if job.resources.gpus > len(gpus or ()):
            raise InvalidInputError(
                f"a job needs {job.resources.gpus} accelerators of {len(gpus or ())}", kind="too-few-accelerators"
            )
        if memory is not None and (job.resources.memory or 0) > memory:
            raise InvalidInputError(
                f"a job needs {job.resources.memory} bytes of memory of {memory}", kind="too-little-memory"
            )


class Clock:
    """Measures one job."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def outcome(self, exit_code: int, log: Path) -> Outcome:
        """Return how a job ended that began with this clock."""
        return Outcome(exit_code, log, time.monotonic() - self._began)
