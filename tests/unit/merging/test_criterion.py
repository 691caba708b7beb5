from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from mlgit.errors import InvalidInputError
from mlgit.merging.criterion import Criterion, Point, Verdict, compare, judge, shortfall
from mlgit.merging.curve import Curve

TRIPLES = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=60)


def vectors(triples: list[tuple[bool, bool, bool]]) -> list[torch.Tensor]:
    return [torch.tensor(column) for column in zip(*triples, strict=True)]


@given(TRIPLES, st.floats(0, 1))
def test_gap_and_standard_error_are_those_of_numpy_over_examples(
    triples: list[tuple[bool, bool, bool]], lam: float
) -> None:
    here, first, last = (np.array(column, dtype=np.float64) for column in zip(*triples, strict=True))
    d = here - ((1 - lam) * first + lam * last)
    point = compare(lam, *vectors(triples))
    assert point.gap == pytest.approx(d.mean(), abs=1e-11)
    assert point.accuracy == here.mean()
    assert point.chord == pytest.approx((1 - lam) * first.mean() + lam * last.mean(), abs=1e-12)
    if len(triples) == 1:
        assert point.standard_error is None
    else:
        assert point.standard_error == pytest.approx(d.std(ddof=1) / math.sqrt(len(d)), abs=1e-11)
    assert 0 <= point.p_value <= 1
    assert (point.p_value < 0.5) == (point.gap < 0) or abs(point.gap) < 1e-9


@given(TRIPLES)
def test_where_the_ends_agree_the_test_is_mcnemars(triples: list[tuple[bool, bool, bool]]) -> None:
    same = [(here, first, first) for here, first, _ in triples]
    won = sum(here and not first for here, first, _ in same)
    lost = sum(first and not here for here, first, _ in same)
    assume(won + lost > 0)
    z = (won - lost) / math.sqrt(won + lost)  # the root of McNemar's statistic
    shrunk = z * math.sqrt(max(len(same) - 1, 0.5) / len(same))  # at most what dividing by N - 1 instead of N does
    low, high = sorted((stats.norm.cdf(z), stats.norm.cdf(shrunk)))
    assert low - 1e-12 <= compare(0.5, *vectors(same)).p_value <= high + 1e-12


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.floats(0, 1))
def test_equal_models_have_no_gap_at_all_at_any_place(right: list[bool], lam: float) -> None:
    vector = torch.tensor(right)
    point = compare(lam, vector, vector, vector)
    assert (point.gap, point.standard_error or 0.0, point.p_value) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_path_exactly_on_the_chord_has_a_gap_of_exactly_zero(tenths: int) -> None:
    first, last = torch.ones(10, dtype=torch.bool), torch.zeros(10, dtype=torch.bool)
    assert compare(tenths / 10, torch.arange(10) >= tenths, first, last).gap == 0.0


def test_the_wider_of_the_two_standard_errors_counts() -> None:
    first, last = torch.ones(10, dtype=torch.bool), torch.zeros(10, dtype=torch.bool)
    spread = compare(0.3, torch.arange(10) < 5, first, last)  # answers vary more than those of either end would
    assert spread.standard_error == pytest.approx(0.5 / math.sqrt(9))
    assert spread.p_value == pytest.approx(stats.norm.cdf(-0.2 / (0.5 / math.sqrt(9))))
    steady = compare(0.5, last, first, last)  # every difference is -0.5
    assert steady.standard_error == 0.0
    assert steady.p_value == pytest.approx(stats.norm.cdf(-0.5 / (0.5 / math.sqrt(10))))


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_the_ends_are_on_the_chord(lam: float) -> None:
    first, last = torch.tensor([True, False, True]), torch.tensor([False, False, True])
    point = compare(lam, last if lam else first, first, last)
    assert (point.gap, point.standard_error, point.p_value) == (0.0, 0.0, 1.0)


def test_scores_of_different_examples_are_refused() -> None:
    good = torch.tensor([True, False])
    for bad in (torch.tensor([True]), torch.tensor([1, 0]), torch.tensor([[True, False]])):
        with pytest.raises(InvalidInputError, match="same examples"):
            compare(0.5, bad, good, good)
    empty = torch.zeros(0, dtype=torch.bool)
    with pytest.raises(InvalidInputError, match="at least one"):
        compare(0.5, empty, empty, empty)


def point(lam: float, accuracy: float, chord: float, error: float | None = 0.01, p: float = 0.5) -> Point:
    return Point(lam, accuracy, chord, accuracy - chord, error, p)


def line(*between: Point) -> list[Point]:
    return [point(0.0, 0.9, 0.9, 0.0, 1.0), *between, point(1.0, 0.9, 0.9, 0.0, 1.0)]


@pytest.mark.parametrize(
    ("accuracy", "p", "verdict"),
    [
        (0.95, 0.99, Verdict.HOLDS),
        (0.89, 0.2, Verdict.HOLDS),  # exactly one standard error below
        (0.885, 0.05, Verdict.UNDECIDED),
        (0.885, 0.01, Verdict.VIOLATED),
    ],
)
def test_without_a_tolerance_the_verdict_has_three_values(accuracy: float, p: float, verdict: Verdict) -> None:
    assert judge(line(point(0.5, accuracy, 0.9, p=p)), Criterion()) is verdict


def test_the_level_is_shared_by_places_and_comparisons() -> None:
    low = point(0.5, 0.8, 0.9, p=0.004)
    other = point(0.7, 0.9, 0.9)
    assert judge(line(low), Criterion()) is Verdict.VIOLATED
    assert judge(line(low, other), Criterion()) is Verdict.VIOLATED
    assert judge(line(low, other, other), Criterion()) is Verdict.UNDECIDED
    assert judge(line(low), Criterion(comparisons=3)) is Verdict.UNDECIDED
    assert judge(line(low, other, other), Criterion(level=0.05)) is Verdict.VIOLATED


@pytest.mark.parametrize(
    ("tolerance", "verdict"), [(0.02, "violated"), (0.03, "holds"), (0.04, "holds"), (0, "violated")]
)
def test_a_tolerance_of_the_user_decides_alone(tolerance: float, verdict: str) -> None:
    drop = point(0.5, 0.87, 0.9, error=0.5, p=0.4)
    assert judge(line(drop), Criterion(tolerance=tolerance)) == verdict


def ends(first: float, middle: float, last: float) -> list[Point]:
    chord = (first + last) / 2
    return [point(0.0, first, first), point(0.5, middle, chord), point(1.0, last, last)]


@pytest.mark.parametrize(
    ("definition", "middle", "verdict"),
    [
        ("frankle-mean", 0.841, "holds"),
        ("frankle-mean", 0.84, "violated"),  # an increase of exactly 2 % is not less than 2 %
        ("frankle-worst", 0.831, "holds"),
        ("frankle-worst", 0.83, "violated"),
        ("ratatouille", 0.84, "violated"),
    ],
)
def test_frankles_definitions_look_at_errors_above_the_ends(definition: str, middle: float, verdict: str) -> None:
    tolerance = 0.019 if definition == "ratatouille" else None
    criterion = Criterion(definition=definition, tolerance=tolerance)  # type: ignore[arg-type]  # from a parameter
    assert judge(ends(0.87, middle, 0.85), criterion) == verdict


def test_ends_that_differ_by_more_than_the_limit_break_the_mean_definition_by_themselves() -> None:
    apart = ends(0.95, 0.9, 0.85)
    assert judge(apart, Criterion(definition="frankle-mean")) is Verdict.VIOLATED
    assert judge(apart, Criterion(definition="frankle-worst")) is Verdict.HOLDS
    assert max(shortfall(apart, "frankle-mean")) == pytest.approx(0.05)


def test_one_example_that_is_lost_decides_nothing_and_ten_do() -> None:
    def verdict(count: int) -> Verdict:
        right, wrong = torch.ones(count, dtype=torch.bool), torch.zeros(count, dtype=torch.bool)
        return judge(
            [compare(lam, wrong if lam == 0.5 else right, right, right) for lam in (0.0, 0.5, 1.0)], Criterion()
        )

    assert verdict(1) is Verdict.UNDECIDED
    assert verdict(2) is Verdict.UNDECIDED
    assert verdict(10) is Verdict.VIOLATED  # every difference is equal: the standard error itself is 0


def test_all_bad_values_are_reported_together() -> None:
    with pytest.raises(InvalidInputError) as raised:
        Criterion(definition="x", tolerance=math.nan, level=1.0, comparisons=0)  # type: ignore[arg-type]  # on purpose
    for word in ("definition is 'x'", "tolerance is nan", "level is 1.0", "comparisons is 0"):
        assert word in raised.value.message


GRID = [step / 10 for step in range(11)]
SHARES = {  # of both right, first only, second only, both wrong
    "ordinary": (0.90, 0.03, 0.03, 0.04),
    "one end far better": (0.60, 0.30, 0.00, 0.10),
    "nothing but differences": (0.60, 0.40, 0.00, 0.00),
    "nearly perfect": (0.98, 0.01, 0.00, 0.01),
}


def simulated_verdict(shares: str, examples: int, seed: int, *, drop: float = 0.0) -> Verdict:
    """A path that answers like one end or the other, and loses ``drop`` of the examples in the middle."""
    generator = np.random.default_rng([seed, examples])
    kind = generator.choice(4, size=examples, p=SHARES[shares])
    first, last = kind < 2, (kind == 0) | (kind == 2)
    points = []
    for lam in GRID:
        like_last = generator.random(examples) < lam
        lost = generator.random(examples) < 4 * lam * (1 - lam) * drop
        here = np.where(like_last, last, first) & ~lost
        points.append(compare(lam, *(torch.from_numpy(part.copy()) for part in (here, first, last))))
    return Curve(("a", "b"), tuple(points), Criterion(), examples).verdict


@pytest.mark.parametrize("examples", [20, 100, 360])
@pytest.mark.parametrize("shares", SHARES)
def test_a_path_without_a_gap_is_hardly_ever_called_violated(shares: str, examples: int) -> None:
    runs = 300
    violated = sum(simulated_verdict(shares, examples, seed) is Verdict.VIOLATED for seed in range(runs))
    assert violated <= stats.binom.ppf(0.999, runs, 0.01)  # 9 of 300 at the stated level of 1 %


@pytest.mark.parametrize("shares", SHARES)
def test_a_large_barrier_is_always_called_violated(shares: str) -> None:
    assert {simulated_verdict(shares, 360, seed, drop=0.3) for seed in range(50)} == {Verdict.VIOLATED}


def test_a_label_of_an_id_is_short_in_sentences_and_whole_in_json() -> None:
    labels = ("0a" * 32, "1b" * 32)
    curve = Curve(labels, tuple(line(point(0.5, 0.4, 0.9, p=0.0))), Criterion(), 100)
    assert curve.ends == "0a0a0a0a0a and 1b1b1b1b1b"
    assert curve.describe_worst() == "at λ = 0.5 the accuracy is 0.4000, the line between the ends has 0.9000"
    assert curve.to_json()["labels"] == list(labels)
