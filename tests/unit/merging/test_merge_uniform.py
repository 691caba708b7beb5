from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mlgit.errors import IncompatibleWeightsError
from mlgit.merging.candidate import Candidate
from mlgit.merging.uniform import UniformAverage

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)


def candidates(values: Sequence[np.ndarray]) -> list[Candidate]:
    pool = [Candidate(f"{i:03d}", {"w": torch.empty(value.shape)}) for i, value in enumerate(values)]
    for member, value in zip(pool, values, strict=True):
        member.weights["w"].numpy()[...] = value
    return pool


@given(st.data(), st.integers(1, 8), arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
def test_it_is_the_plain_float64_mean_of_numpy(data: st.DataObject, count: int, shape: tuple[int, ...]) -> None:
    values = [data.draw(arrays.arrays(np.float32, shape, elements=FLOATS)) for _ in range(count)]
    merged = UniformAverage().merge(candidates(values))
    expected = np.mean(np.stack(values).astype(np.float64), axis=0).astype(np.float32)
    got = merged.weights["w"].numpy()
    assert got.dtype == np.float32
    np.testing.assert_array_max_ulp(got, expected, maxulp=1)


def test_it_is_the_plain_float64_mean_of_numpy_in_every_bit_on_ordinary_weights() -> None:
    generator = np.random.default_rng(0)
    for count in (2, 3, 5, 8, 20):
        values = [generator.normal(0, 0.05, (64, 300)).astype(np.float32) for _ in range(count)]
        merged = UniformAverage().merge(candidates(values))
        expected = np.mean(np.stack(values), axis=0, dtype=np.float64).astype(np.float32)
        assert np.array_equal(merged.weights["w"].numpy(), expected)


@settings(max_examples=30)
@given(st.lists(arrays.arrays(np.float32, 5, elements=FLOATS), min_size=2, max_size=6), st.randoms())
def test_every_order_of_arguments_gives_the_same_bits(values: list[np.ndarray], shuffler: st.random.Random) -> None:
    pool = candidates(values)
    expected = UniformAverage().merge(pool).weights["w"].numpy().tobytes()
    shuffler.shuffle(pool)
    assert UniformAverage().merge(pool).weights["w"].numpy().tobytes() == expected


def test_order_matters_to_a_naive_float32_mean_and_not_here() -> None:
    values = [np.float32([1e8]), np.float32([1.0]), np.float32([-1e8])]
    naive = {float(a + b + c) for (a,), (b,), (c,) in itertools.permutations(values)}
    assert len(naive) > 1
    merged = {float(UniformAverage().merge(p).weights["w"]) for p in itertools.permutations(candidates(values))}
    assert merged == {float(np.float32(1 / 3))}


@pytest.mark.parametrize(("statistics", "expected"), [("average", 2.0), ("first", 1.0)])
def test_batch_norm_statistics_follow_the_parameter(statistics: str, expected: float) -> None:
    pool = [Candidate(label, {"bn.running_mean": torch.tensor([value])}) for label, value in (("b", 3.0), ("a", 1.0))]
    merged = UniformAverage(statistics=statistics).merge(pool)
    assert merged.weights["bn.running_mean"].tolist() == [expected]
    with pytest.raises(IncompatibleWeightsError, match="running_mean"):
        UniformAverage().merge(pool)


def test_integers_that_differ_are_taken_from_the_first_and_noted() -> None:
    pool = [Candidate(label, {"steps": torch.tensor(value)}) for label, value in (("b", 3), ("a", 1))]
    merged = UniformAverage().merge(pool)
    assert merged.weights["steps"].item() == 1
    assert any("steps" in str(note) for note in merged.record["notes"])
