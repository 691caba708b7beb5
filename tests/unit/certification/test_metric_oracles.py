"""Each metric against somebody else's: scikit-learn, SciPy, or a loop over examples in plain numpy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from scipy.stats import beta
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

from mlgit.certification.metrics.accuracy import Accuracy, WorstDomainAccuracy
from mlgit.certification.metrics.calibration import CalibrationError
from mlgit.certification.metrics.likelihood import BrierScore, NegativeLogLikelihood
from mlgit.evaluation.score import Predictions, score
from mlgit.testing.metric import certain_predictions, prediction_sets, random_predictions


def pooled(predictions: tuple[Predictions, ...]) -> tuple[np.ndarray, np.ndarray]:
    probabilities = np.concatenate([part.probabilities.numpy().astype(np.float64) for part in predictions])
    return probabilities, np.concatenate([part.labels.numpy() for part in predictions])


def calibration_error_by_a_loop(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Guo et al., equation 3, word for word: one bin after the other."""
    edges = [k / 15 for k in range(16)]
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.sum() / len(labels) * abs(right[inside].mean() - confidence[inside].mean())
    return total


@given(prediction_sets())
def test_accuracy_is_what_scikit_learn_and_the_score_say(predictions):
    probabilities, labels = pooled(predictions)
    assert Accuracy().value(predictions) == accuracy_score(labels, probabilities.argmax(axis=1))
    assert Accuracy().value(predictions) == score(predictions).accuracy


@given(prediction_sets())
def test_worst_domain_accuracy_is_the_lowest_that_scikit_learn_finds(predictions):
    each = [accuracy_score(part.labels, part.probabilities.argmax(dim=1)) for part in predictions]
    assert WorstDomainAccuracy().value(predictions) == min(each) == score(predictions).worst


@given(prediction_sets())
def test_calibration_error_is_what_a_loop_over_the_bins_says(predictions):
    assert CalibrationError().value(predictions) == pytest.approx(
        calibration_error_by_a_loop(*pooled(predictions)), abs=1e-12
    )


def test_calibration_error_of_an_example_computed_by_hand():
    probabilities = torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.5, 0.5], [0.25, 0.75]])
    labels = torch.tensor([0, 1, 0, 0])
    # The bin of 0.75 holds three examples, one of them right: 3/4 * |1/3 - 3/4|. The bin of 0.5: 1/4 * |1 - 1/2|.
    assert CalibrationError().value([Predictions("d", probabilities, labels)]) == pytest.approx(5 / 16 + 1 / 8)


@given(prediction_sets())
def test_negative_log_likelihood_is_what_scikit_learn_says(predictions):
    probabilities, labels = pooled(predictions)
    floor = np.finfo(np.float32).eps
    floored = np.clip(probabilities, floor, 1.0)
    chosen = floored[np.arange(len(labels)), labels]
    ours = NegativeLogLikelihood().value(predictions)
    assert ours == pytest.approx(-np.log(chosen).mean(), abs=1e-12)
    rows = probabilities / probabilities.sum(axis=1, keepdims=True)
    if rows.min() > floor:  # scikit-learn clips elsewhere
        assert ours == pytest.approx(log_loss(labels, rows, labels=range(rows.shape[1])), abs=1e-5)


@given(prediction_sets())
def test_brier_score_is_what_scikit_learn_says(predictions):
    probabilities, labels = pooled(predictions)
    rows = probabilities / probabilities.sum(axis=1, keepdims=True)
    theirs = brier_score_loss(labels, rows, labels=range(rows.shape[1]), scale_by_half=False)
    assert BrierScore().value(predictions) == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize(("right", "wrong"), [(9, 1), (0, 7), (7, 0), (300, 59), (1, 0)])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_the_interval_of_accuracy_is_scipys_clopper_pearson(right, wrong, confidence):
    interval = Accuracy().interval(certain_predictions([right], [wrong]), confidence)
    tail = (1 - confidence) / 2
    low = 0.0 if right == 0 else beta.ppf(tail, right, wrong + 1)
    high = 1.0 if wrong == 0 else beta.ppf(1 - tail, right + 1, wrong)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-9)


def test_the_worst_domain_has_the_lowest_low_end_and_a_stricter_high_end():
    # Nine of ten right is worse than the 89 % of 1,000 as far as the low end goes: there is less evidence.
    predictions = certain_predictions([890, 9], [110, 1])
    interval = WorstDomainAccuracy().interval(predictions, 0.95)
    assert WorstDomainAccuracy().value(predictions) == 0.89
    assert interval.low == Accuracy().interval(predictions[1:], 0.95).low
    assert interval.high == Accuracy().interval(predictions[:1], 0.975).high


def test_with_one_domain_the_worst_domain_is_plain_accuracy():
    predictions = certain_predictions([80], [20])
    assert WorstDomainAccuracy().value(predictions) == Accuracy().value(predictions)
    assert WorstDomainAccuracy().interval(predictions, 0.95) == Accuracy().interval(predictions, 0.95)


@pytest.mark.parametrize("kind", [Accuracy, NegativeLogLikelihood, BrierScore])
def test_domains_count_by_their_examples_even_with_different_numbers_of_classes(kind):
    metric = kind()
    small, large = random_predictions(0, [20], 3, 2.0), random_predictions(1, [60], 5, 2.0)
    expected = (metric.value(small) + 3 * metric.value(large)) / 4
    assert metric.value(small + large) == pytest.approx(expected)


def predictions_with(claimed: np.ndarray, kept: np.ndarray, generator: np.random.Generator) -> tuple[Predictions, ...]:
    """Two classes; the first has probability ``claimed`` and is right with probability ``kept``."""
    right = generator.random(len(claimed)) < kept
    probabilities = torch.tensor(np.stack([claimed, 1 - claimed], axis=1), dtype=torch.float32)
    return (Predictions("d", probabilities, torch.tensor(np.where(right, 0, 1))),)


def nearly_always_right(seed: int, count: int) -> tuple[Predictions, ...]:
    """A model that claims 99.5 % on average and keeps one percent less: errors are rare and costly."""
    generator = np.random.default_rng(seed)
    claimed = 1 - generator.beta(1, 200, count)
    return predictions_with(claimed, claimed - 0.01, generator)


def overconfident(seed: int, count: int) -> tuple[Predictions, ...]:
    """A model that claims 60 to 100 % and always keeps six percent less."""
    generator = np.random.default_rng(seed)
    claimed = generator.uniform(0.6, 1.0, count)
    return predictions_with(claimed, claimed - 0.06, generator)


@pytest.mark.parametrize("kind", [CalibrationError, NegativeLogLikelihood, BrierScore])
def test_the_high_end_lies_above_the_truth_even_where_the_plain_bootstrap_fails(kind):
    metric = kind()
    truth = metric.value(nearly_always_right(0, 400_000))
    missed = sum(metric.interval(nearly_always_right(seed, 100), 0.95).high < truth for seed in range(1, 101))
    assert missed <= 7  # 2.5 expected; without the imagined example dozens of Brier scores and likelihoods miss it


def test_the_low_end_of_the_calibration_error_allows_for_what_resampling_adds():
    missed = sum(CalibrationError().interval(overconfident(seed, 200), 0.95).low > 0.06 for seed in range(60))
    assert missed <= 4  # the plain percentile misses it in every sixth sample
