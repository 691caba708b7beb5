"""Averages collected along a run: those of runs of their own, beside a run that does not notice them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.evaluation import loaded
from mlgit.training import inputs as module
from mlgit.training.hyper import HyperParameters
from mlgit.training.method import Method
from mlgit.training.run import train
from mlgit.training.trajectory import MovingAverage, NoAverage, Trajectory

HYPER = HyperParameters(lr=3e-3, dropout=0.3, batch_per_domain=8, steps=22, eval_every=3)
METHOD = Method(average_from=4, swad_converge=2, swad_patience=30)
AVERAGES = ("none", "moving", "swad")
OF_THE_PROCESS = {"duration_s", "history"}


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def others(average: str) -> tuple[str, ...]:
    return tuple(name for name in AVERAGES if name not in ("none", average))


def facts(result):
    return {key: value for key, value in result.record.items() if key not in OF_THE_PROCESS}


def check_equal(found, wanted) -> None:
    assert same(found.weights, wanted.weights)
    assert same(found.last_weights, wanted.last_weights)
    assert (found.best, found.last) == (wanted.best, wanted.last)
    assert facts(found) == facts(wanted)
    assert found.record["history"] == wanted.record["history"]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.integers(0, 25),
    eval_every=st.integers(1, 9),
    lr=st.sampled_from([1e-3, 3e-2, 0.3]),
    statistics=st.booleans(),
    seed=st.integers(0, 99),
)
def test_one_run_leaves_what_a_run_for_each_average_leaves(
    network, splits, cpu, start, eval_every, lr, statistics, seed
):
    hyper = HYPER.with_overrides({"lr": lr, "eval_every": eval_every})
    method = replace(METHOD, average_from=start)
    how = {"seed": seed, "device": cpu, "freeze_statistics": not statistics}
    alone = {name: train(network, *splits, hyper, method=replace(method, average=name), **how) for name in AVERAGES}
    assert {result.steps for result in alone.values()} == {22}
    for name in AVERAGES:
        of_own = replace(method, average=name)
        found = train(network, *splits, hyper, method=of_own, collect=others(name), **how)
        check_equal(found, alone[name])
        assert found.history == alone[name].history
        assert tuple(found.collected) == others(name)
        for other, collected in found.collected.items():
            check_equal(collected, alone[other])
            assert collected.record["method"]["average"] == other


def test_the_averages_of_one_run_differ(network, splits, cpu):
    found = train(network, *splits, HYPER, seed=3, device=cpu, method=METHOD, collect=("moving", "swad"))
    last = [found.last_weights, *(each.last_weights for each in found.collected.values())]
    assert not any(same(a, b) for at, a in enumerate(last) for b in last[:at])


SHORT = replace(METHOD, swad_patience=1, swad_tolerance=0.0)
SHORT_HYPER = HYPER.with_overrides({"lr": 0.01})


def test_a_collected_average_that_is_complete_does_not_end_the_run(network, splits, cpu):
    ended = train(network, *splits, SHORT_HYPER, seed=4, device=cpu, method=replace(SHORT, average="swad"))
    assert ended.steps == 10, "the window closes early"
    found = train(network, *splits, SHORT_HYPER, seed=4, device=cpu, method=SHORT, collect=("swad",))
    assert (found.steps, found.last.step) == (22, 21)
    assert same(found.collected["swad"].weights, ended.weights)
    window = found.collected["swad"].record["method"]["swad_window"]
    assert window == ended.record["method"]["swad_window"]


def test_a_run_that_ends_early_leaves_what_there_is_of_the_others(network, splits, cpu):
    method = replace(SHORT, average="swad")
    found = train(network, *splits, SHORT_HYPER, seed=4, device=cpu, method=method, collect=("moving",))
    assert found.steps == 10
    cut = SHORT_HYPER.with_overrides({"steps": 10})
    wanted = train(network, *splits, cut, seed=4, device=cpu, method=replace(SHORT, average="moving"))
    assert same(found.collected["moving"].last_weights, wanted.last_weights)
    assert same(found.collected["moving"].weights, wanted.weights)


@pytest.mark.parametrize(
    ("average", "collect", "evaluations"),
    [
        ("none", (), 8),
        ("none", ("swad",), 8 + 1),  # the result
        ("none", ("moving",), 8 + 6),  # evaluations after steps 0 and 3 come before the mean
        ("none", ("swad", "moving"), 8 + 6 + 1),
        ("moving", (), 8),
        ("moving", ("swad",), 8 + 6 + 1),
        ("swad", ("moving",), 8 + 6 + 1),
    ],
)
def test_no_weights_are_evaluated_twice(network, splits, cpu, monkeypatch, average, collect, evaluations):
    seen = []

    def predict(*values):
        seen.append(network.weights())
        return loaded.predict(*values)

    monkeypatch.setattr(module, "predict", predict)
    train(network, *splits, HYPER, seed=3, device=cpu, method=replace(METHOD, average=average), collect=collect)
    assert len(seen) == evaluations
    assert not any(same(a, b) for at, a in enumerate(seen) for b in seen[:at])


class Foreign(Trajectory):
    """Measures other weights and says nothing more about it."""

    def updated(self, step):
        pass

    def measured(self):
        return super().measured()


def test_averages_that_measure_what_they_put_there_have_an_evaluation_of_their_own(network):
    assert NoAverage(network, METHOD).measures_live
    assert not Foreign(network, METHOD).measures_live
    moving = MovingAverage(network, METHOD)
    assert moving.measures_live
    moving.updated(METHOD.average_from)
    assert not moving.measures_live


@pytest.mark.parametrize(
    ("collect", "error", "kind"),
    [
        (["none"], InvalidInputError, "bad-collection"),
        (["swad"], InvalidInputError, "bad-collection"),
        (["moving", "moving"], InvalidInputError, "bad-collection"),
        (["swat"], NotFoundError, "unknown-average"),
    ],
)
def test_what_cannot_be_collected_is_refused(network, splits, cpu, collect, error, kind):
    with pytest.raises(error) as raised:
        train(network, *splits, HYPER, seed=3, device=cpu, method=Method(average="swad"), collect=collect)
    assert raised.value.kind == kind
    assert raised.value.hint
