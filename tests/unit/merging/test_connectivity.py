from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import CheckFailedError, IncompatibleWeightsError, InvalidInputError
from mlgit.evaluation.score import Score
from mlgit.merging.candidate import Candidate
from mlgit.merging.connectivity import CHORD, FULL, broken_path_error, check_pairs, lmc
from mlgit.merging.criterion import Criterion, Verdict
from mlgit.merging.curve import overall
from mlgit.objects.encoding import canonical_json
from mlgit.weights.types import Weights

EXAMPLES = 1000


def at(label: str, *place: float) -> Candidate:
    """A model that is a point in the plane."""
    return Candidate(label, {"place": torch.tensor(place, dtype=torch.float64)})


class Landscape:
    """Accuracy as a function of the place: the first examples are right, as many as the function says."""

    def __init__(self, accuracy: Callable[..., float]) -> None:
        self.accuracy = accuracy
        self.visited: list[tuple[float, ...]] = []

    def __call__(self, weights: Weights) -> Score:
        place = tuple(round(x, 9) for x in weights["place"].tolist())
        self.visited.append(place)
        count = round(EXAMPLES * self.accuracy(*place))
        correct = torch.arange(EXAMPLES) < count
        return Score(count / EXAMPLES, {"only": count / EXAMPLES}, correct)


A, B = at("a", 0.0), at("b", 1.0)


def test_a_known_curve_is_measured_point_by_point() -> None:
    landscape = Landscape(lambda x: 0.8 + 0.1 * x - 0.4 * x * (1 - x))
    curve = lmc(A, B, landscape)
    assert [point.lam for point in curve.points] == list(FULL)
    for point in curve.points:
        assert point.accuracy == pytest.approx(0.8 + 0.1 * point.lam - 0.4 * point.lam * (1 - point.lam), abs=6e-4)
        assert point.chord == pytest.approx(0.8 + 0.1 * point.lam)
        assert point.gap == pytest.approx(point.accuracy - point.chord)
    assert curve.margin == pytest.approx(-0.1)
    assert curve.gain == 0.0
    assert curve.barrier_worst == pytest.approx(0.8 - min(point.accuracy for point in curve.points))
    assert curve.barrier_mean == pytest.approx(0.85 - min(point.accuracy for point in curve.points))
    assert curve.worst.lam == 0.5
    assert curve.examples == EXAMPLES
    assert curve.verdict is Verdict.VIOLATED


def test_a_concave_path_holds_and_its_gain_is_told() -> None:
    curve = lmc(A, B, Landscape(lambda x: 0.8 + 0.4 * x * (1 - x)))
    assert curve.verdict is Verdict.HOLDS
    assert (curve.margin, curve.gain) == (0.0, pytest.approx(0.1))
    assert curve.barrier_worst == 0.0


def test_the_grid_always_has_both_ends_and_the_middle() -> None:
    for grid, expected in (([], CHORD), ([0.25], (0, 0.25, 0.5, 1)), ([1, 0], CHORD), (FULL, FULL)):
        landscape = Landscape(lambda *_: 0.5)
        assert tuple(point.lam for point in lmc(A, B, landscape, grid=grid).points) == expected
        assert sorted(landscape.visited) == [(place,) for place in expected]
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidInputError, match="between 0 and 1"):
            lmc(A, B, Landscape(lambda *_: 0.5), grid=[bad])


def test_ends_whose_scores_are_known_are_not_evaluated_again() -> None:
    landscape = Landscape(lambda x: 0.5 + 0.1 * x)
    fresh = lmc(A, B, landscape)
    known = {"a": landscape(A.weights), "b": landscape(B.weights), "other": landscape(A.weights)}
    landscape.visited.clear()
    assert lmc(A, B, landscape, scores=known) == fresh
    assert len(landscape.visited) == 9
    assert (0.0,) not in landscape.visited


def test_three_models_join_the_mean_of_two_with_the_third() -> None:
    c = at("c", 0.0, 0.0, 1.0)
    landscape = Landscape(lambda x, y, z: 0.5 + 0.2 * z + 0.1 * min(x, y))
    curve = lmc(at("a", 1.0, 0.0, 0.0), at("b", 0.0, 1.0, 0.0), landscape, third=c)
    expected = sorted(((1 - lam) / 2, (1 - lam) / 2, lam) for lam in FULL)
    assert sorted(landscape.visited) == [pytest.approx(place) for place in expected]
    assert curve.labels == ("a", "b", "c")
    assert (curve.points[0].accuracy, curve.points[-1].accuracy) == (0.55, 0.7)
    assert all(point.chord == pytest.approx(0.55 + 0.15 * point.lam) for point in curve.points)
    assert curve.ends == "the mean of a and b, and c"


def test_a_model_is_not_connected_to_itself_twice_and_weights_must_fit() -> None:
    landscape = Landscape(lambda *_: 0.5)
    with pytest.raises(InvalidInputError, match="more than once"):
        lmc(A, A, landscape)
    with pytest.raises(IncompatibleWeightsError, match="place"):
        lmc(A, at("b", 1.0, 2.0), landscape)


def test_the_curve_as_json_holds_every_number_and_is_canonical() -> None:
    curve = lmc(A, B, Landscape(lambda x: 0.8 - 0.4 * x * (1 - x)), grid=CHORD, criterion=Criterion(tolerance=0.05))
    record = curve.to_json()
    assert canonical_json(record)
    assert {key: record[key] for key in ("verdict", "tolerance", "worst_lambda", "examples")} == {
        "verdict": "violated", "tolerance": 0.05, "worst_lambda": 0.5, "examples": EXAMPLES,
    }  # fmt: skip
    points = record["points"]
    assert isinstance(points, list)
    assert points[1] == {
        "lambda": 0.5, "accuracy": 0.7, "chord": 0.8, "gap": pytest.approx(-0.1),
        "standard_error": pytest.approx(0.0094916, rel=1e-4), "p_value": pytest.approx(0.0, abs=1e-20),
    }  # fmt: skip


@given(st.integers(1, 6), st.randoms())
def test_every_pair_is_measured_and_every_model_evaluated_once(count: int, shuffler: st.random.Random) -> None:
    pool = [at(f"m{i}", float(3**i)) for i in range(count)]
    expected = list(itertools.combinations([c.label for c in pool], 2))
    shuffler.shuffle(pool)
    landscape = Landscape(lambda *_: 0.5)
    curves = check_pairs(pool, landscape)
    assert [curve.labels for curve in curves] == expected
    assert len(landscape.visited) == len(set(landscape.visited))
    assert len(landscape.visited) == (count + len(expected) if count > 1 else 0)
    assert all(curve.criterion.comparisons == len(expected) for curve in curves)
    assert overall(curves) is Verdict.HOLDS
    assert broken_path_error(curves) is None


def two_valleys(x: float) -> float:
    """Models left of 10 and right of 20 are good, what lies between is not."""
    return 0.5 if 10 < x < 20 else 0.9


def test_the_refusal_names_the_worst_pair_the_place_and_both_numbers() -> None:
    pool = [at("a" * 64, 1.0), at("b" * 64, 2.0), at("c" * 64, 3.0), at("d" * 64, 29.0)]
    curves = check_pairs(pool, Landscape(two_valleys))
    assert overall(curves) is Verdict.VIOLATED
    error = broken_path_error(curves)
    assert isinstance(error, CheckFailedError)
    assert error.exit_code == 1
    assert error.kind == "not-linearly-connected"
    assert error.message == (
        "aaaaaaaaaa and dddddddddd are not linearly connected: at λ = 0.5 the accuracy is 0.5000, "
        "the line between the ends has 0.9000, and 2 more of 6 pairs are broken"
    )
    assert error.hint == "use `--strategy greedy`, leave out dddddddddd (3 broken pairs), or accept it with `--force`"


def test_with_two_models_there_is_nothing_to_leave_out() -> None:
    error = broken_path_error(check_pairs([at("a", 1.0), at("b", 29.0)], Landscape(two_valleys)))
    assert error is not None
    assert error.hint == "use `--strategy greedy`, or accept it with `--force`"


@pytest.mark.parametrize(
    ("definition", "words"),
    [("frankle-mean", "the mean of the ends is 0.8000"), ("frankle-worst", "the worse end has 0.7000")],
)
def test_the_refusal_compares_with_what_the_definition_compares_with(definition: str, words: str) -> None:
    landscape = Landscape(lambda x: {0.0: 0.9, 1.0: 0.7}.get(x, 0.3))
    criterion = Criterion(definition=definition)  # type: ignore[arg-type]  # from a parameter
    error = broken_path_error([lmc(A, B, landscape, criterion=criterion)])
    assert error is not None
    assert words in error.message
