"""What recipes refuse, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from recipe_lab import HYPER, TASK, TEST, TRAINING, TRUSTED, go, trained

from mlgit.errors import (
    AlreadyExistsError,
    ConflictError,
    FileSystemError,
    InvalidInputError,
    MlgitError,
    NotFoundError,
)
from mlgit.porcelain import recipe as module
from mlgit.porcelain.branch import create_branch, delete_branch
from mlgit.porcelain.recipe import Place, RunState
from mlgit.porcelain.recipe_results import study_folder, write_study
from mlgit.porcelain.task import add_task
from mlgit.recipes.recipe import Selection
from mlgit.repository import Repository
from mlgit.storage.sealed import seal
from mlgit.training.method import Method

Fingerprint = Callable[[Path], dict[str, str]]


def data_of(repository: Repository, name: str, **options: object) -> None:
    add_task(repository, name, kind="python:watched_task:make", options=options, runtime=TRUSTED)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "values", "error", "kind", "said"),
    [
        (["ratatouille"], {"auxiliaries": ()}, InvalidInputError, "no-auxiliary", "'ratatouille' recycles runs"),
        (["soup"], {"auxiliaries": ("again",)}, InvalidInputError, "auxiliary-is-target", "'again' has the data of"),
        (["soup"], {"task": "dots"}, InvalidInputError, "no-test-domain", "task 'dots' has no test domain"),
        (["soop"], {}, NotFoundError, None, "soop"),
        ([], {}, InvalidInputError, "no-recipe", "no recipe is named"),
        (["soup"], {"domain": "d"}, NotFoundError, "unknown-domain", "has no domain 'd'"),
        (["soup"], {"task": "shape"}, NotFoundError, "unknown-task", "no task is named 'shape'"),
        (["soup"], {"auxiliaries": ("dotz",)}, NotFoundError, "unknown-task", "no task is named 'dotz'"),
        (["soup"], {"start": "nowhere"}, NotFoundError, "unknown-revision", "nowhere"),
        (["swad"], {"collect": ()}, InvalidInputError, "no-average", "needs the swad average"),
        (["robust-ratatouille"], {"collect": ("swad",)}, InvalidInputError, "no-average", "needs the moving average"),
        (["soup"], {"name": "../x"}, InvalidInputError, "bad-name", "cannot name a study"),
        (["soup"], {"name": ""}, InvalidInputError, "bad-name", "cannot name a study"),
        (["soup"], {"hparams": "mildest"}, NotFoundError, "unknown-space", "mildest"),
        (["soup"], {"hparams": "none.toml"}, FileSystemError, None, "none.toml"),
        (["soup"], {"place": Place(executor="inlin")}, NotFoundError, None, "inlin"),
        (["soup"], {"place": Place(executor="inline", jobs=2)}, InvalidInputError, "bad-jobs", "not 2 at once"),
        (["soup"], {"runs": 0}, InvalidInputError, "bad-number", "0 runs"),
        (["soup"], {"auxiliary_runs": 0}, InvalidInputError, "bad-number", "0 runs"),
        (["soup"], {"auxiliaries": ("dots", "dots")}, InvalidInputError, "task-twice", "named twice"),
        (["soup"], {"training": replace(TRAINING, trial=-1)}, InvalidInputError, None, "-1"),
        (["soup"], {"lmc": "sometimes"}, InvalidInputError, None, "sometimes"),
        (["soup"], {"collect": ("movink",)}, NotFoundError, None, "movink"),
        (
            ["soup"],
            {"training": replace(TRAINING, method=Method(loss="coral"))},
            InvalidInputError,
            "recipe-chooses",
            "the loss",
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    lab: Repository,
    fingerprint: Fingerprint,
    names: list[str],
    values: dict[str, object],
    error: type[MlgitError],
    kind: str | None,
    said: str,
) -> None:
    data_of(lab, "again", called="again")
    before = fingerprint(lab.root)
    with pytest.raises(error) as caught:
        go(lab, *names, **values)
    assert said in caught.value.message
    assert kind in (None, caught.value.kind)
    assert fingerprint(lab.root) == before


@pytest.mark.parametrize("target", [TASK, f"{TASK}@b"])
def test_an_auxiliary_task_with_another_test_domain_of_the_target_is_refused(lab: Repository, target: str) -> None:
    with pytest.raises(InvalidInputError, match="has the data of"):
        go(lab, "soup", task=target, auxiliaries=(f"{TASK}@a",))


@pytest.mark.parametrize(
    "branch",
    [
        f"{TASK}/soup-uniform-3",
        f"{TASK}/soup-greedy-3/x",
        f"{TASK}/vanilla-best-3",
        f"{TASK}/probe",
        f"{TASK}/fused-start-1",
        f"{TASK}/fused-2/x",
        f"{TASK}/moving/plain-1",
        f"{TASK}/plain-2",
        "lines/aux-1",
    ],
)
def test_a_name_that_is_taken_is_refused_before_anything_is_trained(lab: Repository, branch: str) -> None:
    create_branch(lab, branch, "main")
    refs = set(lab.refs.names())
    with pytest.raises((AlreadyExistsError, ConflictError)) as caught:
        go(lab, "probe", "vanilla", "soup", "fusing")
    assert branch.removesuffix("/x") in caught.value.message
    assert set(lab.refs.names()) == refs
    delete_branch(lab, branch, force=True)


@pytest.mark.parametrize(
    "values",
    [
        {"training": replace(TRAINING, hyper=replace(HYPER, steps=7))},
        {"training": replace(TRAINING, seed=1)},
        {"hparams": "mild"},
        {"collect": ("moving",)},
    ],
    ids=lambda values: str(values)[:20],
)
def test_other_options_are_refused_where_runs_were_made(
    cooked: Repository, fingerprint: Fingerprint, values: dict[str, object]
) -> None:
    before = fingerprint(cooked.root)
    with pytest.raises(ConflictError, match="holds something else than run") as caught:
        go(cooked, "soup", "ratatouille", runs=5, auxiliary_runs=3, **values)
    assert "--name" in (caught.value.hint or "")
    assert fingerprint(cooked.root) == before


def test_another_way_of_measuring_paths_is_refused_where_averages_were_made(cooked: Repository) -> None:
    refs = {name: cooked.refs.read(name) for name in cooked.refs.names()}
    with pytest.raises(AlreadyExistsError, match="soup-uniform-3' holds something else than this result"):
        go(cooked, "soup", lmc="off")
    assert {name: cooked.refs.read(name) for name in cooked.refs.names()} == refs


def test_two_studies_of_one_name_do_not_run_at_once(lab: Repository) -> None:
    seen = []

    def tell(state: RunState) -> None:
        if state.state == "running":
            with pytest.raises(ConflictError, match="recipes of this study are in progress") as caught:
                go(Repository(lab.root), "vanilla", runs=1)
            seen.append(caught.value.exit_code)

    go(lab, "vanilla", runs=1, tell=tell)
    assert seen == [12]
    assert trained(lab).keys() == {f"{TASK}/plain-0"}


def test_results_that_another_process_just_kept_are_not_lost(
    cooked: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = study_folder(cooked, TASK, TEST, "default")
    complete = module.read_study(folder)
    assert complete is not None
    write_study(folder, replace(complete, outcomes=()))
    real = module.studying

    def enter_late(where: Path) -> object:
        write_study(where, complete)  # as a process did that held the lock until now
        return real(where)

    monkeypatch.setattr(module, "studying", enter_late)
    found = go(cooked, "vanilla")
    assert len(found.study.outcomes) == len(complete.outcomes) > 10


def test_damaged_results_are_refused_and_made_anew_once_they_are_removed(cooked: Repository) -> None:
    path = study_folder(cooked, TASK, TEST, "default") / "results.json"
    whole = path.read_bytes()
    told: list[RunState] = []
    for damaged in (
        whole[: len(whole) // 2],
        b"",
        whole.replace(b"vanilla", b"vanille", 1),
        seal(b"[]"),
        seal(b"{}"),
        b"\xff" * 20,
    ):
        path.write_bytes(damaged)
        with pytest.raises(InvalidInputError, match=r"results\.json' cannot be read") as caught:
            go(cooked, "vanilla", tell=told.append)
        assert caught.value.kind == "bad-study"
    assert told == []
    path.unlink()
    found = go(cooked, "vanilla", tell=told.append)
    assert {each.state for each in told} == {"finished"}
    assert [(each.recipe, each.selection) for each in found.study.outcomes] == [("vanilla", Selection.BEST)]
