"""Averages that a run collects beside what it leaves: a branch of its own for each, and all of them or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mlgit.errors import AlreadyExistsError, InvalidInputError, NotFoundError
from mlgit.objects import Commit, Stage, TensorId
from mlgit.porcelain.branch import create_branch, delete_branch
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.open_model import open_named_task
from mlgit.porcelain.run_saves import run_key
from mlgit.porcelain.saved_runs import saved_runs
from mlgit.porcelain.sweep import SweepOptions, sweep
from mlgit.porcelain.sweep_plan import training_arguments
from mlgit.porcelain.train import TrainOptions, _inputs, train
from mlgit.porcelain.train_onto import OntoResult, collected_branch, train_onto
from mlgit.progress import NoProgress
from mlgit.repository import Repository
from mlgit.training.hyper import HyperParameters
from mlgit.training.method import Method
from mlgit.training.record import package_versions
from mlgit.training.snapshot import SaveEvery

HYPER = HyperParameters(lr=3e-3, batch_per_domain=4, steps=9, eval_every=2, freeze_steps=2)
METHOD = Method(average_from=1, swad_converge=2, swad_patience=9)
OPTIONS = TrainOptions(hyper=HYPER, seed=5, save_every=SaveEvery(steps=2), method=METHOD)
COLLECTING = replace(OPTIONS, collect=("moving", "swad"))
OF_ONE_RUN = {"duration_s", "run", "collected", "resumed_from"}


@pytest.fixture
def repo(day: Path) -> Repository:
    return Repository(day)


def weights_of(repository: Repository, commit: Commit) -> dict[str, TensorId]:
    return {name: entry.id for name, entry in repository.manifest(commit.manifest).tensors.items()}


def onto(repository: Repository, branch: str, options: TrainOptions, **values: object) -> OntoResult:
    return train_onto(repository, "digit", branch, start="aux/parity", options=options, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("branch", "wanted"), [("a/b/run-3", "a/b/moving/run-3"), ("run", "moving/run"), ("a/b", "a/moving/b")]
)
def test_a_collected_average_stands_beside_its_run(branch: str, wanted: str) -> None:
    assert collected_branch(branch, "moving") == wanted


@pytest.mark.parametrize("keep", ["best", "last"])
def test_each_collected_commit_is_that_of_a_run_with_this_average(repo: Repository, keep: str) -> None:
    options = replace(COLLECTING, keep=keep)  # type: ignore[arg-type]
    made = onto(repo, "d/run-3", options, arguments=("train", "it"))
    assert made.collected.keys() == {"moving", "swad"}
    plain = onto(repo, "d/plain", replace(options, collect=()), arguments=("train", "it"))
    assert plain.commit.manifest == made.commit.manifest
    assert {**made.commit.made, "duration_s": 0, "run": 0} == {**plain.commit.made, "duration_s": 0, "run": 0}
    for name, commit_id in made.collected.items():
        assert repo.branches()[f"d/{name}/run-3"] == commit_id
        found = repo.commit_of(commit_id)
        own = onto(repo, f"d/own-{name}", replace(options, collect=(), method=replace(METHOD, average=name))).commit
        assert weights_of(repo, found) == weights_of(repo, own) != weights_of(repo, made.commit)
        assert (found.parents, found.stage, found.task, found.metrics) == (
            own.parents,
            own.stage,
            own.task,
            own.metrics,
        )
        assert found.made["collected"] == name
        assert found.made["run"] == made.done.key == made.commit.made["run"]
        assert found.made["job"] == made.commit.made["job"]
        assert {key: value for key, value in found.made.items() if key not in OF_ONE_RUN | {"job", "arguments"}} == {
            key: value for key, value in own.made.items() if key not in OF_ONE_RUN
        }
    assert fsck(repo).sound


def test_what_is_collected_is_part_of_the_run_only_when_there_is_any(repo: Repository) -> None:
    keys = [
        onto(repo, f"new/{number}", replace(OPTIONS, collect=collect)).done.key
        for number, collect in enumerate([(), ("moving",), ("moving", "swad"), ("swad", "moving")])
    ]
    assert len(set(keys)) == 3
    inputs = _inputs(
        open_named_task(repo, "digit"),
        repo.commit_of(repo.branches()["new/0"]).parents,
        Stage.TARGET,
        OPTIONS,
        torch.device("cpu"),
        package_versions(),
    )
    assert "collect" not in inputs
    assert run_key(inputs) == keys[0]
    assert run_key(inputs | {"collect": ["moving", "swad"]}) == keys[2]
    assert keys[2] == keys[3]
    options = training_arguments(OPTIONS)
    assert "--collect" not in options
    assert training_arguments(COLLECTING) == (
        *options[: options.index("--save-every")],
        *("--collect", "moving", "--collect", "swad"),
        *options[options.index("--save-every") :],
    )


@pytest.mark.parametrize(
    ("collect", "error"),
    [
        (("none",), InvalidInputError),
        (("moving", "moving"), InvalidInputError),
        (("swad", "moving"), InvalidInputError),
        (("movink",), NotFoundError),
    ],
)
def test_what_cannot_be_collected_is_refused(collect: tuple[str, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        TrainOptions(collect=collect, method=Method(average="swad"))


def test_without_branches_nothing_is_collected(repo: Repository) -> None:
    with pytest.raises(InvalidInputError, match="--collect") as error:
        train(repo, "digit", start="main", options=COLLECTING)
    assert error.value.kind == "usage"


class NoTraining(NoProgress):
    """Lets nothing begin."""

    @contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[NoTraining]:  # type: ignore[override]
        raise AssertionError(title)


@pytest.mark.parametrize(
    ("branch", "taken"),
    [
        ("d/run", "d/moving/run"),
        ("d/run", "d/swad/run"),
        ("d/run", "d/moving"),
        ("d/run", "d/swad/run/deeper"),
        ("d/moving", None),
    ],
)
def test_a_name_that_is_taken_is_refused_before_training(repo: Repository, branch: str, taken: str | None) -> None:
    if taken is not None:
        create_branch(repo, taken, "main")
    before = repo.branches()
    with pytest.raises(AlreadyExistsError):
        onto(repo, branch, COLLECTING, progress=NoTraining())
    assert repo.branches() == before


def test_a_collected_branch_of_another_run_is_not_taken_over(repo: Repository) -> None:
    onto(repo, "d/run", COLLECTING)
    delete_branch(repo, "d/run", force=True)
    before = repo.branches()
    with pytest.raises(AlreadyExistsError):
        onto(repo, "d/run", replace(COLLECTING, seed=6), progress=NoProgress())
    assert repo.branches() == before
    again = onto(repo, "d/run", COLLECTING)
    assert repo.branches()["d/moving/run"] == again.collected["moving"]


class Killed(BaseException):
    """Ends a run as nothing else does."""


@pytest.mark.parametrize("moves", range(4))
def test_a_run_killed_between_its_branches_ends_with_all_of_them(
    repo: Repository, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    whole = onto(repo, "d/other", COLLECTING)
    update: Callable[..., None] = repo.refs.update
    done: list[str] = []

    def dies(name: str, *values: object, **named: object) -> None:
        if len(done) == moves:
            raise Killed
        done.append(name)
        update(name, *values, **named)

    with monkeypatch.context() as patch:
        patch.setattr(repo.refs, "update", dies)
        if moves < 3:
            with pytest.raises(Killed):
                onto(repo, "d/run", COLLECTING)
        else:
            onto(repo, "d/run", COLLECTING)
    order = ["d/moving/run", "d/swad/run", "d/run"]
    assert [name for name in order if name in repo.branches()] == order[:moves]
    if moves < 3:
        assert len(saved_runs(repo)) == 1
        assert onto(repo, "d/run", COLLECTING).done.resumed_from == 8
    for name, other in zip(order, ["d/moving/other", "d/swad/other", "d/other"], strict=True):
        found, wanted = (repo.commit_of(repo.branches()[each]) for each in (name, other))
        assert found.manifest == wanted.manifest
    assert whole.done.key == repo.commit_of(repo.branches()["d/run"]).made["run"]
    assert saved_runs(repo) == []
    assert fsck(repo).sound


def test_the_runs_of_a_sweep_collect_too(repo: Repository) -> None:
    options = SweepOptions(runs=2, name="s", training=replace(COLLECTING, keep="last"))
    found = sweep(repo, "digit", ["main"], options)
    found.raise_failed()
    for run in (0, 1):
        commits = [repo.commit_of(repo.branches()[f"digit/{part}s-{run}"]) for part in ("", "moving/", "swad/")]
        assert len({commit.manifest for commit in commits}) == 3
        assert {commit.made["job"] for commit in commits} == {found.runs[run].run.job.identity}
        assert len({commit.made["run"] for commit in commits}) == 1
    before = repo.branches()
    assert [each.attempts for each in sweep(repo, "digit", ["main"], options).runs] == [0, 0]
    assert repo.branches() == before
