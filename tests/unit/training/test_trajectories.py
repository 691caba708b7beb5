"""Averages along a run against means of the weights of a bare loop, and SWAD's window against its rules."""

from __future__ import annotations

import pytest
import torch
from bare_training import bare_trajectory
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.evaluation.evaluator import Evaluator
from mlgit.training.hyper import HyperParameters
from mlgit.training.method import Method
from mlgit.training.run import train
from mlgit.training.swad import find_window

HYPER = HyperParameters(lr=3e-3, batch_per_domain=8, steps=25, eval_every=3)


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def close(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[name].double(), b[name].double(), atol=1e-7) for name in a)


def mean(trajectory):
    """The mean in double precision; whole numbers as they were last."""
    floats = [name for name, each in trajectory[-1].items() if each.is_floating_point()]
    means = {name: torch.stack([each[name].double() for each in trajectory]).mean(dim=0).float() for name in floats}
    return trajectory[-1] | means


@pytest.mark.parametrize("start", [0, 1, 7, 24])
def test_the_moving_average_is_the_mean_of_all_weights_from_its_first_step_on(network, splits, cpu, start):
    method = Method(average="moving", average_from=start)
    result = train(network, *splits, HYPER, seed=3, device=cpu, method=method)
    trajectory = bare_trajectory(network, splits[0], HYPER, seed=3)
    assert close(result.last_weights, mean(trajectory[start:]))
    assert same(result.last_weights, trajectory[-1]) == (start == 24)
    assert result.record["method"]["averaged"] == 25 - start


def test_evaluations_see_the_moving_average_and_training_does_not(network, splits, cpu):
    method = Method(average="moving", average_from=4)
    result = train(network, *splits, HYPER, seed=3, device=cpu, method=method)
    trajectory = bare_trajectory(network, splits[0], HYPER, seed=3)
    evaluate = Evaluator(network, splits[1], cpu)
    for measurement in result.history:
        step = measurement.step
        seen = mean(trajectory[4 : step + 1]) if step >= 4 else trajectory[step]
        assert measurement.macro == evaluate(seen).macro
    assert evaluate(result.weights).macro == result.best.macro == max(each.macro for each in result.history)
    assert evaluate(result.last_weights).macro == result.last.macro


def plain_window(losses, converge, patience, tolerance):
    """Return which evaluations of a finished run SWAD takes, told as the paper does."""
    opened, threshold = None, 0.0
    for now in range(len(losses)):
        queue = losses[max(0, now - converge + 1) : now + 1]
        if opened is None and len(queue) == converge and queue.index(min(queue)) == 0:
            opened, threshold = now - converge + 1, sum(queue) / converge * (1 + tolerance)
    if opened is None:
        return None
    taken = []
    for each in range(opened, len(losses)):
        if all(loss > threshold for loss in losses[each : each + patience]):
            break
        taken.append(each)
    return taken


LOSSES = st.lists(st.floats(0.01, 4.0).map(lambda value: round(value, 1) + 0.1), max_size=25)
METHODS = st.builds(
    Method,
    swad_converge=st.integers(1, 4),
    swad_patience=st.integers(1, 7),
    swad_tolerance=st.sampled_from([0.0, 0.2, 0.3]),
)


@given(losses=LOSSES, method=METHODS)
def test_the_window_of_swad_is_what_its_rules_say(losses, method):
    wanted = plain_window(losses, method.swad_converge, method.swad_patience, method.swad_tolerance)
    found = find_window(losses, method, over=True)
    assert (None if found is None else list(range(found.start, found.end))) == wanted


@given(losses=LOSSES, method=METHODS)
def test_what_is_decided_early_is_never_taken_back(losses, method):
    final = find_window(losses, method, over=True)
    for length in range(len(losses) + 1):
        early = find_window(losses[:length], method, over=False)
        if early is not None:
            assert final is not None
            assert early.start == final.start
            assert early.end == final.end if early.closed else early.end <= final.end


@pytest.mark.parametrize(
    ("method", "lr"),
    [
        (Method(average="swad"), 3e-3),
        (Method(average="swad", swad_converge=1, swad_patience=1, swad_tolerance=0.0), 3e-3),
        (Method(average="swad", swad_converge=1, swad_patience=2, swad_tolerance=0.0), 1e-1),
        (Method(average="swad", swad_converge=2, swad_patience=3), 3e-2),
        (Method(average="swad", swad_converge=9, swad_patience=1), 3e-3),
    ],
)
def test_swad_returns_the_mean_of_all_weights_in_its_window(network, splits, cpu, method, lr):
    hyper = HYPER.with_overrides({"lr": lr})
    result = train(network, *splits, hyper, seed=3, device=cpu, method=method)
    trajectory = bare_trajectory(network, splits[0], hyper, seed=3)
    losses, steps = [each.id_loss for each in result.history], [each.step for each in result.history]
    taken = plain_window(losses, method.swad_converge, method.swad_patience, method.swad_tolerance)
    first, last = (len(steps) - 1, len(steps) - 1) if taken is None else (taken[0], taken[-1])
    start = steps[first - 1] + 1 if first else 0
    assert close(result.weights, mean(trajectory[start : steps[last] + 1]))
    assert result.record["method"]["swad_window"] == (None if taken is None else [start, steps[last]])
    assert result.steps == steps[-1] + 1
    assert Evaluator(network, splits[1], cpu)(result.weights).macro == result.best.macro


def test_a_run_whose_window_has_closed_ends(network, splits, cpu, monkeypatch):
    losses = [3.0, 2.0, 1.0, 1.1, 1.2, *[5.0] * 20]
    script = iter(losses)
    monkeypatch.setattr("mlgit.training.loop.mean_loss", lambda _: next(script))
    hyper = HYPER.with_overrides({"eval_every": 2, "steps": 49})
    result = train(network, *splits, hyper, seed=3, device=cpu, method=Method(average="swad"))
    assert result.steps == result.record["steps"] == 21, "the sixth evaluation above the threshold is the eleventh"
    assert result.record["method"]["swad_window"] == [3, 8]
    assert close(result.weights, mean(bare_trajectory(network, splits[0], hyper, seed=3)[3:9]))


def test_the_validation_loss_is_the_mean_cross_entropy_over_domains(network, splits, cpu):
    hyper = HYPER.with_overrides({"steps": 3})
    result = train(network, *splits, hyper, seed=0, device=cpu)
    trajectory = bare_trajectory(network, splits[0], hyper, seed=0)
    network.load(trajectory[-1]).eval()
    with torch.no_grad():
        every = [(network(each.images(torch.arange(len(each)))), each.labels) for each in splits[1].domains]
    losses = [float(torch.nn.functional.cross_entropy(*each)) for each in every]
    assert result.history[-1].id_loss == pytest.approx(sum(losses) / 2, rel=1e-5)


@pytest.mark.parametrize(
    "values", [{"average_from": -1}, {"swad_converge": 0}, {"swad_patience": 0}, {"coral_weight": float("nan")}]
)
def test_numbers_out_of_range_are_refused(values):
    with pytest.raises(InvalidInputError, match="bad method") as error:
        Method(**values)
    assert error.value.kind == "bad-method"


@pytest.mark.parametrize(("values", "kind"), [({"average": "swat"}, "average"), ({"loss": "coal"}, "loss")])
def test_an_unknown_name_is_refused_with_the_closest_one(values, kind):
    with pytest.raises(NotFoundError, match=f"no {kind} is named") as error:
        Method(**values)
    assert error.value.kind == f"unknown-{kind}"
    assert error.value.hint
