"""Rounding from float64, against exact rational arithmetic and NumPy."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from mlgit.weights.rounding import narrow

# dtype -> precision in bits, exponent of the smallest normal number, largest value
FORMATS = {
    torch.float32: (24, -126, Fraction(np.finfo(np.float32).max.item())),
    torch.float16: (11, -14, Fraction(65504)),
    torch.bfloat16: (8, -126, Fraction(torch.finfo(torch.bfloat16).max)),
    torch.float8_e4m3fn: (4, -6, Fraction(448)),
    torch.float8_e5m2: (3, -14, Fraction(57344)),
    torch.float8_e4m3fnuz: (4, -7, Fraction(240)),
    torch.float8_e5m2fnuz: (3, -15, Fraction(57344)),
}
dtypes = pytest.mark.parametrize("dtype", list(FORMATS), ids=str)


def nearest(value: float, dtype: torch.dtype) -> Fraction:
    """Return the nearest number with the dtype's precision, ties to even, by whole numbers only."""
    precision, smallest, _ = FORMATS[dtype]
    exact = Fraction(value)
    if not exact:
        return exact
    exponent = math.frexp(value)[1] - 1
    step = Fraction(2) ** (max(exponent, smallest) - precision + 1)
    return round(exact / step) * step  # Python rounds fractions to even


def got(value: float, dtype: torch.dtype) -> float:
    return float(narrow(torch.tensor([value], dtype=torch.float64), dtype).to(torch.float64)[0])


@st.composite
def near_ties(draw: st.DrawFn, dtype: torch.dtype) -> float:
    """Numbers at, just below and just above the middle between two neighbours, subnormal ones included."""
    precision, smallest, largest = FORMATS[dtype]
    top = math.frexp(float(largest))[1] - 1
    exponent = draw(st.integers(smallest - precision - 2, top))
    step = math.ldexp(1.0, max(exponent, smallest) - precision + 1)
    count = draw(st.integers(0, 2**precision - 1))
    nudge = draw(st.sampled_from([0.0, 2.0**-50, -(2.0**-50), 2.0**-29, -(2.0**-29), 2.0**-25, -(2.0**-25)]))
    return draw(st.sampled_from([1.0, -1.0])) * (count + 0.5 + nudge) * step


@dtypes
def test_the_result_is_the_nearest_number_and_the_even_one_of_two(dtype: torch.dtype) -> None:
    @given(near_ties(dtype) | st.floats(allow_nan=False, allow_infinity=False, width=32) | st.floats(-1e6, 1e6))
    @example(1 + 2**-8 + 2**-30)  # by way of float32, bfloat16 would become 1
    @example(1 + 2**-11 + 2**-40)  # and float16 too
    @example(-(1 + 2**-4 + 2**-40))
    @example(5e-324)
    @example(-0.0)
    def check(value: float) -> None:
        expected = nearest(value, dtype)
        if abs(expected) <= FORMATS[dtype][2]:
            result = got(value, dtype)
            assert result == expected
            assert (
                result
                or dtype in (torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)
                or (math.copysign(1, result) == math.copysign(1, value))
            )

    check()


@given(st.floats() | near_ties(torch.float16))
def test_half_precision_agrees_with_numpy_at_all_values(value: float) -> None:
    with np.errstate(over="ignore"):
        expected = np.float64(value).astype(np.float16)
    result = narrow(torch.tensor([value], dtype=torch.float64), torch.float16).numpy()[0]
    assert np.array_equal(result, expected, equal_nan=True)
    assert math.isnan(value) or np.signbit(result) == np.signbit(expected)


@dtypes
def test_what_is_too_large_becomes_what_torch_makes_of_it_and_nan_stays_nan(dtype: torch.dtype) -> None:
    for value in (math.inf, -math.inf, 1e300, -1e300, 1e39):
        expected = float(torch.tensor(value, dtype=torch.float32).to(dtype).to(torch.float64))
        assert np.array_equal(got(value, dtype), expected, equal_nan=True)
    assert math.isnan(got(math.nan, dtype))


@dtypes
def test_every_value_of_a_narrow_dtype_is_kept(dtype: torch.dtype) -> None:
    if dtype.itemsize > 2:
        patterns = torch.tensor(
            [struct.unpack("<i", struct.pack("<f", x))[0] for x in (0.1, -1e-45, 3e38)], dtype=torch.int32
        )
    else:
        patterns = torch.arange(2 ** (8 * dtype.itemsize)).to({1: torch.uint8, 2: torch.uint16}[dtype.itemsize])
    values = patterns.view(dtype).to(torch.float64)
    again = narrow(values, dtype).to(torch.float64)
    assert torch.equal(again.nan_to_num(12345.0, posinf=None), values.nan_to_num(12345.0, posinf=None))


def test_float64_is_untouched() -> None:
    values = torch.tensor([0.1, -0.0, 5e-324], dtype=torch.float64)
    assert narrow(values, torch.float64).numpy().tobytes() == values.numpy().tobytes()
