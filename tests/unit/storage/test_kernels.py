"""Compiled and plain loops are each other's oracle, and both are compared with the format's own words."""

from __future__ import annotations

import struct
from shutil import which

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgit.storage.codecs import kernels as module
from mlgit.storage.codecs.kernels import WIDTHS, Change, Kernels
from mlgit.storage.codecs.numpy_kernels import NumpyKernels

PLAIN = NumpyKernels()
COMPILED = module.compiled()
BOTH = [pytest.param(PLAIN, id="plain"), pytest.param(COMPILED, id="compiled")]


@pytest.fixture(params=BOTH)
def loops(request: pytest.FixtureRequest) -> Kernels:
    if request.param is None:
        pytest.skip("nothing was compiled")
    return request.param


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, int, bytes, bytes]:
    """Change, width, elements and base: of any count around the loops' block sizes, close to one another or not."""
    width = draw(st.sampled_from(WIDTHS))
    count = draw(st.one_of(st.integers(0, 130), st.sampled_from([4095, 4096, 4097, 8192 + 3, 2**16 + 1])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    base = rng.bytes(count * width)
    near = np.frombuffer(base, np.uint8) ^ (
        np.frombuffer(rng.bytes(count * width), np.uint8) & draw(st.sampled_from([0, 1, 0x80, 0xFF]))
    )
    return draw(st.sampled_from(list(Change))), width, near.tobytes(), base


def splitted(loops: Kernels, change: int, width: int, raw: bytes, base: bytes) -> list[bytes]:
    planes = bytearray(len(raw))
    loops.split(change, raw, base, memoryview(planes), width)
    count = len(raw) // width
    return [bytes(planes[number * count : (number + 1) * count]) for number in range(width)]


@given(cases())
def test_what_is_split_and_joined_is_what_it_was(loops: Kernels, case: tuple[int, int, bytes, bytes]) -> None:
    change, width, raw, base = case
    out = bytearray(len(raw))
    loops.join(change, tuple(splitted(loops, change, width, raw, base)), base, memoryview(out))
    assert out == raw


@pytest.mark.skipif(COMPILED is None, reason="nothing was compiled")
@given(cases())
def test_both_give_the_same_planes(case: tuple[int, int, bytes, bytes]) -> None:
    assert COMPILED is not None
    assert splitted(COMPILED, *case) == splitted(PLAIN, *case)


@given(
    width=st.sampled_from([2, 4, 8]),
    pairs=st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), min_size=1, max_size=20),
)
def test_a_difference_is_what_the_format_says(loops: Kernels, width: int, pairs: list[tuple[int, int]]) -> None:
    bits = 8 * width
    top, everything = 1 << (bits - 1), (1 << bits) - 1

    def order(value: int) -> int:
        return value ^ (top - 1) if value & top else value

    def zigzag(new: int, old: int) -> int:
        signed = (order(new) - order(old)) & everything
        signed -= (1 << bits) if signed & top else 0
        return 2 * signed if signed >= 0 else -2 * signed - 1

    code = {2: "H", 4: "I", 8: "Q"}[width]
    new = [pair[0] & everything for pair in pairs]
    old = [pair[1] & everything for pair in pairs]
    raw, base = (struct.pack(f"<{len(pairs)}{code}", *values) for values in (new, old))
    planes = splitted(loops, Change.DIFFERENCE, width, raw, base)
    found = [int.from_bytes(bytes(column), "little") for column in zip(*planes, strict=True)]
    assert found == [zigzag(a, b) for a, b in zip(new, old, strict=True)]


@pytest.mark.parametrize(
    ("change", "raw", "base", "planes", "width"),
    [
        (0, 8, 0, 8, 3),
        (0, 7, 0, 7, 2),
        (0, 8, 0, 4, 2),
        (1, 8, 4, 8, 2),
        (2, 8, 0, 8, 2),
        (3, 8, 8, 8, 2),
        (0, 8, 0, 8, 0),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    loops: Kernels, change: int, raw: int, base: int, planes: int, width: int
) -> None:
    with pytest.raises(ValueError, match=r"bytes|change|elements"):
        loops.split(change, bytes(raw), bytes(base), memoryview(bytearray(planes)), width)


@pytest.mark.parametrize(
    ("change", "planes", "base", "out"),
    [
        (0, (2, 3), 0, 4),
        (0, (2, 2, 2), 0, 6),
        (0, (), 0, 0),
        (0, (1,) * 16, 0, 16),
        (1, (2, 2), 2, 4),
        (-1, (2, 2), 4, 4),
    ],
)
def test_planes_that_do_not_fit_are_refused(
    loops: Kernels, change: int, planes: tuple[int, ...], base: int, out: int
) -> None:
    with pytest.raises(ValueError, match=r"byte|change|elements"):
        loops.join(change, tuple(map(bytes, planes)), bytes(base), memoryview(bytearray(out)))


@given(
    keys=st.lists(st.binary(min_size=2, max_size=2), max_size=40),
    key=st.binary(max_size=2),
    offset=st.integers(0, 5),
    rest=st.integers(0, 3),
)
def test_bisection_finds_the_first_record(
    loops: Kernels, keys: list[bytes], key: bytes, offset: int, rest: int
) -> None:
    keys = sorted(keys)
    table = bytes(offset) + b"".join(one + bytes(rest) for one in keys)
    found = loops.lower_bound(memoryview(table), offset, len(keys), 2 + rest, key)
    assert found == sum(one[: len(key)] < key for one in keys)


@pytest.mark.parametrize(
    ("offset", "count", "stride"), [(0, 3, 4), (-1, 1, 4), (0, -1, 4), (9, 0, 4), (0, 1, 1), (0, 2**62, 4)]
)
def test_records_outside_the_table_are_refused(loops: Kernels, offset: int, count: int, stride: int) -> None:
    with pytest.raises(ValueError, match="records"):
        loops.lower_bound(bytes(8), offset, count, stride, b"ab")


@pytest.mark.skipif(which("cc") is None, reason="no compiler, so nothing could be compiled")
def test_the_build_has_compiled_loops() -> None:
    assert COMPILED is not None
    assert module.kernels is COMPILED
