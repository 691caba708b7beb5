"""Which runs recipes make, where these begin, and that no run is made twice."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from recipe_lab import OPTIONS, TASK, TEST, TRAINING, TRUSTED, go, trained
from watched_task import make

from mlgit.objects import CommitId, Role, Stage
from mlgit.porcelain.recipe import RunState
from mlgit.porcelain.recipe_results import studies
from mlgit.porcelain.sweep import SweepOptions, sweep
from mlgit.porcelain.task import add_task
from mlgit.recipes.recipe import Selection
from mlgit.recipes.results import Outcome
from mlgit.repository import HEADS, Repository
from mlgit.weights.stored import load

ALL_RUNS = {
    *(f"{task}/aux-{number}" for task in ("dots", "lines") for number in range(2)),
    *(f"{TASK}/{family}-{number}" for family in ("plain", "coral", "fused") for number in range(3)),
    *(f"{TASK}/{family}-{number}" for family in ("inter", "robust") for number in (1, 2)),
}


def seed_of(*parts: object) -> int:
    return int(hashlib.md5(str(parts).encode(), usedforsecurity=False).hexdigest(), 16) % 2**31


def outcome(found: object, name: str, selection: Selection = Selection.BEST) -> Outcome:
    (one,) = (e for e in found.outcomes if (e.recipe, e.selection) == (name, selection))  # type: ignore[attr-defined]
    return one


def weights(repository: Repository, revision: str) -> Mapping[str, np.ndarray]:
    found = load(repository.objects, repository.manifest_of(repository.resolve(revision)))
    return {name: tensor.numpy() for name, tensor in found.items()}


def begun(told: list[RunState]) -> list[str]:
    return [each.run.branch for each in told if each.state == "running"]


def test_all_recipes_together_make_just_these_runs(cooked: Repository) -> None:
    assert trained(cooked).keys() == ALL_RUNS
    (study,) = studies(cooked)
    plain = [run.commit for run in outcome(study, "vanilla").candidates]
    for name in ("inter-training", "robust-inter-training", "ratatouille"):
        selection = Selection.UNIFORM if name == "ratatouille" else Selection.BEST
        runs = outcome(study, name, selection).candidates
        assert runs[0].commit == plain[0], "run 0 begins at the pretrained featurizer, so it is that of `vanilla`"
        assert [run.start for run in runs] == [None, "dots", "lines"]
        assert not {run.commit for run in runs[1:]} & set(plain)
    same = [outcome(study, name, Selection.UNIFORM) for name in ("ratatouille", "ensemble-inter-training")]
    assert same[0].candidates == same[1].candidates


def test_recipes_share_the_runs_of_earlier_ones(lab: Repository) -> None:
    go(lab, "vanilla", runs=2)
    before = trained(lab)
    assert before.keys() == {f"{TASK}/plain-0", f"{TASK}/plain-1"}
    told: list[RunState] = []
    go(lab, "soup", "swad", "moving-average", "wise", "ensemble", "probe", runs=2, tell=told.append)
    assert begun(told) == []
    assert trained(lab) == before


def test_runs_are_spread_over_starts_as_the_paper_spreads_them(cooked: Repository) -> None:
    pretrained = cooked.resolve("main")
    for name, average in (("ratatouille", ""), ("robust-ratatouille", "moving/")):
        runs = [each for each in go(cooked, name, runs=20, dry_run=True).runs if each.run.branch.startswith(TASK)]
        assert [each.run.number for each in runs] == list(range(20))
        for each in runs:
            place = each.run.number % 3
            if place == 0:
                assert (each.run.start, each.run.initialisation.auxiliary) == (pretrained, None)
                assert each.run.branch == f"{TASK}/plain-{each.run.number}"
            else:
                task = ("dots", "lines")[place - 1]
                assert each.run.initialisation.auxiliary == task
                assert each.run.start == cooked.resolve(f"{task}/{average}aux-{each.run.number % 2}")
        assert {each.run.start for each in runs} == {
            pretrained,
            *(cooked.resolve(f"{task}/{average}aux-{number}") for task in ("dots", "lines") for number in (0, 1)),
        }


def test_a_run_is_that_of_a_sweep_with_the_same_number(cooked: Repository) -> None:
    (study,) = studies(cooked)
    options = SweepOptions(runs=3, hparams=OPTIONS.hparams, training=TRAINING)
    swept = sweep(cooked, TASK, ["main"], options, dry_run=True, runtime=TRUSTED).runs
    heads = set()
    for name in ("vanilla", "inter-training", "robust-inter-training", "fusing"):
        for run, planned in zip(outcome(study, name).candidates, swept, strict=True):
            commit = cooked.commit_of(run.commit)
            assert commit.made["seed"] == planned.run.seed == seed_of(TASK, "ERM", [2], run.number, 0)
            assert commit.made["hyper_parameters"] == planned.run.hyper.to_json()
            assert commit.stage is Stage.TARGET
            heads |= {parent.id for parent in commit.parents if parent.role is Role.HEAD}
    assert len(heads) == 1, "all runs share one linear probe"
    assert len({planned.run.hyper.lr for planned in swept}) == 3
    for run in outcome(study, "coral").candidates:
        assert cooked.commit_of(run.commit).made["seed"] == seed_of(TASK, "CORAL", [2], run.number, 0)


def test_a_run_begins_at_the_commit_that_it_is_said_to(cooked: Repository) -> None:
    for branch, start in {
        "plain-2": "main",
        "coral-1": "main",
        "inter-1": "dots/aux-1",
        "inter-2": "lines/aux-0",
        "robust-1": "dots/moving/aux-1",
        "robust-2": "lines/moving/aux-0",
        "fused-1": f"{TASK}/fused-start-1",
    }.items():
        commit = cooked.commit_of(cooked.resolve(f"{TASK}/{branch}"))
        (begin,) = (parent.id for parent in commit.parents if parent.role is Role.INIT)
        assert begin == cooked.resolve(start), branch
    for task in ("dots", "lines"):
        commit = cooked.commit_of(cooked.resolve(f"{task}/aux-0"))
        assert (commit.stage, commit.made["keep"]) == (Stage.AUXILIARY, "last")


def test_fused_starts_are_softmax_mixtures_by_the_seeds_of_their_runs(cooked: Repository) -> None:
    pretrained = cooked.resolve("main")
    for number in range(3):
        commit = cooked.commit_of(cooked.resolve(f"{TASK}/fused-start-{number}"))
        sources = [pretrained, *(cooked.resolve(f"{task}/aux-{number % 2}") for task in ("dots", "lines"))]
        draws = random.Random(seed_of(TASK, "ERM", [2], number, 0))
        powers = [math.exp(draws.uniform(0, 4)) for _ in sources]
        order = [CommitId(each) for each in commit.made["order"]]  # type: ignore[union-attr]
        assert sorted(order) == sorted(sources)
        shares = {each: power / sum(powers) for each, power in zip(order, powers, strict=True)}
        found = {parent.id: parent.coefficient for parent in commit.parents if parent.role is Role.MERGE}
        assert found == pytest.approx(shares)
        mixed, parts = weights(cooked, f"{TASK}/fused-start-{number}"), {each: weights(cooked, each) for each in shares}
        for name in ("featurizer.0.0.weight", "featurizer.3.1.bias"):
            wanted = sum(share * parts[each][name].astype(np.float64) for each, share in shares.items())
            np.testing.assert_allclose(mixed[name], wanted, rtol=1e-6, atol=1e-7)


def test_the_runs_of_another_data_split_are_added_and_all_splits_averaged(cooked: Repository) -> None:
    told: list[RunState] = []
    training = replace(TRAINING, trial=1)
    found = go(cooked, "soup", "ratatouille", training=training, tell=told.append)
    assert begun(told) == [*(f"{TASK}/plain.t1-{n}" for n in range(3)), *(f"{TASK}/inter.t1-{n}" for n in (1, 2))]
    assert found.skipped == {}
    for name in ("soup", "ratatouille"):
        one = outcome(found, name, Selection.ALL_SPLITS)
        assert [(run.trial, run.number) for run in one.candidates] == [(t, n) for t in range(2) for n in range(3)]
        assert (one.trial, one.id_accuracy, one.connectivity) == (None, None, "unchecked")
        assert dict(one.members) == {run.commit: pytest.approx(1 / 6) for run in one.candidates}
        assert len(one.members) == 6
        assert one.branch == f"{TASK}/{name}-all-splits-6"
        parts, mixed = [weights(cooked, each) for each in one.members], weights(cooked, one.branch)
        for key in ("featurizer.0.0.weight", "classifier.weight"):
            wanted = np.mean([part[key].astype(np.float64) for part in parts], axis=0).astype(np.float32)
            np.testing.assert_allclose(mixed[key], wanted, rtol=2e-7, atol=0)
        greedy = outcome(found, name, Selection.GREEDY)
        assert greedy.trial == 1
        assert greedy.branch == f"{TASK}/{name}-greedy.t1-3"
        assert {run.trial for run in greedy.candidates} == {1}
    (study,) = studies(cooked)
    assert {each.trial for each in study.outcomes if each.recipe == "soup"} == {0, 1, None}
    again = go(cooked, "soup")
    assert outcome(again, "soup", Selection.ALL_SPLITS).commit == outcome(found, "soup", Selection.ALL_SPLITS).commit


def test_a_first_split_that_is_not_number_0_trains_no_probe_that_nobody_uses(lab: Repository) -> None:
    go(lab, "inter-training", runs=2, auxiliaries=("dots",), auxiliary_runs=1, training=replace(TRAINING, trial=1))
    probes = [lab.commit_of(CommitId(lab.refs.read(name) or "")) for name in lab.refs.names("refs/probes/")]
    assert sorted((probe.task.name, probe.made["trial"]) for probe in probes if probe.task) == [("dots", 0), (TASK, 1)]
    assert lab.commit_of(lab.resolve("dots/aux-0")).made["trial"] == 0
    assert lab.commit_of(lab.resolve(f"{TASK}/inter.t1-1")).made["trial"] == 1


def test_a_study_of_another_name_has_runs_of_its_own(cooked: Repository) -> None:
    before = trained(cooked)
    told: list[RunState] = []
    found = go(cooked, "inter-training", name="mine", runs=2, tell=told.append)
    runs = [*(f"{task}/mine.aux-{n}" for task in ("dots", "lines") for n in (0, 1)), f"{TASK}/mine.plain-0"]
    assert begun(told) == [*runs, f"{TASK}/mine.inter-1"]
    assert trained(cooked).items() >= before.items()
    one = outcome(found, "inter-training")
    assert one.branch == f"{TASK}/mine.inter-training-best-2"
    mine, other = (cooked.commit_of(cooked.resolve(f"{TASK}/{name}")) for name in ("mine.plain-0", "plain-0"))
    assert mine.manifest == other.manifest, "the same seeds"
    assert [study.name for study in studies(cooked)] == ["default", "mine"]


def test_another_test_domain_shares_the_auxiliary_runs(cooked: Repository) -> None:
    told: list[RunState] = []
    found = go(cooked, "inter-training", domain="b", runs=2, tell=told.append)
    assert begun(told) == [f"{TASK}@b/plain-0", f"{TASK}@b/inter-1"]
    assert found.study.target == f"{TASK}@b"
    commit = cooked.commit_of(cooked.resolve(f"{TASK}@b/inter-1"))
    assert commit.made["seed"] == seed_of(TASK, "ERM", [1], 1, 0)
    assert cooked.resolve("dots/aux-1") in {parent.id for parent in commit.parents}
    assert go(cooked, "vanilla", domain=TEST).study.domain == TEST
    assert [(study.task, study.domain) for study in studies(cooked)] == [(TASK, "b"), (TASK, TEST)]


def test_a_domain_with_a_space_in_its_name_gets_branches_as_well(lab: Repository) -> None:
    options = {"names": ["Art", "Photo", "Real World"], "called": "rooms"}
    add_task(lab, "rooms", kind="python:watched_task:make", options=options, runtime=TRUSTED)
    assert make(None, **options).domains[2].name == "Real World"  # type: ignore[arg-type]
    values = {"task": "rooms", "domain": "Real World", "runs": 2, "auxiliaries": ("dots",), "auxiliary_runs": 1}
    found = go(lab, "probe", "soup", "fusing", **values)
    assert {each.branch for each in found.outcomes if each.branch} == {
        f"rooms@Real_World/{name}" for name in ("probe", "soup-uniform-2", "soup-greedy-2", "fusing-best-2")
    }
    assert lab.refs.read(HEADS + "rooms@Real_World/fused-start-1")
    assert go(lab, "soup", **values).outcomes == found.outcomes[1:3]
