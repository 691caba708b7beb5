"""`train --onto`: what `train` and `commit` would have made, without the working directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlgit.errors import AlreadyExistsError, ConflictError, InvalidInputError
from mlgit.executors.job import Job
from mlgit.objects import Role, Stage
from mlgit.porcelain.branch import create_branch
from mlgit.porcelain.commit import commit
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.saved_runs import saved_runs
from mlgit.porcelain.switch import switch
from mlgit.porcelain.train import TrainOptions, train
from mlgit.porcelain.train_onto import train_onto
from mlgit.repository import HEADS, Repository
from mlgit.training.hyper import HyperParameters
from mlgit.training.snapshot import SaveEvery

HYPER = HyperParameters(lr=1e-3, batch_per_domain=4, steps=6, eval_every=3, freeze_steps=2)
OPTIONS = TrainOptions(hyper=HYPER, seed=5, save_every=SaveEvery(steps=2))
VARYING = {"duration_s", "job", "arguments", "run"}


@pytest.fixture
def repo(day: Path) -> Repository:
    return Repository(day)


@pytest.mark.parametrize(("start", "task"), [("aux/parity", "digit"), ("main", "parity")])
def test_the_commit_is_that_of_a_run_by_hand(repo: Repository, start: str, task: str) -> None:
    made = train_onto(repo, task, "new/one", "by itself", start=start, options=OPTIONS)
    switch(repo, "by-hand", create=True, start=start)
    train(repo, task, options=OPTIONS)
    hand = commit(repo, "by hand", task=task).commit
    assert made.commit.manifest == hand.manifest
    assert (made.commit.parents, made.commit.stage, made.commit.task) == (hand.parents, hand.stage, hand.task)
    assert made.commit.metrics == hand.metrics
    assert {k: v for k, v in made.commit.made.items() if k not in VARYING} == {
        k: v for k, v in hand.made.items() if k not in VARYING
    }
    assert made.commit.message == "by itself"


def test_the_working_directory_and_head_are_left_alone(
    repo: Repository, fingerprint: Callable[[Path], dict[str, str]]
) -> None:
    (repo.root / "model.safetensors").write_bytes(b"not even weights")
    before, head = fingerprint(repo.root), repo.refs.head()
    made = train_onto(repo, "digit", "digit/new", start="main", options=OPTIONS)
    after = fingerprint(repo.root)
    assert {path for path in before if before[path] != after.get(path)} <= {".mlgit/commit-graph"}
    assert all(path.startswith(".mlgit/") for path in after.keys() - before.keys())
    assert repo.refs.head() == head
    assert repo.branches()["digit/new"] == made.id
    assert saved_runs(repo) == []
    assert fsck(repo).sound


def test_the_task_travels_with_the_commit_from_where_it_is_defined(repo: Repository) -> None:
    with (repo.root / "mlgit.toml").open("a") as stream:
        stream.write('\n[tasks.later]\nkind = "digits"\ntest_domain = "blur"\n')
    made = train_onto(repo, "later", "later/1", start="main", options=OPTIONS)
    manifest = repo.manifest(made.commit.manifest)
    (file,) = [file for file in manifest.files if file.path == "mlgit.toml"]
    assert repo.objects.read(file.id) == (repo.root / "mlgit.toml").read_bytes()  # type: ignore[union-attr]


def test_the_record_names_the_job(repo: Repository) -> None:
    words = ("train", "--task", "digit", "--onto", "digit/new")
    made = train_onto(repo, "digit", "digit/new", start="main", options=OPTIONS, arguments=words)
    assert made.commit.made["job"] == Job(words, repo.resolve("main")).identity
    assert made.commit.made["arguments"] == list(words)
    assert [parent.role for parent in made.commit.parents] == [Role.INIT, Role.HEAD]
    assert made.commit.stage is Stage.TARGET


@pytest.mark.parametrize(
    ("branch", "error"),
    [
        ("digit/0", AlreadyExistsError),
        ("digit", AlreadyExistsError),
        ("main/x", AlreadyExistsError),
        ("-x", InvalidInputError),
        ("a..b", InvalidInputError),
    ],
)
def test_a_name_that_cannot_be_had_is_refused_before_training(
    repo: Repository, branch: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlgit.porcelain.train_onto.trained", None)
    with pytest.raises(error):
        train_onto(repo, "digit", branch, start="main", options=OPTIONS)


def test_a_branch_that_comes_to_exist_meanwhile_is_not_overwritten(repo: Repository) -> None:
    class Rude:
        def task(self, title: str, total: int | None = None):  # type: ignore[no-untyped-def]
            if title == "training":
                create_branch(repo, "digit/new", "main")
            from mlgit.progress import NoProgress

            return NoProgress().task(title, total)

    with pytest.raises(ConflictError):
        train_onto(repo, "digit", "digit/new", start="main", options=OPTIONS, progress=Rude())
    assert repo.refs.read(HEADS + "digit/new") == repo.resolve("main")
    assert len(saved_runs(repo)) == 1  # hours are not lost
    made = train_onto(repo, "digit", "digit/newer", start="main", options=OPTIONS)
    assert made.done.resumed_from == 4
    assert saved_runs(repo) == []


def test_weights_that_saw_the_task_are_refused(repo: Repository) -> None:
    with pytest.raises(InvalidInputError, match="itself"):
        train_onto(repo, "digit", "digit/new", start="digit/0", options=OPTIONS)
    assert train_onto(repo, "digit", "digit/new", start="digit/0", options=replace(OPTIONS, again=True)).id
