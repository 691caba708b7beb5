"""`train` killed at any point and started again: the same weights, a sound repository, nothing left over."""

from __future__ import annotations

import os
import random
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import pytest

from mlgit.errors import ConflictError, InvalidInputError, JobFailedError
from mlgit.objects import CommitId, Stage, TensorId
from mlgit.porcelain import train_onto
from mlgit.porcelain.commit import commit
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.gc import gc
from mlgit.porcelain.pending_run import drop_run, load_run
from mlgit.porcelain.restore import restore
from mlgit.porcelain.run_saves import StoredSaves
from mlgit.porcelain.saved_runs import abandon_runs, saved_runs, working_on
from mlgit.porcelain.switch import switch
from mlgit.porcelain.train import TrainOptions, TrainResult, train
from mlgit.repository import Repository
from mlgit.training.hyper import HyperParameters
from mlgit.training.method import Method
from mlgit.training.snapshot import SaveEvery

HYPER = HyperParameters(lr=1e-3, dropout=0.3, batch_per_domain=4, steps=12, eval_every=4, freeze_steps=3)
OPTIONS = TrainOptions(
    hyper=HYPER, seed=3, save_every=SaveEvery(steps=2), method=Method(average="moving", average_from=4)
)
COLLECT = ("moving", "swad")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def repo(day: Path) -> Repository:
    return Repository(day)


class Killed(BaseException):
    """Ends a run as nothing else does."""


class Deadly:
    """A progress that ends training, not other work, after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.counts = False

    @contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Deadly]:
        self.counts = title == "training"
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.left -= amount if self.counts else 0
        if self.counts and self.left == 0:
            raise Killed


def killed_after(repository: Repository, steps: int, **values: object) -> None:
    with pytest.raises(Killed):
        train(repository, "digit", start="aux/parity", options=OPTIONS, progress=Deadly(steps), **values)  # type: ignore[arg-type]


def go(repository: Repository) -> TrainResult:
    return train(repository, "digit", start="aux/parity", options=OPTIONS)


def give_up(repository: Repository) -> None:
    """Throw away the weights of a run that waits for its commit."""
    restore(repository, ["."])
    drop_run(repository)


def forked(action: Callable[[], object]) -> int:
    """Run an action in a child and return how the child ended, as ``os.waitpid`` says it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        except BaseException:  # noqa: BLE001 - nothing of the child may go on in the test
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def counting(action: Callable[[], object], reach: Callable[[int, FrameType], None]) -> int:
    """Run an action, tell ``reach`` of each call of a function, numbered from 1, and return how many there were."""
    calls = 0

    def notice(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        if event == "call":
            calls += 1
            reach(calls, frame)

    sys.setprofile(notice)
    try:
        action()
    finally:
        sys.setprofile(None)
    return calls


def without_a_break(repository: Repository) -> tuple[Mapping[str, TensorId], int, list[tuple[int, int]]]:
    """Return the weights of a run, how many calls it takes, and between which of them it saves."""
    saves: list[int] = []

    def reach(number: int, frame: FrameType) -> None:
        begins = frame.f_code is StoredSaves.save.__code__
        ends = len(saves) % 2 == 1 and frame.f_code.co_name == "is_due"
        if begins or ends:
            saves.append(number)

    found: list[TrainResult] = []
    calls = counting(lambda: found.append(go(repository)), reach)
    return found[0].run.weights, calls, list(zip(saves[::2], saves[1::2], strict=False))


def test_a_run_killed_at_any_point_is_resumed_to_the_same_bits(
    repo: Repository, count: Callable[[int, int], int]
) -> None:
    switch(repo, "run", create=True, start="main")
    go(repo)  # what happens only once, as imports, is no part of the count
    give_up(repo)
    weights, calls, saves = without_a_break(Repository(repo.root))
    assert len(saves) == 5
    give_up(repo)
    draws = random.Random(0)
    for number in range(count(5, 50)):
        point = draws.randint(*(draws.choice(saves) if number % 2 else (1, calls * 99 // 100)))

        def die(reached: int, _: FrameType, point: int = point) -> None:
            if reached == point:
                os.kill(os.getpid(), signal.SIGKILL)

        ended = forked(lambda die=die: counting(lambda: go(Repository(repo.root)), die))  # type: ignore[misc]
        assert os.WIFSIGNALED(ended)
        assert os.WTERMSIG(ended) == signal.SIGKILL
        repository = Repository(repo.root)
        repository.settle()
        waiting = load_run(repository)
        if waiting is None:  # it was not at its end
            waiting = go(repository).run
            assert saved_runs(repository) == []
        assert dict(waiting.weights) == dict(weights), f"killed at call {point} of {calls}"
        assert fsck(repository).sound
        abandon_runs(repository, "digit")  # one that was killed after its end, before it had let go of its saves
        give_up(repository)
        assert [path.name for path in (repository.folder / "runs").iterdir()] == []


def onto(repository: Repository, branch: str) -> None:
    train_onto.train_onto(
        repository, "digit", branch, start="aux/parity", options=replace(OPTIONS, method=Method(), collect=COLLECT)
    )


def branches_of(repository: Repository, branch: str) -> dict[str, CommitId]:
    names = [branch, *(train_onto.collected_branch(branch, name) for name in COLLECT)]
    found = repository.branches()
    return {name: found[name] for name in names if name in found}


def test_a_run_killed_at_any_point_leaves_all_that_it_collects_in_the_end(
    repo: Repository, count: Callable[[int, int], int]
) -> None:
    onto(repo, "once/run")  # what happens only once, as imports, is no part of the count
    wanted = [repo.commit_of(each).manifest for each in branches_of(repo, "once/run").values()]
    commits: list[int] = []

    def reach(number: int, frame: FrameType) -> None:
        if frame.f_code is train_onto._commit.__code__:
            commits.append(number)

    calls = counting(lambda: onto(Repository(repo.root), "twice/run"), reach)
    draws = random.Random(0)
    for number in range(count(4, 50)):
        point = draws.randint(*((commits[0], calls * 99 // 100) if number % 2 else (1, commits[0])))

        def die(reached: int, _: FrameType, point: int = point) -> None:
            if reached == point:
                os.kill(os.getpid(), signal.SIGKILL)

        branch = f"killed/run-{number}"
        ended = forked(lambda die=die, branch=branch: counting(lambda: onto(Repository(repo.root), branch), die))  # type: ignore[misc]
        assert os.WIFSIGNALED(ended)
        repository = Repository(repo.root)
        repository.settle()
        if branch not in repository.branches():
            onto(repository, branch)
            assert saved_runs(repository) == []
        found = [repository.commit_of(each) for each in branches_of(repository, branch).values()]
        assert [commit.manifest for commit in found] == wanted, f"killed at call {point} of {calls}"
        assert fsck(repository).sound
        abandon_runs(repository, "digit")  # one that was killed after its end, before it had let go of its saves


def test_a_resumed_run_says_so_and_its_commit_too(repo: Repository) -> None:
    switch(repo, "run", create=True, start="main")
    killed_after(repo, 9)
    (saved,) = saved_runs(repo)
    assert (saved.task, saved.step, saved.steps) == ("digit", 8, 12)
    assert saved.start == repo.resolve("aux/parity")
    result = go(repo)
    assert result.resumed_from == 8
    assert saved_runs(repo) == []
    made = commit(repo, "a run", task="digit").commit.made
    assert (made["resumed_from"], made["steps"]) == (8, 12)


def test_other_inputs_are_another_run(repo: Repository) -> None:
    switch(repo, "run", create=True, start="main")
    killed_after(repo, 9)
    other = TrainOptions(hyper=HYPER, seed=4, save_every=SaveEvery(steps=2), method=OPTIONS.method)
    assert train(repo, "digit", start="aux/parity", options=other).resumed_from == 0
    assert len(saved_runs(repo)) == 1
    give_up(repo)
    assert go(repo).resumed_from == 8


def test_collection_keeps_an_unfinished_run_and_frees_it_once_it_is_given_up(repo: Repository) -> None:
    switch(repo, "run", create=True, start="main")
    whole = go(repo).run.weights
    give_up(repo)
    gc(repo, grace_days=0, reflog_days=0)
    killed_after(repo, 9)
    gc(repo, grace_days=0, reflog_days=0)
    (saved,) = saved_runs(repo)
    assert saved.manifest in repo.objects
    assert fsck(repo).sound
    killed_after(repo, 11)
    assert [run.step for run in abandon_runs(repo, "parity")] == []
    assert [run.step for run in abandon_runs(repo, "digit")] == [10]
    assert saved_runs(repo) == []
    gc(repo, grace_days=0, reflog_days=0)
    assert saved.manifest not in Repository(repo.root).objects
    result = go(repo)
    assert result.resumed_from == 0
    assert dict(result.run.weights) == dict(whole)


def test_a_save_is_stored_as_differences_to_the_one_before(repo: Repository) -> None:
    switch(repo, "run", create=True, start="main")
    killed_after(repo, 9)
    (saved,) = saved_runs(repo)
    tensors = repo.manifest(saved.manifest).tensors
    named = [entry for name, entry in tensors.items() if name.startswith("model/")]
    raw = sum(entry.size_bytes for entry in named)
    stored = sum(repo.objects.stored_size(entry.id) for entry in named)
    assert stored < 0.9 * raw


def test_two_processes_do_not_work_on_one_run(repo: Repository) -> None:
    switch(repo, "run", create=True, start="main")
    killed_after(repo, 9)
    (saved,) = saved_runs(repo)
    with working_on(repo, saved.key):
        for action in (lambda: go(repo), lambda: abandon_runs(repo, "digit")):
            with pytest.raises(ConflictError) as error:
                action()
            assert error.value.kind == "run-in-progress"
    assert go(repo).resumed_from == 8


def test_a_run_that_fails_of_itself_leaves_no_save(repo: Repository) -> None:
    switch(repo, "run", create=True, start="main")
    hyper = HYPER.with_overrides({"lr": 1e30, "freeze_steps": 0, "eval_every": 100})
    with pytest.raises(JobFailedError):
        train(repo, "digit", start="main", options=TrainOptions(hyper=hyper, save_every=SaveEvery(steps=1)))
    assert saved_runs(repo) == []


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"0" * 64 + b"\n{}"])
def test_a_damaged_note_of_a_run_is_named(repo: Repository, damage: bytes) -> None:
    switch(repo, "run", create=True, start="main")
    killed_after(repo, 9)
    (path,) = (repo.folder / "runs").glob("*.json")
    path.write_bytes(damage)
    with pytest.raises(InvalidInputError, match="cannot be read") as error:
        go(repo)
    assert error.value.kind == "bad-run"
    assert not fsck(repo).sound


def test_weights_trained_on_the_task_are_no_start_for_it_unless_asked_for(repo: Repository) -> None:
    switch(repo, "copy", create=True, start="digit/1")
    with pytest.raises(InvalidInputError, match="trained on task 'digit' itself") as error:
        train(repo, "digit", options=OPTIONS)
    assert error.value.kind == "auxiliary-is-target"
    assert "--again" in (error.value.hint or "")
    again = TrainOptions(hyper=HYPER, again=True)
    assert train(repo, "digit", options=again).steps == 12
    give_up(repo)
    with pytest.raises(InvalidInputError) as error:
        train(repo, "digit", options=TrainOptions(hyper=HYPER, again=True, trial=1))
    assert error.value.kind == "other-split"


@pytest.mark.parametrize(("keep", "kept"), [(None, "last"), ("best", "best"), ("last", "last")])
def test_auxiliary_runs_leave_their_last_weights(repo: Repository, keep: str | None, kept: str) -> None:
    switch(repo, "run", create=True, start="main")
    hyper = HYPER.with_overrides({"lr": 0.5, "eval_every": 1})
    options = TrainOptions(hyper=hyper, keep=keep, stage=Stage.AUXILIARY)  # type: ignore[arg-type]
    result = train(repo, "parity", options=options)
    history = result.run.made["history"]
    accuracies = [entry["id_accuracy"] for entry in history]  # type: ignore[index, union-attr, call-overload]
    best = accuracies.index(max(accuracies))
    assert result.run.made["keep"] == kept
    assert result.step == (11 if kept == "last" else best)
    assert result.run.metrics["id_accuracy"] == accuracies[result.step]
    assert best != 11, "best and last differ here"
