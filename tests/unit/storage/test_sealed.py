from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import CorruptObjectError
from mlgit.storage.sealed import seal, unseal


@given(st.binary(max_size=200))
def test_what_was_sealed_comes_back(data: bytes) -> None:
    assert unseal(seal(data)) == data
    assert seal(data).endswith(data)


@given(st.binary(max_size=40), st.data())
def test_any_flipped_bit_or_cut_is_noticed(data: bytes, draw: st.DataObject) -> None:
    good = seal(data)
    place, bit = draw.draw(st.integers(0, len(good) - 1)), draw.draw(st.integers(0, 7))
    for bad in (good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :], good[:place], good + good):
        with pytest.raises(CorruptObjectError):
            unseal(bad)
