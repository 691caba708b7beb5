"""Sweeps executed, stopped, killed, gone on with and enlarged."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlgit import Repository as Library
from mlgit.cli.main import main
from mlgit.errors import AlreadyExistsError, ConflictError, InvalidInputError, JobFailedError
from mlgit.objects import CommitId
from mlgit.porcelain.branch import create_branch, delete_branch
from mlgit.porcelain.commit import commit
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.open_model import open_named_task
from mlgit.porcelain.run_saves import StoredSaves
from mlgit.porcelain.saved_runs import saved_runs
from mlgit.porcelain.sweep import Place, RunState, SweepOptions, SweepResult, sweep
from mlgit.porcelain.switch import switch
from mlgit.porcelain.train import SaveEvery, TrainOptions, train
from mlgit.repository import HEADS, Repository
from mlgit.training.hyper import HyperParameters

HYPER = HyperParameters(steps=4, eval_every=2, freeze_steps=1)
TRAINING = TrainOptions(hyper=HYPER, given={"lr": 1e-3, "batch_per_domain": 4})
OPTIONS = SweepOptions(runs=3, training=TRAINING)
STARTS = ["main", "aux/parity"]


@pytest.fixture
def repo(day: Path) -> Repository:
    return Repository(day)


def go(repository: Repository, runs: int = 3, **values: object) -> SweepResult:
    return sweep(repository, "digit", STARTS, replace(OPTIONS, runs=runs), **values)  # type: ignore[arg-type]


def commits(repository: Repository) -> dict[str, CommitId]:
    return {name: found for name, found in repository.branches().items() if name.startswith("digit/sweep-")}


@pytest.mark.parametrize("place", [Place(), Place(executor="process", jobs=2, threads=1)], ids=["inline", "process"])
def test_each_run_is_what_train_and_commit_make_by_hand(repo: Repository, place: Place) -> None:
    head = repo.refs.head()
    found = go(repo, place=place)
    assert [each.state for each in found.runs] == ["finished"] * 3
    assert commits(repo) == {each.run.branch: each.commit for each in found.runs}
    assert repo.refs.head() == head
    assert (found.runs[1].run.start, found.runs[0].run.start) == (repo.resolve("aux/parity"), repo.resolve("main"))
    for each in found.runs[:2]:
        switch(repo, f"by-hand-{each.run.number}", create=True, start=each.run.start)
        train(repo, "digit", options=replace(TRAINING, hyper=each.run.hyper, seed=each.run.seed))
        hand = commit(repo, "by hand", task="digit").commit
        made = repo.commit_of(each.commit or CommitId(""))
        assert made.manifest == hand.manifest
        assert (made.parents, made.stage, made.task, made.metrics) == (
            hand.parents,
            hand.stage,
            hand.task,
            hand.metrics,
        )
        assert each.metrics == hand.metrics
    assert saved_runs(repo) == []
    assert fsck(repo).sound


def test_finished_runs_are_not_repeated_and_more_can_be_added(repo: Repository) -> None:
    go(repo, 2)
    before = commits(repo)
    told: list[RunState] = []
    again = go(repo, 2, tell=told.append)
    assert [each.attempts for each in again.runs] == [0, 0]
    assert {each.state for each in told} == {"finished"}
    more = go(repo, 4)
    assert [each.attempts for each in more.runs] == [0, 0, 1, 1]
    assert commits(repo).items() >= before.items()
    assert len(commits(repo)) == 4


def test_a_run_that_was_taken_away_is_made_again_alone(repo: Repository) -> None:
    go(repo)
    before = commits(repo)
    delete_branch(repo, "digit/sweep-1", force=True)
    assert [each.attempts for each in go(repo).runs] == [0, 1, 0]
    after = commits(repo)
    same = [repo.commit_of(every["digit/sweep-1"]).manifest for every in (before, after)]
    assert same[0] == same[1]


def test_a_branch_that_has_grown_still_counts(repo: Repository) -> None:
    found = go(repo, 1)
    switch(repo, "digit/sweep-0")
    (repo.root / "notes.txt").write_text("a good one")
    commit(repo, "write it down")
    again = go(repo, 1)
    assert (again.runs[0].attempts, again.runs[0].commit) == (0, found.runs[0].commit)


def test_a_sweep_goes_on_from_where_it_began_though_branches_moved(repo: Repository) -> None:
    go(repo, 1)
    begun = repo.resolve("main")
    (repo.root / "notes.txt").write_text("main goes on")
    commit(repo, "move main")
    found = go(repo, 3)
    assert found.moved
    assert {found.runs[0].run.start, found.runs[2].run.start} == {begun}
    delete_branch(repo, "aux/parity", force=True)
    assert [each.attempts for each in go(repo, 3).runs] == [0, 0, 0]


@pytest.mark.parametrize(
    "other",
    [
        {"hparams": "domainbed"},
        {"training": replace(TRAINING, seed=1)},
        {"training": replace(TRAINING, trial=1)},
        {"training": replace(TRAINING, hyper=replace(HYPER, steps=5))},
        {"training": replace(TRAINING, given={})},
    ],
    ids=str,
)
def test_a_sweep_that_was_begun_otherwise_is_refused(repo: Repository, other: dict) -> None:
    go(repo, 1)
    with pytest.raises(ConflictError) as caught:
        sweep(repo, "digit", STARTS, replace(OPTIONS, **other))
    assert caught.value.kind in ("other-sweep", "other-run")
    with pytest.raises(ConflictError):
        sweep(repo, "digit", ["main"], OPTIONS)
    assert len(commits(repo)) == 1


def test_names_that_are_taken_are_refused_before_anything_is_trained(repo: Repository) -> None:
    create_branch(repo, "digit/sweep-2", "main")
    with pytest.raises(ConflictError, match="something else than run 2"):
        go(repo)
    delete_branch(repo, "digit/sweep-2")
    create_branch(repo, "digit/sweep-1/x", "main")
    with pytest.raises(AlreadyExistsError):
        go(repo)
    assert not repo.refs.read(HEADS + "digit/sweep-0")


def test_a_run_that_fails_is_tried_again_then_reported_and_the_others_are_made(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlgit.porcelain import train_onto

    real = train_onto.train_onto

    def fails(repository: Repository, task: str, branch: str, *values: object, **options: object) -> object:
        if branch == "digit/sweep-1":
            raise JobFailedError("the loss is not finite")
        return real(repository, task, branch, *values, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(train_onto, "train_onto", fails)
        found = go(repo, place=Place(retries=2))
    assert [each.state for each in found.runs] == ["finished", "failed", "finished"]
    assert [each.attempts for each in found.runs] == [1, 3, 1]
    (failed,) = found.failed
    assert failed.log is not None
    assert failed.log.read_text().count("error: the loss is not finite") == 3
    with pytest.raises(JobFailedError, match="run 1 ended with exit code 15 after 3 attempts") as caught:
        found.raise_failed()
    assert str(failed.log) in (caught.value.hint or "")
    assert [each.attempts for each in go(repo).runs] == [0, 1, 0]


def test_options_that_cannot_be_are_refused_and_nothing_is_begun(
    repo: Repository, fingerprint: Callable[[Path], dict[str, str]]
) -> None:
    open_named_task(repo, "digit")
    before = fingerprint(repo.root)
    with pytest.raises(InvalidInputError):
        Place(retries=-1)
    for place in (Place(executor="inline", jobs=2), Place(jobs=0), Place(threads=0)):
        with pytest.raises(InvalidInputError):
            go(repo, place=place)
    assert fingerprint(repo.root) == before


SWEEP = ["sweep", "--task", "digit", "--from", "main", "--from", "aux/parity", "--lr", "1e-3", "--batch-size", "4"]
LONG = [*SWEEP, "--runs", "3", "--steps", "30", "--eval-every", "10", "--freeze-steps", "2", "--save-every", "1"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [["--jobs", "2"], []], ids=["process", "inline"])
def test_a_killed_sweep_goes_on_to_the_same_weights(repo: Repository, tmp_path: Path, how: list[str]) -> None:
    command = [sys.executable, "-m", "mlgit", "-C", str(repo.root), *LONG, *how]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 200
        while not commits(repo) or all(run.step > 25 for run in saved_runs(repo)):  # one finished, another on its way
            assert process.poll() is None, "the sweep ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    before = commits(repo)
    ran = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    runs = json.loads(ran.stdout)["runs"]
    assert [each["state"] for each in runs] == ["finished"] * 3
    assert {each["branch"] for each in runs if each["attempts"] == 0} >= before.keys()
    after = commits(repo)
    assert after.items() >= before.items()
    assert any(repo.commit_of(found).made["resumed_from"] for name, found in after.items() if name not in before)
    assert saved_runs(repo) == []
    assert fsck(repo).sound
    assert main(["-C", str(repo.root), *LONG, "--name", "fresh", "--quiet"]) == 0
    for each in runs:
        fresh = repo.resolve(f"digit/fresh-{each['run']}")
        assert repo.commit_of(fresh).manifest == repo.commit_of(CommitId(each["commit"])).manifest


def test_two_sweeps_of_one_name_do_not_run_at_once(repo: Repository) -> None:
    def tell(state: RunState) -> None:
        if state.state == "running":
            with pytest.raises(ConflictError, match="in progress"):
                go(Repository(repo.root), 1)

    assert go(repo, 1, tell=tell).runs[0].state == "finished"


def test_what_a_process_left_that_was_killed_after_its_commit_is_let_go(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = replace(OPTIONS, runs=1, training=replace(TRAINING, save_every=SaveEvery(steps=1)))
    with monkeypatch.context() as patch:
        patch.setattr(StoredSaves, "drop", lambda _: None)
        sweep(repo, "digit", STARTS, often)
    (left,) = saved_runs(repo)
    assert repo.commit_of(repo.resolve("digit/sweep-0")).made["run"] == left.key
    assert [each.attempts for each in sweep(repo, "digit", STARTS, often).runs] == [0]
    assert saved_runs(repo) == []


def test_the_library_offers_the_same(repo: Repository) -> None:
    by_method = Library(repo.root).sweep("digit", *STARTS, options=OPTIONS, dry_run=True)
    assert by_method == go(repo, dry_run=True)
    assert [each.state for each in by_method.runs] == ["waiting"] * 3
