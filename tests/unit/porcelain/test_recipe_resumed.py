"""Recipes repeated, enlarged, failed, interrupted and killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from recipe_lab import TASK, TEST, TRAINING, go, trained

from mlgit.errors import JobFailedError
from mlgit.porcelain import recipe as module
from mlgit.porcelain import train_onto
from mlgit.porcelain.branch import delete_branch
from mlgit.porcelain.recipe import Place, RunState
from mlgit.porcelain.recipe_results import studies, study_folder
from mlgit.porcelain.saved_runs import saved_runs
from mlgit.recipes.recipe import Selection
from mlgit.repository import Repository

PROGRAM = Path(__file__).with_name("kill_recipes.py")


def refs(repository: Repository) -> dict[str, str]:
    return {name: str(repository.refs.read(name)) for name in repository.refs.names()}


def test_the_same_call_again_changes_no_ref_and_begins_no_run(cooked: Repository) -> None:
    before, (study,) = refs(cooked), studies(cooked)
    told: list[RunState] = []
    found = go(cooked, "all", tell=told.append)
    assert {each.state for each in told} == {"finished"}
    assert len({each.run.branch for each in told}) == len(trained(cooked))
    assert refs(cooked) == before
    assert found.outcomes == study.outcomes
    assert saved_runs(cooked) == []


def test_results_are_found_by_their_branches_when_the_file_is_gone(cooked: Repository) -> None:
    before, (study,) = refs(cooked), studies(cooked)
    (study_folder(cooked, TASK, TEST, "default") / "results.json").unlink()
    assert go(cooked, "all").study == study
    assert refs(cooked) == before


def test_more_runs_are_added_and_none_is_repeated(cooked: Repository) -> None:
    before = refs(cooked)
    told: list[RunState] = []
    found = go(cooked, "soup", "fusing", runs=4, tell=told.append)
    assert [each.run.branch for each in told if each.state == "running"] == [f"{TASK}/plain-3", f"{TASK}/fused-3"]
    assert refs(cooked).items() >= before.items()
    assert {each.branch for each in found.outcomes} == {
        f"{TASK}/{name}-4" for name in ("soup-uniform", "soup-greedy", "fusing-best")
    }
    kept = [each.runs for each in found.study.outcomes if (each.recipe, each.selection) == ("soup", Selection.GREEDY)]
    assert kept == [3, 4]
    fewer = go(cooked, "soup", runs=2)
    assert [each.branch for each in fewer.outcomes] == [f"{TASK}/soup-uniform-2", f"{TASK}/soup-greedy-2"]


def test_a_failing_run_ends_all_and_the_same_call_goes_on(lab: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    real = train_onto.train_onto

    def fails(repository: Repository, task: str, branch: str, *values: object, **options: object) -> object:
        if branch == f"{TASK}/plain-1":
            raise JobFailedError("the loss is not finite")
        return real(repository, task, branch, *values, **options)  # type: ignore[arg-type]

    def looks(*_: object, **__: object) -> None:
        raise AssertionError("the test domain was read")

    with monkeypatch.context() as patch:
        patch.setattr(train_onto, "train_onto", fails)
        patch.setattr(module, "_final_evaluation", looks)
        with pytest.raises(JobFailedError, match="1 of 2 runs failed; run 1 ended with exit code 15 after 3 attempts"):
            go(lab, "vanilla", runs=2, place=Place(retries=2))
    assert trained(lab).keys() == {f"{TASK}/plain-0"}
    assert studies(lab) == ()
    assert f"{TASK}/vanilla-best-2" not in lab.branches()
    told: list[RunState] = []
    go(lab, "vanilla", runs=2, tell=told.append)
    assert [each.run.branch for each in told if each.state == "running"] == [f"{TASK}/plain-1"]


def test_failing_auxiliary_runs_end_all_before_the_target_is_trained(lab: Repository) -> None:
    hopeless = replace(TRAINING, given={**TRAINING.given, "lr": 1e30})
    with pytest.raises(JobFailedError, match="2 of 2 runs failed") as caught:
        go(lab, "ratatouille", runs=2, auxiliaries=("dots",), training=hopeless, place=Place(retries=0))
    assert (caught.value.exit_code, caught.value.kind) == (15, "run-failed")
    assert trained(lab) == {}


def test_a_run_that_was_taken_away_is_made_again_alone(cooked: Repository) -> None:
    before = refs(cooked)
    weights = cooked.manifest_of(cooked.resolve(f"{TASK}/inter-2"))
    delete_branch(cooked, f"{TASK}/inter-2", force=True)
    told: list[RunState] = []
    go(cooked, "inter-training", runs=3, tell=told.append)
    assert [each.run.branch for each in told if each.state == "running"] == [f"{TASK}/inter-2"]
    assert cooked.manifest_of(cooked.resolve(f"{TASK}/inter-2")) == weights
    changed = {name for name, value in refs(cooked).items() if before.get(name) != value}
    assert changed == {f"refs/heads/{TASK}/inter-2"}


def test_what_is_interrupted_between_selection_and_evaluation_goes_on(
    lab: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_final_evaluation", stop)
        with pytest.raises(KeyboardInterrupt):
            go(lab, "soup", "wise", runs=2)
    before = refs(lab)
    assert studies(lab) == ()
    told: list[RunState] = []
    found = go(lab, "soup", "wise", runs=2, tell=told.append)
    assert {each.state for each in told} == {"finished"}
    assert refs(lab) == before
    assert len(found.outcomes) == 3


@pytest.mark.slow
def test_a_recipe_that_is_killed_goes_on_to_the_same_weights(
    lab_once: Path, fast_path: Path, count: Callable[[int, int], int]
) -> None:
    kills = count(5, 200)
    for seed in range(count(1, 10)):
        folder = fast_path / str(seed)
        folder.mkdir()
        command = [sys.executable, str(PROGRAM), str(lab_once), str(folder), str(seed), str(kills)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        seen = json.loads(ran.stdout)
        assert seen["kills"] >= 2
        assert seen["kept"] >= 2
