"""WiSE against numpy and a few lines of its own rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import IncompatibleWeightsError, InvalidInputError
from mlgit.evaluation.score import Score
from mlgit.merging.candidate import Candidate
from mlgit.merging.strategy import make_strategy
from mlgit.merging.wise import WiseInterpolation
from mlgit.testing.merge_strategy import assert_same_weights, reference_evaluate, reference_pool
from mlgit.weights.types import Weights

PLACES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def two(fine_tuned: float = 0.0, pretrained: float = 1.0) -> list[Candidate]:
    """Weights of one number, so that the mixture of 0 and 1 is the share of the pretrained end."""
    return [
        Candidate("fine", {"w": torch.tensor([fine_tuned], dtype=torch.float64)}),
        Candidate("pretrained", {"w": torch.tensor([pretrained], dtype=torch.float64)}),
    ]


class Table:
    """Looks accuracies up by the share of the pretrained end, and keeps the order of questions."""

    def __init__(self, accuracies: Mapping[float, float]) -> None:
        self.accuracies = accuracies
        self.asked: list[float] = []

    def __call__(self, weights: Weights) -> Score:
        place = min(self.accuracies, key=lambda known: abs(known - float(weights["w"])))
        assert float(weights["w"]) == pytest.approx(place, abs=1e-12)
        self.asked.append(place)
        return Score(self.accuracies[place], {"only": 0.0}, torch.zeros(1, dtype=torch.bool))


def wise(**fields: float | str) -> WiseInterpolation:
    strategy = make_strategy("wise", {"pretrained": "pretrained", **fields})
    assert isinstance(strategy, WiseInterpolation)
    return strategy


@given(st.lists(st.sampled_from([0.2, 0.4, 0.6, math.nan]), min_size=2, max_size=13), st.booleans())
def test_the_best_point_nearest_to_the_fine_tuned_end_is_taken(values: Sequence[float], swapped: bool) -> None:
    places = np.linspace(0, 1, len(values))
    table = Table(dict(zip(places.tolist(), values, strict=True)))
    pool = two()[::-1] if swapped else two()
    usable = [value for value in values if not math.isnan(value)]
    if not usable:
        with pytest.raises(InvalidInputError, match=f"none of the {len(values)} points"):
            wise(points=len(values)).merge(pool, table)
        return
    merged = wise(points=len(values)).merge(pool, table)
    expected = places[list(values).index(max(usable))]
    assert float(merged.weights["w"]) == pytest.approx(expected, abs=1e-12)
    assert merged.by_label == pytest.approx({"fine": 1 - expected, "pretrained": expected}, abs=1e-12)
    assert table.asked == pytest.approx(places)
    assert merged.record["accuracy"] == max(usable)


def test_by_default_the_places_are_tenths_and_every_one_is_recorded_with_the_names_of_its_ends() -> None:
    merged = wise().merge(two(), Table({place: 0.5 if place == 0.3 else 0.1 + place / 10 for place in PLACES}))
    assert merged.record["ends"] == {"pretrained": "pretrained", "fine_tuned": "fine"}
    assert merged.record["pretrained_share"] == 0.3
    points = merged.record["points"]
    assert isinstance(points, list)
    assert [point["pretrained"] for point in points] == list(PLACES)
    assert [point["pretrained"] + point["fine_tuned"] for point in points] == [1.0] * 11
    assert [point["accuracy"] for point in points] == [0.5 if p == 0.3 else 0.1 + p / 10 for p in PLACES]


def test_a_point_that_is_not_a_number_is_recorded_as_none() -> None:
    merged = wise(points=3).merge(two(), Table({0.0: math.nan, 0.5: 0.2, 1.0: 0.1}))
    assert [point["accuracy"] for point in merged.record["points"]] == [None, 0.2, 0.1]  # type: ignore[union-attr, call-overload, index]
    assert merged.record["pretrained_share"] == 0.5


@pytest.mark.parametrize("points", [3, 5, 11, 101])
def test_an_odd_number_of_points_has_the_middle(points: int) -> None:
    merged = wise(points=points).merge(two(), Table({k / (points - 1): 0.0 for k in range(points)}))
    assert 0.5 in [point["pretrained"] for point in merged.record["points"]]  # type: ignore[union-attr, call-overload, index]


@given(st.floats(0, 1), st.booleans())
def test_the_mixture_is_that_of_numpy_whichever_end_comes_first(share: float, first: bool) -> None:
    pool = reference_pool([1, 2])
    pretrained, fine_tuned = pool if first else pool[::-1]
    merged = WiseInterpolation(pretrained=pretrained.label, share=share).merge(pool)
    for name in ("classifier.weight", "classifier.bias"):
        old, new = (candidate.weights[name].numpy().astype(np.float64) for candidate in (pretrained, fine_tuned))
        expected = (share * old + (1 - share) * new).astype(np.float32)
        assert np.allclose(merged.weights[name].numpy(), expected, rtol=1e-6, atol=1e-7)
    assert merged.by_label == {pretrained.label: share, fine_tuned.label: 1 - share}


@pytest.mark.parametrize(("share", "end"), [(0.0, 1), (1.0, 0), (0, 1)])
def test_an_end_comes_out_bit_for_bit(share: float, end: int) -> None:
    pool = reference_pool([1, 2])
    merged = WiseInterpolation(pretrained="model-0", share=share).merge(pool)
    assert_same_weights(merged.weights, pool[end].weights)
    assert merged.record["order"] == [f"model-{end}"]


def test_a_fixed_share_needs_no_data_and_reads_none() -> None:
    def refuse(weights: Weights) -> Score:
        raise AssertionError(f"evaluated {sorted(weights)}")

    strategy = wise(share=0.25)
    assert not strategy.needs_evaluation
    merged = strategy.merge(two(), refuse)
    assert float(merged.weights["w"]) == 0.25
    assert merged.record["points"] == []
    assert merged.record["accuracy"] is None


def test_a_choice_is_the_model_of_the_same_share_bit_for_bit() -> None:
    pool = reference_pool([3, 4])
    chosen = WiseInterpolation(pretrained="model-1").merge(pool, reference_evaluate)
    share = chosen.by_label["model-1"]
    fixed = WiseInterpolation(pretrained="model-1", share=share).merge(pool)
    assert_same_weights(chosen.weights, fixed.weights)
    best = max(
        reference_evaluate(WiseInterpolation(pretrained="model-1", share=place).merge(pool).weights).accuracy
        for place in PLACES
    )
    assert reference_evaluate(chosen.weights).accuracy == best == chosen.record["accuracy"]


@pytest.mark.parametrize("name", ["", "elsewhere"])
def test_the_pretrained_end_must_be_named(name: str) -> None:
    with pytest.raises(InvalidInputError, match="pretrained") as caught:
        WiseInterpolation(pretrained=name, share=0.5).merge(two())
    assert caught.value.hint == "name one of fine, pretrained"


@pytest.mark.parametrize(
    "fields",
    [{"points": 1}, {"points": -3}, {"share": 1.01}, {"share": -0.5}, {"share": math.nan}, {"share": math.inf}],
)
def test_values_out_of_range_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(fields))):
        wise(**fields)


def test_statistics_that_differ_are_refused_with_the_candidates_named() -> None:
    pool = reference_pool([1, 2])
    other = dict(pool[1].weights) | {"features.norm.running_mean": torch.zeros(4)}
    with pytest.raises(IncompatibleWeightsError, match="running_mean"):
        WiseInterpolation(pretrained="model-0", share=0.5).merge([pool[0], Candidate("model-1", other)])
