"""``process``: several jobs at once on this machine, each in a process of its own."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, final

from mlgit.executors.child import GRACE_S
from mlgit.executors.executor import Clock, Executor, Watch
from mlgit.executors.job import Job, Outcome
from mlgit.fileio import file_system_error
from mlgit.interrupts import held_back

_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class _Running:
    """A job at work.

    Attributes:
        job: Which.
        process: The leader of its process group.
        clock: Runs since it began.
        gpus: The accelerators it has.
    """

    job: Job
    process: subprocess.Popen[bytes]
    clock: Clock
    gpus: tuple[str, ...]


@final
class ProcessExecutor(Executor):
    """Runs each job in a process group of its own, with its threads pinned and its accelerators to itself.

    A job begins when one of ``at_once`` places, its accelerators and its memory are free; a later one does not overtake
    it. Jobs end with this process, also when it is killed.
    """

    isolates: ClassVar[bool] = True

    def _run(self, jobs: Sequence[Job], watch: Watch) -> dict[str, Outcome]:
        waiting, running, outcomes = list(jobs), dict[str, _Running](), dict[str, Outcome]()
        ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        try:
            while waiting or running:
                while waiting and (gpus := self._room(waiting[0], running)) is not None:
                    job = waiting.pop(0)
                    with held_back():  # or a process would run of which nobody knows
                        running[job.identity] = self._start(job, gpus)
                    _tell_end(running[job.identity], ended)
                    watch.started(job, self.workplace.log(job))
                identity = ended.get()
                done = running.pop(identity)
                _end_group(done)
                outcomes[identity] = done.clock.outcome(done.process.wait(), self.workplace.log(done.job))
                watch.finished(done.job, outcomes[identity])
        except BaseException as stop:
            _stop(list(running.values()), signal.SIGINT if type(stop) is KeyboardInterrupt else signal.SIGTERM)
            raise
        return outcomes

    def _room(self, job: Job, running: dict[str, _Running]) -> tuple[str, ...] | None:
        """Return the accelerators for a job that can begin now, or None."""
        others = running.values()
        if len(running) >= self.at_once:
            return None
        used = sum(each.job.resources.memory or 0 for each in others)
        if self.workplace.memory is not None and used + (job.resources.memory or 0) > self.workplace.memory:
            return None
        taken = {gpu for each in others for gpu in each.gpus}
        free = [gpu for gpu in self.workplace.gpus or () if gpu not in taken]
        return None if len(free) < job.resources.gpus else tuple(free[: job.resources.gpus])

    def _start(self, job: Job, gpus: tuple[str, ...]) -> _Running:
        environment = dict(self.workplace.environment)
        if job.resources.threads is not None:
            environment |= dict.fromkeys(_THREADS, str(job.resources.threads))
        if self.workplace.gpus is not None:
            environment[_GPUS] = ",".join(gpus)
        settings = json.dumps({"program": self.workplace.program, "environment": environment})
        log, clock = self.workplace.log(job), Clock()
        try:
            with log.open("ab") as stream:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "mlgit.executors.child", settings, *job.arguments],
                    cwd=self.workplace.directory,
                    stdin=subprocess.PIPE,  # held open: when this process dies, the job reads its end and ends too
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise file_system_error(error, "write", log) from error
        return _Running(job, process, clock, gpus)


def _tell_end(running: _Running, ended: queue.SimpleQueue[str]) -> None:
    """Let a thread wait for the process; the thread that manages them sleeps until one of them has ended."""

    def wait() -> None:
        running.process.wait()
        ended.put(running.job.identity)

    threading.Thread(target=wait, daemon=True).start()


def _stop(running: Sequence[_Running], number: int) -> None:
    """Ask all to end, and end those that do not."""
    for each in running:
        _signal_group(each, number)
    deadline = time.monotonic() + GRACE_S
    try:
        for each in running:
            with suppress(subprocess.TimeoutExpired):
                each.process.wait(max(0.0, deadline - time.monotonic()))
    except KeyboardInterrupt:  # a second Ctrl-C: no more patience
        pass
    finally:
        for each in running:
            _end_group(each)


def _end_group(running: _Running) -> None:
    """End what is left of a job, and let its process go."""
    _signal_group(running, signal.SIGKILL)
    running.process.wait()
    if running.process.stdin is not None:
        running.process.stdin.close()


def _signal_group(running: _Running, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # all ended already
        os.killpg(running.process.pid, number)
