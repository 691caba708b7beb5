"""No recipe reads the test domain before all is made and selected, seen from the data themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import watched_task
from recipe_lab import TASK, TEST, TRAINING, TRUSTED, Read, go, reads, trained

from mlgit.errors import JobFailedError
from mlgit.porcelain import recipe, recipe_select
from mlgit.porcelain.evaluate import evaluate
from mlgit.porcelain.recipe import RECIPES, Place, RecipeResult
from mlgit.porcelain.recipe_select import Candidate
from mlgit.repository import Repository

OPENING = {("labels", "_check_labels"), ("digest", "data_digest")}
"""All that is read of the test domain when a task is opened: the range of its labels, and what they are digested to."""
SMALL = {"runs": 2, "auxiliaries": ("dots",), "auxiliary_runs": 1}


@pytest.fixture(autouse=True)
def watched(lab: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHED", str(lab.root))


def first_look(found: list[Read]) -> int | None:
    """Return at which line the test domain is read for more than opening the task."""
    return next(
        (
            place
            for place, read in enumerate(found)
            if (read.task, read.domain) == (TASK, TEST) and (read.what, read.by) not in OPENING
        ),
        None,
    )


def problems(found: list[Read], final: str) -> list[str]:
    """Return what speaks against: all runs and results first, then the test domain, then nothing more."""
    look = first_look(found)
    if look is None:
        return ["the test domain was not read at all"]
    before, after = found[:look], found[look:]
    said = [] if after[0].refs == final else ["it was read before all runs and results were made"]
    if not any(read.what in ("images", "augmented") for read in before):
        said.append("nothing was trained or measured before")
    said += [f"{read.task} {read.domain}: {read.what} after it" for read in after if read.domain != TEST]
    return said + [f"the refs changed after it by {read.by}" for read in after if read.refs != final]


def state(repository: Repository) -> str:
    return watched_task.refs(repository.folder)


def shown(found: RecipeResult) -> set[str]:
    return {each.recipe for each in found.outcomes}


@pytest.mark.parametrize("name", RECIPES.names())
def test_the_test_domain_is_read_when_all_is_selected_and_nothing_after_it(lab: Repository, name: str) -> None:
    found = go(lab, name, **SMALL)
    seen = reads(lab.root)
    assert shown(found) == {name}
    assert problems(seen, state(lab)) == []
    look = first_look(seen)
    assert look is not None
    assert {read.what for read in seen[look:]} == {"images", "labels", "digest"}
    assert {(read.what, read.by) for read in seen[:look] if (read.task, read.domain) == (TASK, TEST)} == OPENING


@pytest.mark.slow
def test_the_same_holds_for_all_recipes_in_processes_of_their_own(lab: Repository) -> None:
    found = go(lab, "all", **SMALL, place=Place(executor="process", jobs=2, threads=1))
    assert shown(found) == set(RECIPES.names())
    assert problems(reads(lab.root), state(lab)) == []


def test_a_later_recipe_of_the_same_study_reads_it_at_its_end_too(lab: Repository) -> None:
    go(lab, "vanilla", **SMALL)
    reads(lab.root)
    go(lab, "vanilla", **SMALL)
    again = reads(lab.root)
    assert not [read for read in again if read.what in ("images", "augmented")], "predictions are remembered"
    go(lab, "soup", **SMALL)
    assert problems(reads(lab.root), state(lab)) == []


@pytest.mark.parametrize("name", ["vanilla", "wise"])
def test_a_selection_that_looks_at_the_test_domain_is_found_out(
    lab: Repository, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def by_the_test_domain(candidates: list[Candidate]) -> Candidate:
        scores = evaluate(lab, [each.commit for each in candidates], task=TASK, split="test", runtime=TRUSTED).scores
        return max(candidates, key=lambda each: scores[each.commit].accuracy)

    monkeypatch.setattr(recipe_select, "best_of", by_the_test_domain)
    go(lab, name, **SMALL)
    assert "it was read before all runs and results were made" in problems(reads(lab.root), state(lab))


def test_data_read_after_the_test_domain_are_found_out(lab: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    real = recipe.write_study

    def measures_once_more(folder: object, study: object) -> None:
        evaluate(lab, ["shapes/probe"], task=TASK, split="validation", runtime=TRUSTED)
        real(folder, study)  # type: ignore[arg-type]

    monkeypatch.setattr(recipe, "write_study", measures_once_more)
    go(lab, "probe", **SMALL)
    assert [line for line in problems(reads(lab.root), state(lab)) if "after it" in line]


def test_runs_that_fail_leave_the_test_domain_unread(lab: Repository) -> None:
    hopeless = replace(TRAINING, given={**TRAINING.given, "lr": 1e30})
    with pytest.raises(JobFailedError, match="2 of 2 runs failed; run 0 ended with exit code 15") as caught:
        go(lab, "soup", **SMALL, training=hopeless)
    assert caught.value.exit_code == 15
    assert trained(lab) == {}
    seen = reads(lab.root)
    assert any(read.what == "augmented" for read in seen)
    assert first_look(seen) is None
    assert not list(lab.folder.glob("recipes/**/results.json"))
