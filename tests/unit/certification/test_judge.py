"""Verdicts at their edges, and everything that cannot be judged."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from mlgit.certification.definition import Certificate, parse_certificate
from mlgit.certification.judge import judge
from mlgit.certification.metrics import METRICS
from mlgit.certification.metrics.accuracy import Accuracy
from mlgit.errors import CheckFailedError, InvalidInputError, NotFoundError
from mlgit.evaluation.score import Predictions
from mlgit.objects.certificate import CheckResult
from mlgit.testing.metric import certain_predictions, prediction_sets


def certificate(*thresholds: str, judged_by: str = "lower-bound", confidence: float = 0.95) -> Certificate:
    text = f'name = "c"\ntask = "t"\nsplit = "test"\njudge = "{judged_by}"\nconfidence = {confidence}\n'
    return parse_certificate((text + "".join(f"[[threshold]]\n{item}\n" for item in thresholds)).encode(), "c.toml")


def accuracy(direction: str, limit: float, domain: str | None = None) -> str:
    return f"metric = 'accuracy'\n{direction} = {limit!r}" + (f"\ndomain = '{domain}'" if domain else "")


def only(certificate: Certificate, predictions: tuple[Predictions, ...]) -> CheckResult:
    (check,) = judge(certificate, predictions)
    return check


NINE_OF_TEN = certain_predictions([9], [1])


def test_a_check_holds_what_was_measured_and_asked():
    interval = Accuracy().interval(NINE_OF_TEN, 0.9)
    assert only(certificate(accuracy("at_least", 0.5), confidence=0.9), NINE_OF_TEN) == CheckResult(
        metric="accuracy",
        domain=None,
        value=0.9,
        low=interval.low,
        high=interval.high,
        examples=10,
        direction="at_least",
        threshold=0.5,
        passed=True,
    )


@pytest.mark.parametrize("judged_by", ["lower-bound", "point"])
@pytest.mark.parametrize("direction", ["at_least", "at_most"])
def test_exactly_at_the_limit_passes_and_the_next_number_fails(judged_by: str, direction: str):
    interval = Accuracy().interval(NINE_OF_TEN, 0.95)
    at_least = direction == "at_least"
    limit = 0.9 if judged_by == "point" else interval.low if at_least else interval.high
    beyond = math.nextafter(limit, 1.0 if at_least else 0.0)
    assert only(certificate(accuracy(direction, limit), judged_by=judged_by), NINE_OF_TEN).passed
    assert not only(certificate(accuracy(direction, beyond), judged_by=judged_by), NINE_OF_TEN).passed


@given(st.integers(0, 40), st.integers(1, 40))
def test_a_share_written_as_a_decimal_is_met_by_exactly_that_share(right: int, more: int):
    count = right + more
    limit = float(f"{right / count:.17g}")
    assert only(
        certificate(accuracy("at_least", limit), judged_by="point"), certain_predictions([right], [more])
    ).passed


def test_by_default_luck_on_few_examples_does_not_pass():
    limit = certificate(accuracy("at_least", 0.85))
    assert not only(limit, NINE_OF_TEN).passed
    assert only(limit, certain_predictions([900], [100])).passed
    assert only(certificate(accuracy("at_least", 0.85), judged_by="point"), NINE_OF_TEN).passed


@given(prediction_sets(), st.sampled_from(METRICS.names()), st.sampled_from(["at_least", "at_most"]), st.floats(0, 1))
def test_the_lower_bound_is_never_more_lenient_than_the_point(predictions, name, direction, share):
    low, high = METRICS.get(name).range
    asked = f"metric = '{name}'\n{direction} = {low + share * (high - low)!r}"
    strict, lenient = (only(certificate(asked, judged_by=by), predictions) for by in ("lower-bound", "point"))
    assert lenient.passed or not strict.passed


@given(prediction_sets(), st.floats(0, 1), st.floats(0, 1))
def test_a_model_that_reaches_a_limit_reaches_every_easier_one(predictions, first, second):
    easy, hard = sorted([first, second])
    checks = judge(certificate(accuracy("at_least", hard)), predictions)
    assume(checks[0].passed)
    assert only(certificate(accuracy("at_least", easy)), predictions).passed


def test_a_domain_is_judged_on_its_own_examples():
    predictions = certain_predictions([90, 5], [10, 5])
    checks = judge(
        certificate(
            accuracy("at_least", 0.6),
            accuracy("at_least", 0.6, "domain1"),
            "metric = 'worst-domain-accuracy'\nat_most = 0.9",
        ),
        predictions,
    )
    assert [(check.domain, check.value, check.examples) for check in checks] == [
        (None, 95 / 110, 110),
        ("domain1", 0.5, 10),
        (None, 0.5, 110),
    ]
    assert [check.passed for check in checks] == [True, False, True]


def test_an_unknown_domain_is_not_found_and_the_closest_one_is_named():
    with pytest.raises(NotFoundError) as caught:
        judge(certificate(accuracy("at_least", 0.5, "domian0")), NINE_OF_TEN)
    assert caught.value.kind == "unknown-domain"
    assert caught.value.hint == "did you mean 'domain0'?"


def test_nothing_to_judge_is_refused():
    with pytest.raises(InvalidInputError, match="no predictions"):
        judge(certificate(accuracy("at_least", 0.5)), ())
    empty = Predictions("empty", torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(InvalidInputError, match="domain 'empty' has no examples"):
        judge(certificate(accuracy("at_least", 0.5)), (*NINE_OF_TEN, empty))
    with pytest.raises(InvalidInputError, match="domain 'domain0' was evaluated twice"):
        judge(certificate(accuracy("at_least", 0.5)), NINE_OF_TEN * 2)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_model_whose_output_is_not_finite_reaches_no_certificate(value: float):
    probabilities = NINE_OF_TEN[0].probabilities.clone()
    probabilities[3, 1] = value
    broken = (Predictions("domain0", probabilities, NINE_OF_TEN[0].labels),)
    with pytest.raises(CheckFailedError, match="on 1 of 10 examples of domain 'domain0'") as caught:
        judge(certificate(accuracy("at_least", 0.0)), broken)
    assert caught.value.kind == "not-finite"


def test_a_metric_that_is_not_finite_is_a_failed_certificate(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Accuracy, "value", lambda *_: math.nan)
    with pytest.raises(CheckFailedError, match="accuracy is nan"):
        judge(certificate(accuracy("at_least", 0.0)), NINE_OF_TEN)
