"""What recipes come to, against numpy and a network built by hand."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from recipe_lab import TASK, TEST, TRUSTED, go
from watched_task import make

from mlgit.models.digits_cnn import DigitsCNN
from mlgit.objects import CommitId, Role, Stage
from mlgit.porcelain.evaluate import evaluate
from mlgit.porcelain.recipe import RECIPES
from mlgit.porcelain.recipe_results import studies
from mlgit.recipes.recipe import FAMILIES, Selection
from mlgit.recipes.results import Outcome, Run
from mlgit.repository import Repository
from mlgit.weights.stored import load

Weights = Mapping[str, np.ndarray]
AVERAGES = [
    (name, selection)
    for name in ("soup", "ratatouille", "robust-ratatouille")
    for selection in (Selection.UNIFORM, Selection.GREEDY)
]
ONE_OF_ALL = [name for name in RECIPES.names() if RECIPES.get(name).selections == (Selection.BEST,)]


class Bench:
    """Loads commits and scores weights, with nothing of the code that recipes are made by but the network itself."""

    def __init__(self, root: Path) -> None:
        self.repository = Repository(root)
        (self.study,) = studies(self.repository)
        self.module = DigitsCNN(num_classes=3).eval()
        self.data = {domain.name: (domain.inner.inputs, domain.inner.labels) for domain in make(None).domains}

    @cache  # noqa: B019 - lives as long as the tests of this file
    def weights(self, commit_id: CommitId) -> Weights:
        found = load(self.repository.objects, self.repository.manifest_of(commit_id))
        return {name: tensor.numpy() for name, tensor in found.items()}

    def held_out(self, number: int, size: int, trial: int = 0) -> np.ndarray:
        seed = int(hashlib.md5(str((trial, number)).encode(), usedforsecurity=False).hexdigest(), 16) % 2**31
        keys = np.arange(size)
        np.random.RandomState(seed).shuffle(keys)
        return keys[: int(size * 0.2)]

    @torch.no_grad()
    def probabilities(self, weights: Weights, domain: str) -> np.ndarray:
        self.module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
        logits = self.module(self.data[domain][0]).double().numpy()
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def hits(self, members: Sequence[Weights], domain: str) -> np.ndarray:
        mean = np.mean([self.probabilities(each, domain) for each in members], axis=0)
        return mean.argmax(axis=1) == self.data[domain][1].numpy()

    def inside(self, *members: Weights, trial: int = 0) -> list[np.ndarray]:
        sizes = {"a": 0, "b": 1}
        return [
            self.hits(members, name)[self.held_out(number, len(self.data[name][1]), trial)]
            for name, number in sizes.items()
        ]

    def macro(self, *members: Weights) -> float:
        return float(np.mean([each.mean() for each in self.inside(*members)]))

    def micro(self, *members: Weights) -> float:
        return float(np.concatenate(self.inside(*members)).mean())

    def outcome(self, name: str, selection: Selection) -> Outcome:
        (found,) = (each for each in self.study.outcomes if (each.recipe, each.selection) == (name, selection))
        return found


@pytest.fixture(scope="module")
def bench(cooked_once: Path, memory: Path) -> Bench:
    return Bench(Path(shutil.copytree(cooked_once, memory / "bench")))


def mean(members: Sequence[Weights]) -> dict[str, np.ndarray]:
    """Return the mean in float64, rounded once; whole numbers are those of the first."""
    return {
        name: value
        if not np.issubdtype(value.dtype, np.floating)
        else np.mean([each[name].astype(np.float64) for each in members], axis=0).astype(value.dtype)
        for name, value in members[0].items()
    }


def same(found: Weights, wanted: Weights) -> bool:
    return found.keys() == wanted.keys() and all(
        found[name].dtype == wanted[name].dtype and found[name].tobytes() == wanted[name].tobytes() for name in wanted
    )


def first_best(runs: Sequence[Run]) -> Run:
    best = runs[0]
    for run in runs[1:]:
        if run.id_accuracy > best.id_accuracy:
            best = run
    return best


def test_every_recipe_has_its_results_and_the_paper_its_order(bench: Bench) -> None:
    wanted = [
        (name, selection)
        for name in (
            *("probe", "vanilla", "coral", "swad", "moving-average", "wise", "ensemble", "soup", "inter-training"),
            *("ensemble-inter-training", "fusing", "ratatouille", "robust-inter-training", "robust-ratatouille"),
        )
        for selection in RECIPES.get(name).selections
        if selection is not Selection.ALL_SPLITS
    ]
    assert [(each.recipe, each.selection) for each in bench.study.outcomes] == wanted
    assert {each.trial for each in bench.study.outcomes} == {0}
    assert (bench.study.task, bench.study.domain, bench.study.name) == (TASK, TEST, "default")


def test_runs_differ_or_these_laws_would_say_little(bench: Bench) -> None:
    for name in ("vanilla", "inter-training", "coral"):
        runs = bench.outcome(name, Selection.BEST).candidates
        assert len({run.id_accuracy for run in runs}) > 1
        assert len({run.test.correct for run in runs}) > 1
    assert len(bench.outcome("ratatouille", Selection.GREEDY).members) == 2


@pytest.mark.parametrize("name", ONE_OF_ALL)
def test_the_best_run_has_the_highest_recorded_accuracy_and_is_the_first_of_equals(bench: Bench, name: str) -> None:
    found = bench.outcome(name, Selection.BEST)
    if name == "probe":
        assert (found.candidates, list(found.members)) == ((), [found.commit])
        assert bench.repository.commit_of(CommitId(found.commit or "")).stage is Stage.PROBE
        return
    assert [run.number for run in found.candidates] == [0, 1, 2]
    for run in found.candidates:
        assert run.id_accuracy == bench.repository.commit_of(run.commit).metrics["id_accuracy"]
    winner = first_best(found.candidates)
    assert (found.commit, dict(found.members), found.id_accuracy) == (
        winner.commit,
        {winner.commit: 1.0},
        winner.id_accuracy,
    )
    assert bench.repository.branches()[found.branch or ""] == winner.commit


def test_each_candidate_is_as_accurate_as_a_network_built_by_hand_says(bench: Bench) -> None:
    runs = {run.commit: run for each in bench.study.outcomes for run in each.candidates}
    assert len(runs) == 3 * 3 + 3 + 2 + 2 + 3  # plain with two averages, coral, inter, robust, fused
    for run in runs.values():
        weights = bench.weights(run.commit)
        assert run.id_accuracy == pytest.approx(bench.macro(weights), abs=1e-12)
        assert run.test.correct == bench.hits([weights], TEST).sum()
        assert run.test.examples == 40


@pytest.mark.parametrize("name", ["soup", "ratatouille", "robust-ratatouille"])
def test_uniform_is_the_float64_mean_of_the_members_bit_for_bit(bench: Bench, name: str) -> None:
    found = bench.outcome(name, Selection.UNIFORM)
    ids = [run.commit for run in found.candidates]
    assert dict(found.members) == dict.fromkeys(ids, pytest.approx(1 / 3, abs=1e-15))
    members = [bench.weights(each) for each in ids]
    assert not same(members[0], members[1])
    assert same(bench.weights(CommitId(found.commit or "")), mean(members))


@pytest.mark.parametrize("name", ["soup", "ratatouille", "robust-ratatouille"])
def test_greedy_redone_by_hand_takes_the_same_members(bench: Bench, name: str) -> None:
    found = bench.outcome(name, Selection.GREEDY)
    weights = {run.commit: bench.weights(run.commit) for run in found.candidates}
    order = list(bench.repository.commit_of(CommitId(found.commit or "")).made["coefficients"])  # type: ignore[arg-type]
    assert set(order) == set(weights)
    ranking = sorted(map(CommitId, order), key=lambda each: -bench.macro(weights[each]))
    kept: list[CommitId] = []
    bar = -1.0
    for each in ranking:
        reached = bench.micro(mean([weights[one] for one in [*kept, each]]))
        if reached >= bar:
            kept.append(each)
            bar = reached
    assert found.members.keys() == set(kept)
    assert set(found.members.values()) == {1 / len(kept)}
    assert same(bench.weights(CommitId(found.commit or "")), mean([weights[each] for each in kept]))


@pytest.mark.parametrize("name", ["ensemble", "ensemble-inter-training"])
def test_an_ensemble_predicts_by_the_mean_of_the_probabilities(bench: Bench, name: str) -> None:
    found = bench.outcome(name, Selection.UNIFORM)
    members = [bench.weights(run.commit) for run in found.candidates]
    assert list(found.members) == [run.commit for run in found.candidates]
    assert (found.commit, found.branch, found.connectivity) == (None, None, None)
    assert found.test.correct == bench.hits(members, TEST).sum()
    assert found.id_accuracy == pytest.approx(bench.macro(*members), abs=1e-12)


def test_wise_is_the_combination_that_it_claims_and_the_best_of_those_it_tried(bench: Bench) -> None:
    found = bench.outcome("wise", Selection.INTERPOLATED)
    best = bench.outcome("vanilla", Selection.BEST).commit or ""
    probe = bench.outcome("probe", Selection.BEST).commit or ""
    tuned, pretrained = bench.weights(CommitId(best)), bench.weights(CommitId(probe))

    def point(share: float) -> Weights:
        return {
            name: value
            if not np.issubdtype(value.dtype, np.floating)
            else (value.astype(np.float64) * (1 - share) + pretrained[name].astype(np.float64) * share).astype("f4")
            for name, value in tuned.items()
        }

    reached = [bench.micro(point(step / 10)) for step in range(11)]
    share = reached.index(max(reached)) / 10
    assert 0 < share < 1, "both ends take part"
    assert dict(found.members) == pytest.approx({best: 1 - share, probe: share})
    weights = bench.weights(CommitId(found.commit or ""))
    for name, value in point(share).items():
        np.testing.assert_allclose(weights[name], value, rtol=3e-7, atol=1e-9)


def test_shares_sum_to_one_and_results_say_what_evaluate_says(bench: Bench) -> None:
    for each in bench.study.outcomes:
        assert sum(each.members.values()) == pytest.approx(1, abs=1e-12), each.recipe
        if each.commit is None:
            continue
        (test,) = evaluate(bench.repository, [each.commit], task=TASK, split="test", runtime=TRUSTED).scores.values()
        (inside,) = evaluate(bench.repository, [each.commit], task=TASK, runtime=TRUSTED).scores.values()
        assert (each.test.correct, each.test.value) == (int(test.correct.sum()), test.accuracy)
        assert each.id_accuracy == pytest.approx(inside.macro, abs=1e-12)
        weights = bench.weights(each.commit)
        assert each.id_accuracy == pytest.approx(bench.macro(weights), abs=1e-12)
        assert each.test.correct == bench.hits([weights], TEST).sum()


@pytest.mark.parametrize(("name", "selection"), AVERAGES)
def test_an_average_is_a_merge_of_its_members_alone_and_says_of_their_paths(
    bench: Bench, name: str, selection: Selection
) -> None:
    found = bench.outcome(name, selection)
    commit = bench.repository.commit_of(CommitId(found.commit or ""))
    assert commit.stage is Stage.MERGE
    assert {parent.id: parent.coefficient for parent in commit.parents} == dict(found.members)
    assert {parent.role for parent in commit.parents} == {Role.MERGE}
    assert found.connectivity in ("holds", "undecided", "violated")
    curves = commit.made["lmc"]["curves"]  # type: ignore[call-overload, index]
    assert len(curves) == len(found.members) * (len(found.members) - 1) // 2
    assert commit.made["recipe"]["name"] == name  # type: ignore[call-overload, index]


def test_averages_along_runs_belong_to_the_runs(bench: Bench) -> None:
    runs = bench.outcome("vanilla", Selection.BEST).candidates
    for name, average in (("moving-average", "moving"), ("swad", "swad")):
        for run, along in zip(runs, bench.outcome(name, Selection.BEST).candidates, strict=True):
            made = [bench.repository.commit_of(each.commit).made for each in (run, along)]
            assert along.branch == f"{TASK}/{average}/plain-{run.number}"
            assert made[1]["collected"] == average
            assert made[0]["run"] == made[1]["run"]
    assert FAMILIES["plain"].collects == ("moving", "swad")


def test_the_results_are_kept_as_they_were_returned(cooked: Repository) -> None:
    (before,) = studies(cooked)
    found = go(cooked, "all")
    (after,) = studies(cooked)
    assert found.study == after == before
    assert found.outcomes == before.outcomes
