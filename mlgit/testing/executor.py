"""The contract of executors.

Use::

    class TestMyExecutor(ExecutorContract):
        def executor(self, workplace: Workplace, at_once: int = 1) -> Executor:
            return MyExecutor(workplace, at_once=at_once)
"""

from __future__ import annotations

import json
import os
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from mlgit.errors import InvalidInputError
from mlgit.executors.executor import Executor, Workplace
from mlgit.executors.job import Job, Outcome, Resources
from mlgit.objects import CommitId

START = CommitId("5" * 64)
_PATIENCE_S = 30.0


def job(*arguments: object, **resources: int) -> Job:
    """Return a job of ``mlgit.testing.job_program``.

    Args:
        arguments: Its arguments.
        resources: Fields of ``Resources``.
    """
    return Job(tuple(map(str, arguments)), START, Resources(**resources))


def is_running(process: int) -> bool:
    """Say whether a process is there and not just waiting to be noticed as ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


def processes_in(path: Path) -> list[int]:
    """Return the processes that a job ``hang`` has written down, once it has."""
    deadline = time.monotonic() + _PATIENCE_S
    while not path.exists():
        assert time.monotonic() < deadline, "the job did not begin"
        time.sleep(0.01)
    return [int(word) for word in path.read_text().split()]


def assert_ended(processes: list[int]) -> None:
    """Raise AssertionError unless all processes end before long."""
    deadline = time.monotonic() + _PATIENCE_S
    while any(map(is_running, processes)):
        assert time.monotonic() < deadline, "something is left running"
        time.sleep(0.01)


class Diary:
    """A watch that writes down what it is told, and where."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []
        self.threads: set[int] = set()

    def started(self, job: Job, log: Path) -> None:
        """Note that a job begins."""
        del log
        self.entries.append(("started", job.identity))
        self.threads.add(threading.get_ident())

    def finished(self, job: Job, outcome: Outcome) -> None:
        """Note that a job has ended."""
        assert outcome.duration_s >= 0
        self.entries.append(("finished", job.identity))
        self.threads.add(threading.get_ident())


class Impatient(Diary):
    """A watch that interrupts.

    Args:
        paths: The files by which jobs say that they run; with the last of these jobs it waits for all of them. With
            none it interrupts when the first job is about to begin.
    """

    def __init__(self, *paths: Path) -> None:
        super().__init__()
        self.paths = paths

    def started(self, job: Job, log: Path) -> None:
        """Note that a job begins, and interrupt."""
        super().started(job, log)
        if not self.paths or str(self.paths[-1]) in job.arguments:
            for path in self.paths:
                processes_in(path)
            raise KeyboardInterrupt


class ExecutorContract(ABC):
    """Laws of every executor: subclass it and return the executor."""

    @abstractmethod
    def executor(self, workplace: Workplace, at_once: int = 1) -> Executor:
        """Return the executor under test."""

    @pytest.fixture
    def workplace(self, tmp_path: Path) -> Workplace:
        """A place to work, in a folder that is not there yet."""
        place = tmp_path / "place"
        place.mkdir()
        return Workplace(
            directory=place, logs=tmp_path / "kept" / "logs", program="mlgit.testing.job_program:main", gpus=("0", "1")
        )

    def test_each_job_runs_once(self, workplace: Workplace, tmp_path: Path) -> None:
        """No more, no less, and each is answered for."""
        jobs = [job("write", tmp_path / "lines", number) for number in range(4)]
        outcomes = self.executor(workplace).execute(jobs)
        assert outcomes.keys() == {each.identity for each in jobs}
        assert all(outcome.succeeded for outcome in outcomes.values())
        assert sorted((tmp_path / "lines").read_text().split()) == ["0", "1", "2", "3"]

    def test_no_jobs_are_no_work(self, workplace: Workplace) -> None:
        """An empty list is done."""
        assert self.executor(workplace).execute([]) == {}

    def test_the_order_of_jobs_changes_no_outcome(self, workplace: Workplace) -> None:
        """Exit codes belong to jobs, not to places in a list."""
        jobs = [job("fail", code) for code in (0, 3, 5)]
        codes = [
            {identity: outcome.exit_code for identity, outcome in self.executor(workplace).execute(order).items()}
            for order in (jobs, jobs[::-1])
        ]
        assert codes[0] == codes[1] == {each.identity: int(each.arguments[1]) for each in jobs}

    def test_a_job_that_fails_is_reported_and_the_others_run(self, workplace: Workplace, tmp_path: Path) -> None:
        """By a code or by an exception, which its log shows."""
        failing, raising, good = job("fail", 3), job("raise"), job("write", tmp_path / "lines", "x")
        outcomes = self.executor(workplace).execute([failing, raising, good])
        assert outcomes[failing.identity].exit_code == 3
        assert outcomes[raising.identity].exit_code == 1
        assert "ValueError: a job that fails of itself" in outcomes[raising.identity].log.read_text()
        assert outcomes[good.identity].succeeded

    def test_each_job_has_a_log_of_its_own_to_which_it_adds(self, workplace: Workplace, tmp_path: Path) -> None:
        """What it printed, nothing of others, and the attempts before."""
        jobs = [job("write", tmp_path / "lines", text) for text in ("one", "two")]
        for attempts in (1, 2):
            outcomes = self.executor(workplace).execute(jobs)
            for each in jobs:
                log = outcomes[each.identity].log
                assert log == workplace.log(each)
                assert log.read_text() == f"{' '.join(each.arguments)}\n" * attempts

    def test_the_watch_is_told_of_beginnings_and_ends_in_the_callers_thread(
        self, workplace: Workplace, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Each begins, then ends; nothing comes out elsewhere."""
        diary, jobs = Diary(), [job("fail", code) for code in (0, 1)]
        self.executor(workplace).execute(jobs, diary)
        for each in jobs:
            assert [what for what, identity in diary.entries if identity == each.identity] == ["started", "finished"]
        assert diary.threads == {threading.get_ident()}
        assert capfd.readouterr() == ("", "")

    def test_jobs_run_in_the_directory_of_the_workplace(self, workplace: Workplace, tmp_path: Path) -> None:
        """And this process stays where it was."""
        before = Path.cwd()
        self.executor(workplace).execute([job("show", tmp_path / "seen")])
        assert Path(json.loads((tmp_path / "seen").read_text())["directory"]) == workplace.directory.resolve()
        assert Path.cwd() == before

    def test_what_cannot_run_is_refused_before_anything_runs(self, workplace: Workplace, tmp_path: Path) -> None:
        """The same job twice, more accelerators than there are, more memory than there is, no place at all."""
        good = job("write", tmp_path / "lines", "x")
        small = self.executor(replace(workplace, memory=10))
        for bad in ([good, good], [good, job("fail", 0, gpus=3)], [good, job("fail", 0, memory=11)]):
            with pytest.raises(InvalidInputError):
                small.execute(bad)
        with pytest.raises(InvalidInputError):
            self.executor(workplace, 0)
        assert not (tmp_path / "lines").exists()

    def test_when_it_is_interrupted_nothing_more_begins(self, workplace: Workplace, tmp_path: Path) -> None:
        """The request to stop comes through."""
        diary, jobs = Impatient(), [job("write", tmp_path / "lines", number) for number in range(3)]
        with pytest.raises(KeyboardInterrupt):
            self.executor(workplace).execute(jobs, diary)
        assert diary.entries == [("started", jobs[0].identity)]

    def test_when_it_is_interrupted_nothing_is_left_running(self, workplace: Workplace, tmp_path: Path) -> None:
        """Neither jobs nor what they started."""
        executor = self._isolating(workplace, 2)
        paths = tmp_path / "a", tmp_path / "b"
        with pytest.raises(KeyboardInterrupt):
            executor.execute([job("hang", path) for path in paths], Impatient(*paths))
        assert_ended([process for path in paths for process in processes_in(path)])

    def test_a_job_that_is_killed_harms_no_other(self, workplace: Workplace, tmp_path: Path) -> None:
        """It is reported with its signal."""
        dying, good = job("die"), job("write", tmp_path / "lines", "x")
        outcomes = self._isolating(workplace).execute([dying, good])
        assert outcomes[dying.identity].exit_code == -9
        assert outcomes[good.identity].succeeded

    def test_as_many_jobs_run_at_once_as_it_was_told(self, workplace: Workplace, tmp_path: Path) -> None:
        """Each waits for all the others."""
        (tmp_path / "hall").mkdir()
        jobs = [job("meet", tmp_path / "hall", name, 3) for name in "abc"]
        outcomes = self._isolating(workplace, 3).execute(jobs)
        assert [outcome.exit_code for outcome in outcomes.values()] == [0, 0, 0]

    @pytest.mark.parametrize("scarce", ["gpus", "memory", "places"])
    def test_jobs_wait_for_what_others_use(self, workplace: Workplace, tmp_path: Path, scarce: str) -> None:
        """An accelerator, memory, or a place of its own."""
        place = replace(workplace, gpus=("7",), memory=10)
        needs: dict[str, int] = {"gpus": {"gpus": 1}, "memory": {"memory": 6}, "places": {}}[scarce]
        jobs = [Job(("alone", str(tmp_path)), CommitId(f"{n:064x}"), Resources(**needs)) for n in range(3)]
        outcomes = self._isolating(place, 1 if scarce == "places" else 3).execute(jobs)
        assert [outcome.exit_code for outcome in outcomes.values()] == [0, 0, 0]

    def test_a_job_sees_its_threads_and_its_accelerators(self, workplace: Workplace, tmp_path: Path) -> None:
        """And none, where it asked for none; what the workplace adds is there."""
        place = replace(workplace, gpus=("3", "5"), environment={"MLGIT_TESTED": "yes"})
        jobs = [job("show", tmp_path / "a", threads=3, gpus=2), job("show", tmp_path / "b", threads=1)]
        self._isolating(place).execute(jobs)
        seen = [json.loads((tmp_path / name).read_text())["environment"] for name in "ab"]
        assert [each["OMP_NUM_THREADS"] for each in seen] == ["3", "1"]
        assert [each["CUDA_VISIBLE_DEVICES"] for each in seen] == ["3,5", ""]
        assert [each["MLGIT_TESTED"] for each in seen] == ["yes", "yes"]

    def _isolating(self, workplace: Workplace, at_once: int = 1) -> Executor:
        if not self.executor(workplace).isolates:
            pytest.skip("jobs share one process")
        return self.executor(workplace, at_once)
