from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.errors import InvalidInputError
from mlgit.evaluation.score import Score
from mlgit.merging.candidate import Candidate
from mlgit.merging.greedy import GreedySoup
from mlgit.weights.types import Weights

Table = Mapping[frozenset[int], float]


def candidate(index: int, score: float | None = None) -> Candidate:
    """Weights that say which members a mean has: entry i is 1 for member i."""
    return Candidate(f"{index:03d}", {"member": torch.eye(8, dtype=torch.float64)[index]}, score)


def members(weights: Weights) -> frozenset[int]:
    return frozenset(torch.nonzero(weights["member"]).flatten().tolist())


class Evaluator:
    """Looks accuracies up in a table of member sets, and counts."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.calls: list[frozenset[int]] = []

    def __call__(self, weights: Weights) -> Score:
        who = members(weights)
        assert torch.allclose(weights["member"][sorted(who)], torch.tensor(1 / len(who), dtype=torch.float64))
        self.calls.append(who)
        accuracy = self.table[who]
        return Score(accuracy, {"only": accuracy}, torch.zeros(1, dtype=torch.bool))


def greedy_soup(scores: Sequence[float], table: Table) -> set[int]:
    """PROTOCOL's greedy in a few lines, for the oracle."""
    kept: set[int] = set()
    best = -math.inf
    for _, index in sorted((-score, index) for index, score in enumerate(scores) if not math.isnan(score)):
        accuracy = table[frozenset(kept | {index})]
        if accuracy >= best:
            kept, best = kept | {index}, accuracy
    return kept


COARSE = st.sampled_from([0.1, 0.2, 0.3, 0.4, math.nan])  # few values: many ties


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[float], dict[frozenset[int], float]]:
    count = draw(st.integers(1, 5))
    scores = [draw(COARSE) for _ in range(count)]
    subsets = [frozenset(i for i in range(count) if bits >> i & 1) for bits in range(1, 2**count)]
    return scores, {subset: draw(COARSE) for subset in subsets}


@given(problems(), st.randoms())
@settings(max_examples=200)
def test_greedy_equals_an_independent_reimplementation(
    problem: tuple[list[float], dict[frozenset[int], float]], shuffler: st.random.Random
) -> None:
    scores, table = problem
    evaluator = Evaluator(table)
    pool = [candidate(index, score) for index, score in enumerate(scores)]
    shuffler.shuffle(pool)
    expected = greedy_soup(scores, table)
    if not expected:
        with pytest.raises(InvalidInputError, match="none of the"):
            GreedySoup().merge(pool, evaluator)
        return
    merged = GreedySoup().merge(pool, evaluator)
    assert members(merged.weights) == expected
    assert {int(label) for label, share in merged.by_label.items() if share} == expected
    assert set(merged.by_label.values()) <= {0.0, 1 / len(expected)}
    usable = sum(not math.isnan(score) for score in scores)
    assert len(evaluator.calls) == usable <= len(scores) + 1


@given(problems())
def test_without_recorded_scores_each_model_is_evaluated_alone_first(
    problem: tuple[list[float], dict[frozenset[int], float]],
) -> None:
    _, table = problem
    count = max(len(subset) for subset in table)
    alone = [table[frozenset({index})] for index in range(count)]
    expected = greedy_soup(alone, table)
    evaluator = Evaluator(table)
    pool = [candidate(index, 0.9 if index == 0 and count > 1 else None) for index in range(count)]
    if not expected:
        with pytest.raises(InvalidInputError, match="none of the"):
            GreedySoup().merge(pool, evaluator)
        return
    merged = GreedySoup().merge(pool, evaluator)
    assert members(merged.weights) == expected
    assert merged.record["ranking"] == "evaluated alone"
    assert len(evaluator.calls) <= 2 * count - 1


def full_table(count: int, accuracy: float = 0.5) -> dict[frozenset[int], float]:
    return {frozenset(i for i in range(count) if bits >> i & 1): accuracy for bits in range(1, 2**count)}


def test_greedy_drops_a_candidate_that_lowers_accuracy_and_goes_on() -> None:
    table = full_table(3, 0.8) | {frozenset({0, 1}): 0.79, frozenset({0, 2}): 0.81}
    pool = [candidate(0, 0.9), candidate(1, 0.8), candidate(2, 0.7)]
    merged = GreedySoup().merge(pool, Evaluator(table))
    assert merged.by_label == {"000": 0.5, "001": 0.0, "002": 0.5}
    assert merged.record["accuracy"] == 0.81
    assert merged.record["trials"] == [
        {"label": "000", "score": 0.9, "accuracy": 0.8, "accepted": True, "reason": "first"},
        {"label": "001", "score": 0.8, "accuracy": 0.79, "accepted": False, "reason": "lower"},
        {"label": "002", "score": 0.7, "accuracy": 0.81, "accepted": True, "reason": "not lower"},
    ]


def test_a_tie_is_accepted_and_equal_scores_are_taken_in_the_order_of_labels() -> None:
    for pool in permutations([candidate(index, 0.5) for index in range(3)]):
        merged = GreedySoup().merge(pool, Evaluator(full_table(3)))
        trials = merged.record["trials"]
        assert isinstance(trials, list)
        assert [trial["label"] for trial in trials] == ["000", "001", "002"]
        assert set(merged.coefficients) == {1 / 3}


def test_the_first_is_accepted_however_bad_and_a_model_without_a_number_is_not_the_first() -> None:
    merged = GreedySoup().merge([candidate(0, 0.0)], Evaluator({frozenset({0}): 0.0}))
    assert merged.coefficients == (1.0,)
    table = full_table(3) | {frozenset({0}): math.nan}
    pool = [candidate(0, 0.9), candidate(1, math.nan), candidate(2, 0.1)]
    merged = GreedySoup().merge(pool, Evaluator(table))
    assert merged.by_label == {"000": 0.0, "001": 0.0, "002": 1.0}
    trials = merged.record["trials"]
    assert isinstance(trials, list)
    assert [(trial["label"], trial["score"], trial["accuracy"], trial["reason"]) for trial in trials] == [
        ("000", 0.9, None, "not a number"),
        ("002", 0.1, 0.5, "first"),
        ("001", None, None, "not a number"),
    ]


def test_a_model_alone_is_measured_by_its_domains_in_ranking_and_by_its_examples_in_trials() -> None:
    def evaluate(weights: Weights) -> Score:
        who = members(weights)
        micro, macro = {frozenset({0}): (0.9, 0.6), frozenset({1}): (0.5, 0.7)}.get(who, (0.55, 0.0))
        return Score(micro, {"only": macro}, torch.zeros(1, dtype=torch.bool))

    merged = GreedySoup().merge([candidate(0), candidate(1)], evaluate)
    trials = merged.record["trials"]
    assert isinstance(trials, list)
    assert [(t["label"], t["score"], t["accuracy"]) for t in trials] == [("001", 0.7, 0.5), ("000", 0.6, 0.55)]


class Counting(Mapping[str, torch.Tensor]):
    """Weights that count how often a tensor is read."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.reads = 0

    def __getitem__(self, name: str) -> torch.Tensor:
        self.reads += 1
        return self.weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_with_recorded_scores_m_models_cost_m_evaluations_and_each_is_read_once(count: int) -> None:
    sources = [Counting(candidate(index).weights) for index in range(count)]
    pool = [Candidate(f"{i:03d}", source, 0.5) for i, source in enumerate(sources)]
    evaluator = Evaluator(full_table(count))
    GreedySoup().merge(pool, evaluator)
    assert len(evaluator.calls) == count
    assert [source.reads for source in sources] == [1] * count


def test_the_result_is_the_mean_whose_accuracy_the_record_states() -> None:
    generator = torch.Generator().manual_seed(0)
    pool = [Candidate(f"{i}", {"w": torch.randn(50, generator=generator)}, 0.5) for i in range(6)]
    seen: list[torch.Tensor] = []

    def evaluate(weights: Weights) -> Score:
        seen.append(weights["w"].clone())
        accuracy = float(len(seen) % 3 != 2)
        return Score(accuracy, {"only": accuracy}, torch.zeros(1, dtype=torch.bool))

    merged = GreedySoup().merge(pool, evaluate)
    trials = merged.record["trials"]
    assert isinstance(trials, list)
    last = max(index for index, trial in enumerate(trials) if trial["accepted"])
    assert torch.equal(merged.weights["w"], seen[last])
    kept = [pool[int(trial["label"])].weights["w"].double() for trial in trials if trial["accepted"]]
    assert 1 < len(kept) < len(pool)
    assert torch.equal(merged.weights["w"], torch.stack(kept).mean(dim=0).float())
