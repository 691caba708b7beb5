"""The contract of merge strategies.

Use::

    class TestMyAverage(MergeStrategyContract):
        def strategy(self) -> MergeStrategy:
            return MyAverage()
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence

import pytest
import torch

from mlgit.errors import IncompatibleWeightsError, InvalidInputError
from mlgit.evaluation.score import Predictions, Score, score
from mlgit.merging.candidate import Candidate
from mlgit.merging.strategy import Merged, MergeStrategy
from mlgit.objects.encoding import canonical_json
from mlgit.weights.types import Weights


def reference_weights(seed: int) -> dict[str, torch.Tensor]:
    """Return the state of a small model: a linear classifier, entries of other dtypes, batch-norm buffers.

    Args:
        seed: Of everything but the buffers, which are the same for every seed.
    """
    generator = torch.Generator().manual_seed(seed)
    return {
        "features.scale": torch.randn(4, generator=generator).to(torch.bfloat16),
        "features.shift": torch.randn(4, generator=generator).to(torch.float16),
        "features.norm.running_mean": torch.linspace(-1, 1, 4),
        "features.norm.num_batches_tracked": torch.tensor(7),
        "classifier.weight": torch.randn(3, 4, generator=generator),
        "classifier.bias": torch.randn(3, generator=generator),
    }


def reference_evaluate(weights: Weights) -> Score:
    """Return the score of such a model on 64 fixed examples of two domains."""
    generator = torch.Generator().manual_seed(1234)
    parts = []
    for domain in ("left", "right"):
        inputs, labels = torch.randn(32, 4, generator=generator), torch.randint(3, (32,), generator=generator)
        features = inputs * weights["features.scale"].float() + weights["features.shift"].float()
        logits = features @ weights["classifier.weight"].T + weights["classifier.bias"]
        parts.append(Predictions(domain, logits.softmax(dim=1), labels))
    return score(parts)


def reference_pool(seeds: Sequence[int]) -> list[Candidate]:
    """Return one candidate per seed; the label is made from the position, so equal seeds give equal models."""
    return [Candidate(f"model-{position}", reference_weights(seed)) for position, seed in enumerate(seeds)]


def assert_same_weights(left: Weights, right: Weights) -> None:
    """Raise AssertionError unless names, dtypes, shapes and all bits are the same; the order of names is free."""
    assert sorted(left) == sorted(right)
    for name, tensor in left.items():
        other = right[name]
        assert (tensor.dtype, tensor.shape) == (other.dtype, other.shape), name
        assert torch.equal(_bytes(tensor), _bytes(other)), name


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


class MergeStrategyContract(ABC):
    """Laws of every merge strategy: subclass it and return the strategy."""

    @abstractmethod
    def strategy(self) -> MergeStrategy:
        """Return the strategy under test."""

    def _pool(self, seeds: Sequence[int]) -> list[Candidate]:
        """Return as many candidates as there are seeds, or as the strategy takes."""
        return reference_pool(seeds[: self.strategy().exactly or len(seeds)])

    def _needs_to_take(self, count: int) -> None:
        exactly = self.strategy().exactly
        if exactly not in (None, count):
            pytest.skip(f"takes {exactly} models")

    def _merge(self, candidates: Sequence[Candidate]) -> Merged:
        return self.strategy().merge(candidates, reference_evaluate)

    def test_it_is_a_final_frozen_dataclass_that_names_its_paper(self) -> None:
        """Parameters are fields; nobody changes them or builds on the class."""
        strategy = self.strategy()
        assert getattr(type(strategy), "__final__", False)
        assert dataclasses.is_dataclass(strategy)
        assert hash(strategy) == hash(dataclasses.replace(strategy))
        assert "arXiv:" in strategy.reference
        assert strategy.summary
        assert not strategy.summary.endswith(".")

    def test_one_model_comes_back_as_it_is(self) -> None:
        """M = 1 changes no bit, be it a negative zero or a NaN."""
        self._needs_to_take(1)
        (candidate,) = reference_pool([1])
        weights = dict(candidate.weights) | {"features.odd": torch.tensor([-0.0, math.nan, math.inf])}
        merged = self._merge([Candidate(candidate.label, weights)])
        assert merged.coefficients == (1.0,)
        assert_same_weights(merged.weights, weights)

    @pytest.mark.parametrize("count", [2, 3, 7])
    def test_equal_models_merge_to_themselves(self, count: int) -> None:
        """Averaging is idempotent, bit for bit."""
        self._needs_to_take(count)
        merged = self._merge(reference_pool([5] * count))
        assert_same_weights(merged.weights, reference_weights(5))

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_the_inputs_are_left_unchanged(self, count: int) -> None:
        """Neither during the merge nor by changing its result."""
        self._needs_to_take(count)
        pool = reference_pool(range(1, count + 1))
        merged = self._merge(pool)
        for tensor in merged.weights.values():
            tensor.zero_()
        for seed, candidate in enumerate(pool, start=1):
            assert_same_weights(candidate.weights, reference_weights(seed))

    def test_the_order_of_arguments_does_not_matter_unless_declared(self) -> None:
        """Bits, coefficients and record are those of the first order for all of them."""
        if self.strategy().order_matters:
            pytest.skip("declares that order matters")
        pool = self._pool([1, 2, 3, 4])
        expected = self._merge(pool)
        for order in itertools.permutations(pool):
            merged = self._merge(order)
            assert_same_weights(merged.weights, expected.weights)
            assert merged.by_label == expected.by_label
            assert canonical_json(merged.record) == canonical_json(expected.record)

    def test_coefficients_stand_beside_their_labels_and_sum_to_one(self) -> None:
        """In the order of the arguments, also where that is not the canonical one."""
        pool = self._pool([1, 2, 3, 4, 5])[::-1]
        merged = self._merge(pool)
        assert merged.labels == tuple(candidate.label for candidate in pool)
        assert len(merged.coefficients) == len(pool)
        assert math.fsum(merged.coefficients) == pytest.approx(1.0, abs=1e-12)

    def test_the_record_is_canonical_json_with_strategy_parameters_and_coefficients(self) -> None:
        """So it can be part of a commit."""
        merged = self._merge(self._pool([1, 2, 3]))
        assert canonical_json(merged.record)
        assert merged.record["strategy"] == self.strategy().name
        assert merged.record["parameters"] == self.strategy().parameters()
        assert merged.record["coefficients"] == merged.by_label

    def test_the_same_call_gives_the_same_result_and_leaves_global_randomness_alone(self) -> None:
        """Draws come from the strategy's own seed."""
        results = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            random.seed(seed)
            before = torch.get_rng_state(), random.getstate()
            results.append(self._merge(self._pool([1, 2, 3])))
            assert torch.equal(before[0], torch.get_rng_state())
            assert before[1] == random.getstate()
        assert_same_weights(results[0].weights, results[1].weights)

    def test_an_empty_pool_is_refused(self) -> None:
        """Nothing has no average."""
        with pytest.raises(InvalidInputError, match="empty"):
            self._merge([])

    def test_a_label_that_stands_twice_is_refused(self) -> None:
        """It would count double without anybody having asked for it."""
        (candidate,) = reference_pool([1])
        with pytest.raises(InvalidInputError, match="more than once"):
            self._merge([candidate, Candidate(candidate.label, reference_weights(2))])

    @pytest.mark.parametrize("change", ["name", "shape", "dtype"])
    def test_models_that_do_not_fit_together_are_refused_by_name(self, change: str) -> None:
        """The error names the entry."""
        weights = reference_weights(2)
        tensor = weights.pop("features.scale")
        if change != "name":
            weights["features.scale"] = tensor[:3] if change == "shape" else tensor.float()
        with pytest.raises(IncompatibleWeightsError, match=r"features\.scale"):
            self.strategy().merge([*reference_pool([1]), Candidate("model-1", weights)], _always_half)

    def test_another_number_of_models_than_it_takes_is_refused(self) -> None:
        """The error says how many there must be."""
        exactly = self.strategy().exactly
        if exactly is None:
            pytest.skip("takes any number of models")
        for count in (exactly - 1, exactly + 1):
            if count > 0:
                with pytest.raises(InvalidInputError, match=f"takes exactly {exactly} models, not {count}"):
                    self._merge(reference_pool(range(count)))

    def test_a_strategy_that_selects_asks_for_data(self) -> None:
        """Without ``evaluate`` it is refused before anything is read."""
        strategy = self.strategy()
        if not strategy.needs_evaluation:
            assert strategy.merge(reference_pool([1, 2])).weights
            return
        with pytest.raises(InvalidInputError, match="no data"):
            strategy.merge(reference_pool([1, 2]))


def _always_half(weights: Weights) -> Score:
    del weights
    return Score(0.5, {"only": 0.5}, torch.tensor([True, False]))
