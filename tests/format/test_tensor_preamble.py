from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import InvalidInputError
from mlgit.objects import BITS, canonical_json, tensor_preamble


@given(st.sampled_from([dtype for dtype in BITS if BITS[dtype] % 8 == 0]), st.lists(st.integers(0, 99), max_size=5))
def test_a_tensors_preamble_holds_its_form_as_canonical_json(dtype: str, shape: list[int]) -> None:
    form = canonical_json({"dtype": dtype, "shape": shape})
    assert tensor_preamble(dtype, shape) == b"mlgit tensor 1\n" + form + b"\n"
    assert tensor_preamble(dtype, tuple(shape)) == tensor_preamble(dtype, shape)


def test_an_extent_that_json_cannot_hold_exactly_is_refused_even_where_the_tensor_is_empty() -> None:
    assert tensor_preamble("U8", [0, 2**53 - 1]).endswith(b"[0,9007199254740991]}\n")
    with pytest.raises(InvalidInputError):
        tensor_preamble("U8", [0, 2**53])
