from __future__ import annotations

import math
import random
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import IncompatibleWeightsError, InvalidInputError
from mlgit.merging.candidate import Candidate
from mlgit.merging.fusing import Fusing
from mlgit.merging.uniform import UniformAverage
from mlgit.weights.forms import TensorForm

LABELS = ("a", "b", "c", "d", "e")


def pool(classes: tuple[int, ...] = (3, 3, 3, 3, 3)) -> list[Candidate]:
    generator = torch.Generator().manual_seed(0)
    return [
        Candidate(
            label,
            {
                "features.weight": torch.randn(4, 4, generator=generator),
                "classifier.weight": torch.randn(rows, 4, generator=generator),
                "classifier_norm.weight": torch.randn(4, generator=generator),
            },
        )
        for label, rows in zip(LABELS, classes, strict=True)
    ]


@given(st.integers(0, 2**40), st.floats(0, 8))
def test_coefficients_are_the_softmax_of_seeded_draws_for_labels_in_order(seed: int, width: float) -> None:
    merged = Fusing(seed=seed, fusing_range=width).merge(pool()[::-1])
    draws = random.Random(seed)
    kappas = [width * draws.random() for _ in LABELS]
    powers = np.exp(np.array(kappas))
    expected = dict(zip(LABELS, (powers / powers.sum()).tolist(), strict=True))
    assert merged.record["kappas"] == pytest.approx(dict(zip(LABELS, kappas, strict=True)))
    assert merged.by_label == pytest.approx(expected)
    assert max(merged.coefficients) <= min(merged.coefficients) * math.exp(width) * (1 + 1e-12)


def test_the_result_is_the_weighted_sum_in_float64() -> None:
    merged = Fusing(seed=3).merge(pool())
    stacked = np.stack([c.weights["features.weight"].numpy() for c in pool()]).astype(np.float64)
    expected = np.tensordot(np.array(merged.coefficients), stacked, axes=1)
    np.testing.assert_allclose(merged.weights["features.weight"].numpy(), expected, rtol=1e-7)


def test_different_seeds_give_different_coefficients_and_equal_ones_the_same() -> None:
    assert Fusing(seed=1).merge(pool()).coefficients == Fusing(seed=1).merge(pool()).coefficients
    assert len({Fusing(seed=seed).merge(pool()).coefficients for seed in range(20)}) == 20


def test_range_zero_is_the_plain_mean() -> None:
    fused, uniform = Fusing(fusing_range=0).merge(pool()), UniformAverage().merge(pool())
    assert fused.coefficients == uniform.coefficients
    assert all(torch.equal(fused.weights[name], tensor) for name, tensor in uniform.weights.items())


def test_heads_of_different_tasks_are_left_out_of_average_and_check() -> None:
    mixed = pool((3, 5, 7, 3, 3))
    fused = Fusing(head="classifier").merge(mixed)
    assert sorted(fused.weights) == ["classifier_norm.weight", "features.weight"]
    with pytest.raises(IncompatibleWeightsError, match=r"classifier\.weight"):
        Fusing().merge(mixed)


class Stored(dict[str, torch.Tensor]):
    """Weights that know their forms, and refuse to read a head."""

    @property
    def entries(self) -> dict[str, TensorForm]:
        return {name: TensorForm("F32", tuple(tensor.shape)) for name, tensor in super().items()}

    def __getitem__(self, name: str) -> torch.Tensor:
        assert not name.startswith("classifier.")
        return super().__getitem__(name)


def test_heads_that_are_not_wanted_are_not_read() -> None:
    plain = pool((3, 5, 7, 3, 3))
    stored = [Candidate(candidate.label, Stored(candidate.weights)) for candidate in plain]
    strategy = Fusing(head="classifier", seed=4)
    fused, expected = strategy.merge(stored).weights, strategy.merge(plain).weights
    assert sorted(fused) == sorted(expected)
    assert all(torch.equal(fused[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("order", [LABELS, LABELS[::-1]])
def test_the_head_comes_from_the_candidate_that_is_named(order: tuple[str, ...]) -> None:
    by_label = {c.label: c for c in pool((3, 5, 7, 3, 3))}
    fused = Fusing(head="classifier", head_from="b").merge([by_label[label] for label in order])
    source = by_label["b"].weights["classifier.weight"]
    assert torch.equal(fused.weights["classifier.weight"], source)
    assert fused.weights["classifier.weight"].data_ptr() != source.data_ptr()
    assert fused.record["parameters"] == {
        "fusing_range": 4.0, "seed": 0, "head": "classifier", "head_from": "b", "statistics": "require-equal",
    }  # fmt: skip


def test_every_order_of_arguments_gives_the_same_bits_with_uneven_coefficients() -> None:
    results = {
        Fusing(seed=5).merge(order).weights["features.weight"].numpy().tobytes() for order in permutations(pool())
    }
    assert len(results) == 1


def test_a_head_that_is_nowhere_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="not among the candidates"):
        Fusing(head="classifier", head_from="z").merge(pool())
    with pytest.raises(InvalidInputError, match="no entries below 'fc'"):
        Fusing(head="fc", head_from="a").merge(pool())


def test_all_bad_parameters_are_reported_together() -> None:
    with pytest.raises(InvalidInputError) as raised:
        Fusing(fusing_range=-1, seed=-2, head_from="a", statistics="guess")  # type: ignore[arg-type]  # on purpose
    for word in ("fusing_range is -1", "seed is -2", "head_from is 'a'", "statistics is 'guess'"):
        assert word in raised.value.message
    with pytest.raises(InvalidInputError, match="fusing_range is nan"):
        Fusing(fusing_range=math.nan)


def test_the_same_weights_get_the_same_coefficient_whatever_they_are_called() -> None:
    weights = [{"phi": torch.full((2,), float(number))} for number in range(4)]
    first = [Candidate(f"{number}", each, content=f"w{number}") for number, each in enumerate(weights)]
    second = [Candidate(f"{9 - number}", each, content=f"w{number}") for number, each in enumerate(weights)]
    a, b = Fusing(seed=3).merge(first), Fusing(seed=3).merge(second)
    assert a.coefficients == b.coefficients
    assert torch.equal(a.weights["phi"], b.weights["phi"])
