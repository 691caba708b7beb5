"""Intervals against scipy, which scikit-learn brings along."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from mlgit.errors import InvalidInputError
from mlgit.evaluation.statistics import Interval, binomial_interval, bootstrap_interval


@st.composite
def counts(draw):
    n = draw(st.one_of(st.integers(1, 60), st.integers(1, 20_000)))
    return draw(st.integers(0, n)), n


@given(count=counts(), confidence=st.floats(0.01, 0.9999))
@example(count=(0, 1), confidence=0.95)
@example(count=(1, 1), confidence=0.95)
@example(count=(500_000, 1_000_000), confidence=0.95)
@example(count=(999_999, 1_000_000), confidence=0.999)
@example(count=(1, 1_000_000), confidence=0.999)
def test_the_binomial_interval_equals_scipys_exact_one(count, confidence):
    correct, n = count
    mine = binomial_interval(correct, n, confidence)
    theirs = scipy.stats.binomtest(correct, n).proportion_ci(confidence, method="exact")
    assert mine.low == pytest.approx(theirs.low, abs=1e-9, rel=1e-6)
    assert mine.high == pytest.approx(theirs.high, abs=1e-9, rel=1e-6)
    assert mine.confidence == confidence


@given(count=counts(), confidence=st.floats(0.5, 0.99))
def test_the_binomial_interval_is_symmetric_in_successes_and_failures(count, confidence):
    correct, n = count
    interval, mirrored = binomial_interval(correct, n, confidence), binomial_interval(n - correct, n, confidence)
    assert interval.low == pytest.approx(1 - mirrored.high, abs=1e-9)
    assert interval.low <= correct / n <= interval.high


def test_the_binomial_interval_covers_the_truth_at_least_as_often_as_it_says():
    n = 25
    intervals = [binomial_interval(k, n, 0.9) for k in range(n + 1)]
    for truth in np.linspace(0.01, 0.99, 99):
        weights = scipy.stats.binom.pmf(np.arange(n + 1), n, truth)
        inside = np.array([interval.low <= truth <= interval.high for interval in intervals])
        assert weights[inside].sum() >= 0.9


@pytest.mark.parametrize(("correct", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_a_count_that_is_no_share_is_refused(correct, n):
    with pytest.raises(InvalidInputError) as error:
        binomial_interval(correct, n, 0.95)
    assert error.value.kind == "bad-count"


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.1, float("nan")])
def test_a_confidence_outside_its_range_is_refused(confidence):
    with pytest.raises(InvalidInputError) as error:
        binomial_interval(1, 2, confidence)
    assert error.value.kind == "bad-confidence"
    with pytest.raises(InvalidInputError):
        bootstrap_interval(lambda values: values.mean(-1), torch.ones(3), confidence=confidence)


def share(correct: torch.Tensor) -> torch.Tensor:
    return correct.double().mean(dim=-1)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_bootstrap_agrees_with_scipys(confidence):
    values = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mine = bootstrap_interval(share, values, confidence=confidence, resamples=4000, seed=1)
    theirs = scipy.stats.bootstrap(
        (values.numpy(),),
        np.mean,
        n_resamples=4000,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert mine.low == pytest.approx(theirs.low, abs=0.02)
    assert mine.high == pytest.approx(theirs.high, abs=0.02)


def test_the_bootstrap_draws_all_arrays_together():
    values = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    interval = bootstrap_interval(lambda a, b: (a - b).abs().sum(-1), values, values.clone())
    assert interval == Interval(0.0, 0.0, 0.95)


def test_the_bootstrap_hands_whole_rows_to_the_metric():
    probabilities = torch.softmax(torch.randn(30, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    labels = torch.arange(30) % 4

    def accuracy(rows: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        assert rows.shape[1:] == (30, 4)
        return (rows.argmax(-1) == truth).double().mean(-1)

    by_rows = bootstrap_interval(accuracy, probabilities, labels, seed=4)
    by_result = bootstrap_interval(share, probabilities.argmax(1) == labels, seed=4)
    assert by_rows == by_result


def test_the_bootstrap_depends_on_its_seed_only():
    correct = torch.rand(97, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    first, state = bootstrap_interval(share, correct, seed=7), torch.get_rng_state()
    torch.manual_seed(1)
    assert bootstrap_interval(share, correct, seed=7) == first
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert bootstrap_interval(share, correct, seed=8) != first


def test_large_samples_are_resampled_in_parts():
    largest = 0

    def watched(correct: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        largest = max(largest, correct.numel())
        return share(correct)

    bootstrap_interval(watched, torch.ones(30_000), resamples=300)
    assert largest <= 1 << 22


def test_bad_samples_are_refused():
    with pytest.raises(InvalidInputError, match=r"\[2, 3\]"):
        bootstrap_interval(share, torch.ones(2), torch.ones(3))
    with pytest.raises(InvalidInputError):
        bootstrap_interval(share, torch.ones(0))
    with pytest.raises(InvalidInputError):
        bootstrap_interval(share)
    with pytest.raises(InvalidInputError) as error:
        bootstrap_interval(share, torch.ones(2), resamples=1)
    assert error.value.kind == "bad-resamples"


@pytest.mark.parametrize(
    "metric", [lambda values: values.mean(), lambda values: values.mean(-1) / 0.0], ids=["one value", "not finite"]
)
def test_a_metric_that_answers_wrongly_is_refused(metric):
    with pytest.raises(InvalidInputError) as error:
        bootstrap_interval(metric, torch.ones(4))
    assert error.value.kind == "bad-metric"
