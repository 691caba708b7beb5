"""The compiled sums give the bits that torch gives, whatever the numbers are."""

from __future__ import annotations

from shutil import which

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlgit.weights import blocks

AWKWARD = st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38, float("inf"), float("-inf"), float("nan"), 1.5])
FACTORS = st.lists(st.sampled_from([1.0, 0.5, -2.0, 1 / 3, 1e-30, 0.0]), min_size=1, max_size=5)
DTYPES = st.sampled_from([torch.float32, torch.float64])

pytestmark = pytest.mark.skipif(which("cc") is None, reason="no compiler, so nothing could be compiled")


def bits(tensor: torch.Tensor) -> list[int]:
    return tensor.view(torch.int32 if tensor.dtype == torch.float32 else torch.int64).tolist()


def by_torch(
    rows: list[torch.Tensor], factors: list[float], divisor: float, monkeypatch: pytest.MonkeyPatch
) -> torch.Tensor:
    target = torch.empty_like(rows[0])
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "_sums", None)
        blocks.combine(rows, factors, divisor, target)
    return target


@given(
    factors=FACTORS,
    divisor=st.sampled_from([1.0, 3.0, 0.7]),
    count=st.one_of(st.integers(1, 40), st.sampled_from([2047, 2048, 2049, 4097, 2**15 + 5])),
    seed=st.integers(0, 2**32),
    dtype=DTYPES,
    awkward=st.lists(st.tuples(st.integers(0, 2**15), AWKWARD), max_size=4),
    target_is=st.integers(-1, 4),
)
def test_sums_are_those_of_torch_to_the_bit(
    monkeypatch: pytest.MonkeyPatch,
    factors: list[float],
    divisor: float,
    count: int,
    seed: int,
    dtype: torch.dtype,
    awkward: list[tuple[int, float]],
    target_is: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(count, generator=generator, dtype=dtype) for _ in factors]
    for number, (place, value) in enumerate(awkward):
        rows[number % len(rows)][place % count] = value
    expected = by_torch(rows, factors, divisor, monkeypatch)
    target = rows[target_is] if 0 <= target_is < len(rows) else torch.empty_like(rows[0])
    blocks.combine(rows, factors, divisor, target)
    assert bits(target) == bits(expected)


def test_the_compiled_sums_are_used() -> None:
    assert blocks._sums is not None
    rows = [torch.ones(5000), torch.ones(5000)]
    assert blocks._combine_compiled(rows, [1.0, 1.0], 2.0, torch.empty(5000)) == 5000
    rows[1][4000] = float("nan")
    assert blocks._combine_compiled(rows, [1.0, 1.0], 2.0, torch.empty(5000)) == 2048


@pytest.mark.parametrize(
    ("rows", "factors", "target", "width"),
    [(0, 0, 8, 4), (2, 1, 8, 4), (1, 1, 8, 2), (1, 1, 6, 4), (1, 1, 16, 4)],
)
def test_what_does_not_fit_together_is_refused(rows: int, factors: int, target: int, width: int) -> None:
    with pytest.raises(ValueError, match=r"fit together|length"):
        blocks._sums.combine((bytes(8),) * rows, (1.0,) * factors, 1.0, bytearray(target), width)
