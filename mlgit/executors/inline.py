"""``inline``: jobs in this process, one after the other. No start-up per job; a crash takes all with it."""

from __future__ import annotations

import importlib
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from typing import ClassVar, cast, final

from mlgit.errors import InvalidInputError
from mlgit.executors.executor import Clock, Executor, Watch, Workplace
from mlgit.executors.job import Job, Outcome

_STOPPED = {128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}


@final
class InlineExecutor(Executor):
    """Calls the program's function; threads and accelerators are those that this process has.

    Args:
        workplace: Where.
        at_once: 1.

    Raises:
        InvalidInputError: More than one at once.
    """

    isolates: ClassVar[bool] = False

    def __init__(self, workplace: Workplace, *, at_once: int = 1) -> None:
        super().__init__(workplace, at_once=at_once)
        if at_once != 1:
            raise InvalidInputError(
                f"the executor 'inline' runs one job after the other, not {at_once} at once",
                kind="bad-jobs",
                hint="use the executor `process`",
            )

    def _run(self, jobs: Sequence[Job], watch: Watch) -> dict[str, Outcome]:
        module, _, name = self.workplace.program.partition(":")
        program = cast("Callable[[Sequence[str]], int]", getattr(importlib.import_module(module), name))
        outcomes = {}
        for job in jobs:
            log, clock = self.workplace.log(job), Clock()
            watch.started(job, log)
            with (
                log.open("a", encoding="utf-8", errors="backslashreplace") as stream,
                redirect_stdout(stream),
                redirect_stderr(stream),
                chdir(self.workplace.directory),
            ):
                code = _call(program, job.arguments)
            if code in _STOPPED:  # the program has heard the request to stop, and it was meant for all of this process
                raise KeyboardInterrupt
            outcomes[job.identity] = clock.outcome(code, log)
            watch.finished(job, outcomes[job.identity])
        return outcomes


def _call(program: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    try:
        return program(list(arguments))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except Exception:  # noqa: BLE001 - whatever fails in a job is that job's failure
        traceback.print_exc(file=sys.stderr)
        return 1
