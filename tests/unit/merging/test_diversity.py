from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import InvalidInputError
from mlgit.merging.diversity import PairDiversity, diversity
from mlgit.objects.encoding import canonical_json


@st.composite
def models(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    count, examples = draw(st.integers(2, 5)), draw(st.integers(1, 25))
    row = st.lists(st.booleans(), min_size=examples, max_size=examples)
    return {label: torch.tensor(draw(row)) for label in draw(st.permutations("abcde"))[:count]}


def brute(first: np.ndarray, second: np.ndarray) -> tuple[float | None, float | None, float, float]:
    """q, r and their smoothed forms by the printed formulas."""
    cells = np.zeros((2, 2))
    for a, b in zip(first, second, strict=True):
        cells[int(a), int(b)] += 1

    def q(c: np.ndarray) -> float | None:
        top, bottom = c[1, 1] * c[0, 0] - c[0, 1] * c[1, 0], c[1, 1] * c[0, 0] + c[0, 1] * c[1, 0]
        return float(1 - top / bottom) if bottom else None

    def r(c: np.ndarray) -> float | None:
        return float((c[0, 1] + c[1, 0]) / c[0, 0]) if c[0, 0] else None

    smoothed = q(cells + 0.5), r(cells + 0.5)
    assert smoothed[0] is not None
    assert smoothed[1] is not None
    return q(cells), r(cells), smoothed[0], smoothed[1]


def mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


@given(models())
def test_every_measure_is_that_of_a_brute_force_count(correct: dict[str, torch.Tensor]) -> None:
    report = diversity(correct)
    pairs = list(itertools.combinations(sorted(correct), 2))
    expected = [brute(correct[a].numpy(), correct[b].numpy()) for a, b in pairs]
    assert [pair.labels for pair in report.pairs] == pairs
    for pair, values in zip(report.pairs, expected, strict=True):
        assert (pair.q, pair.r, pair.q_smoothed, pair.r_smoothed) == pytest.approx(values)
        assert (pair.q is None) == (pair.q_reason is not None)
        assert (pair.r is None) == (pair.r_reason is not None)
        assert pair.q is None or 0 <= pair.q <= 2
    q, r, q_smoothed, r_smoothed = (mean(list(column)) for column in zip(*expected, strict=True))
    assert (report.q, report.r) == pytest.approx((q, r))
    assert (report.q_smoothed, report.r_smoothed) == pytest.approx((q_smoothed, r_smoothed))
    assert report.q_pairs == sum(values[0] is not None for values in expected)
    assert canonical_json(report.to_json(mixmo=True))
    assert report == diversity(dict(sorted(correct.items())))


def test_two_models_that_are_independent_have_a_q_diversity_of_one() -> None:
    pair = PairDiversity(("a", "b"), n11=36, n10=12, n01=12, n00=4)
    assert (pair.q, pair.q_saturated, pair.r) == (1.0, False, 6.0)


@pytest.mark.parametrize(
    ("counts", "q", "saturated"),
    [
        ((5, 2, 3, 0), 2.0, True),  # no shared error: Q = -1
        ((0, 2, 3, 5), 2.0, True),
        ((5, 2, 0, 5), 0.0, True),  # one-sided: Q = 1 although the models differ
        ((5, 0, 0, 5), 0.0, True),
        ((5, 1, 1, 5), 2 / 26, False),
    ],
)
def test_an_empty_count_saturates_q(counts: tuple[int, int, int, int], q: float, saturated: bool) -> None:
    pair = PairDiversity(("a", "b"), *counts)
    assert pair.q == pytest.approx(q)
    assert pair.q_saturated is saturated


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ((5, 0, 3, 0), "the second model is right on every example"),
        ((5, 3, 0, 0), "the first model is right on every example"),
        ((0, 0, 3, 4), "the first model is wrong on every example"),
        ((0, 3, 0, 4), "the second model is wrong on every example"),
        ((9, 0, 0, 0), "the first model is right on every example; the second model is right on every example"),
        ((0, 9, 0, 0), "the first model is right on every example; the second model is wrong on every example"),
    ],
)
def test_q_is_undefined_exactly_when_a_model_is_always_right_or_always_wrong(
    counts: tuple[int, int, int, int], reason: str
) -> None:
    pair = PairDiversity(("a", "b"), *counts)
    assert pair.q is None
    assert pair.q_reason == reason
    assert not pair.q_saturated
    assert math.isfinite(pair.q_smoothed)


def test_r_without_shared_errors_is_null_and_mixmos_number_stands_beside_it_on_request() -> None:
    pair = PairDiversity(("a", "b"), n11=5, n10=2, n01=3, n00=0)
    assert pair.r is None
    assert pair.r_reason == "no example is wrong for both models"
    assert "r_mixmo" not in pair.to_json()
    assert pair.to_json(mixmo=True)["r_mixmo"] == 1.0  # 2 * (0.2 + 0.3)
    assert PairDiversity(("a", "b"), 5, 2, 3, 2).to_json(mixmo=True)["r_mixmo"] == 2.5


def test_means_say_how_many_pairs_they_are_taken_over() -> None:
    good = torch.tensor([True, True, False, False])
    report = diversity({"a": good, "b": ~good, "perfect": torch.ones(4, dtype=torch.bool)})
    record = report.to_json()
    assert (record["q"], record["q_pairs"], record["pairs_total"]) == (2.0, 1, 3)
    assert (record["r"], record["r_pairs"], record["r_reason"]) == (None, 0, "undefined for every pair")
    assert record["accuracies"] == {"a": 0.5, "b": 0.5, "perfect": 1.0}


@pytest.mark.parametrize(
    "correct",
    [
        {},
        {"a": torch.tensor([True])},
        {"a": torch.tensor([True]), "b": torch.tensor([True, False])},
        {"a": torch.zeros(0, dtype=torch.bool), "b": torch.zeros(0, dtype=torch.bool)},
        {"a": torch.tensor([1]), "b": torch.tensor([0])},
        {"a": torch.tensor(True), "b": torch.tensor(True)},
    ],
)
def test_vectors_that_do_not_fit_together_are_refused(correct: dict[str, torch.Tensor]) -> None:
    with pytest.raises(InvalidInputError):
        diversity(correct)
