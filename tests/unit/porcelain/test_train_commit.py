"""Training and committing at once is the same as one after the other, and happens or does not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mlgit.errors import ConflictError, InvalidInputError
from mlgit.objects import Commit
from mlgit.porcelain.commit import commit
from mlgit.porcelain.commit_run import commit_run
from mlgit.porcelain.commit_weights import commit_weights
from mlgit.porcelain.import_ import import_model
from mlgit.porcelain.init import init
from mlgit.porcelain.pending_run import load_run
from mlgit.porcelain.reset import reset
from mlgit.porcelain.saved_runs import saved_runs
from mlgit.porcelain.status import status
from mlgit.porcelain.task import add_task
from mlgit.porcelain.train import TrainOptions, train
from mlgit.porcelain.train_commit import train_and_commit
from mlgit.repository import Repository
from mlgit.training.hyper import HyperParameters

FEW = HyperParameters(lr=1e-3, steps=2, eval_every=2, freeze_steps=1)
OPTIONS = TrainOptions(hyper=FEW, probe_hyper=FEW)


class Killed(BaseException):
    """Stands for what nothing catches."""


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a small network, a task and its probe; nobody changes it."""
    pytest.importorskip("sklearn")
    repository = init(tmp_path_factory.mktemp("untrained") / "model").repository
    add_task(repository, "digit", kind="digits", test_domain="rotate", options={"labels": "digit"})
    import_model(repository, "mlgit:digits-cnn", "untrained")
    train(repository, "digit", options=OPTIONS)
    reset(repository, "HEAD", hard=True)
    return repository.root


@pytest.fixture
def repo(untrained: Path, tmp_path: Path) -> Repository:
    return Repository(Path(shutil.copytree(untrained, tmp_path / "model")))


def stop(repository: object, *_: object, **__: object) -> None:
    raise Killed


def lasting(record: Commit) -> Commit:
    """Return a commit without what differs from run to run."""
    made = {name: value for name, value in record.made.items() if name != "duration_s"}
    return replace(record, made=made, time=replace(record.time, seconds=0))


def test_it_is_the_commit_of_a_run_and_leaves_nothing_waiting(repo: Repository) -> None:
    (repo.root / "more.txt").write_text("more\n")
    start = repo.head
    train(repo, "digit", options=OPTIONS)
    by_hand = commit(repo, "fine-tune on digit", task="digit")
    reset(repo, str(start), hard=True)
    (repo.root / "more.txt").write_text("more\n")
    at_once = train_and_commit(repo, "digit", options=OPTIONS)
    assert lasting(at_once.commit) == lasting(by_hand.commit)
    assert at_once.changes == by_hand.changes
    assert repo.head == at_once.id
    assert status(repo).changes == ()
    assert load_run(repo) is None
    assert saved_runs(repo) == []


def test_one_that_is_stopped_before_its_branch_moves_leaves_nothing_and_can_be_repeated(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, files = repo.head, [path.read_bytes() for path in repo.root.glob("*.safetensors")]
    with monkeypatch.context() as patch:
        patch.setattr(Repository, "advance", stop)
        with pytest.raises(Killed):
            train_and_commit(repo, "digit", options=OPTIONS)
    assert (repo.head, status(repo).changes, load_run(repo)) == (before, (), None)
    assert [path.read_bytes() for path in repo.root.glob("*.safetensors")] == files
    assert train_and_commit(repo, "digit", options=OPTIONS).commit.parents[0].id == before


@pytest.mark.parametrize("message", [" ", "\ud800"])
def test_a_message_that_cannot_be_recorded_is_refused_before_the_run(repo: Repository, message: str) -> None:
    with pytest.raises(InvalidInputError):
        train_and_commit(repo, "no such task", message)


def test_weights_from_python_are_committed_or_not(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    before = repo.head
    with monkeypatch.context() as patch:
        patch.setattr(Repository, "advance", stop)
        with pytest.raises(Killed):
            commit_weights(repo, {"w": torch.zeros(2)}, "mine")
    assert (repo.head, status(repo).changes, load_run(repo)) == (before, (), None)


def test_a_run_is_not_committed_where_head_has_moved(repo: Repository) -> None:
    train(repo, "digit", options=OPTIONS)
    run = load_run(repo)
    assert run is not None
    reset(repo, "HEAD", hard=True)
    expected = replace(repo.refs.head(), branch="refs/heads/elsewhere")
    with pytest.raises(ConflictError, match="HEAD moved"):
        commit_run(repo, {"w": torch.zeros(2)}, run, "mine", expected=expected)
    assert status(repo).changes == ()
