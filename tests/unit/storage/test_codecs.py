from __future__ import annotations

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlgit.objects import BITS
from mlgit.storage.codecs import (
    COPY,
    DIFFERENCE,
    EXCLUSIVE_OR,
    NUMBERS,
    RAW,
    SHUFFLE,
    ZSTD,
    CodecError,
    codec,
    numpy_kernels,
)
from mlgit.storage.codecs.plain import compress, decompress
from mlgit.storage.codecs.selection import SMALL_BYTES, Content, encode_chunk, total


def ordered(bits: np.ndarray) -> np.ndarray:
    out = np.empty_like(bits)
    numpy_kernels._ordered(bits, out)
    return out


WIDTHS = st.sampled_from([1, 2, 4, 8])
SHUFFLING = [SHUFFLE, DIFFERENCE, EXCLUSIVE_OR]


@st.composite
def chunks(draw: st.DrawFn) -> tuple[int, bytes, bytes]:
    """Width, a chunk and a base; some of several blocks of the codecs' inner loops."""
    width = draw(WIDTHS)
    count = draw(st.one_of(st.integers(1, 200), st.sampled_from([2**14, 2**14 + 1, 2**17 - 1, 2**17 + 3])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    base = rng.bytes(count * width)
    mask = rng.bytes(count * width) if draw(st.booleans()) else bytes(count * width)
    spread = draw(st.sampled_from([0x00, 0x01, 0x80, 0xFF]))
    new = np.frombuffer(base, np.uint8) ^ (np.frombuffer(mask, np.uint8) & spread)
    return width, new.tobytes(), base


@given(chunk=chunks(), number=st.sampled_from(sorted(NUMBERS)))
def test_every_codec_gives_back_what_it_got(chunk: tuple[int, bytes, bytes], number: int) -> None:
    width, raw, base = chunk
    implementation = codec(number)
    if number == COPY:
        raw = base
    given_base = memoryview(base) if implementation.needs_base else None
    stored = b"".join(implementation.encode(memoryview(raw), width, given_base))
    target = bytearray(len(raw))
    implementation.decode(stored, memoryview(target), width, given_base)
    assert target == raw


@given(
    st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=50),
    st.sampled_from([(np.float16, np.int16), (np.float32, np.int32), (np.float64, np.int64)]),
)
@example([-0.0, 0.0, 1e-45, -1e-45, float("inf"), float("-inf")], (np.float32, np.int32))
def test_ordered_integers_have_the_order_of_the_floats(values: list[float], types: tuple[type, type]) -> None:
    with np.errstate(over="ignore"):
        numbers = np.array(values, types[0])
    integers = ordered(numbers.view(types[1]))
    by_value, by_integer = np.sort(numbers), numbers[np.argsort(integers, kind="stable")]
    assert (by_value == by_integer).all()
    assert (ordered(integers) == numbers.view(types[1])).all()


def test_neighbouring_floats_have_neighbouring_integers_even_around_zero() -> None:
    value = np.float32(-1e-44)
    steps = [value]
    while value < 1e-44:
        value = np.nextafter(value, np.float32(1))
        steps.append(value)
    integers = ordered(np.array(steps, np.float32).view(np.int32))
    assert set(np.diff(integers)) <= {1, 2}  # 2 where -0.0 lies between


@given(number=st.sampled_from(sorted(NUMBERS)), stored=st.binary(max_size=200), width=st.integers(0, 9))
def test_rubbish_is_refused_or_decoded_but_never_anything_else(number: int, stored: bytes, width: int) -> None:
    base = memoryview(bytes(24)) if codec(number).needs_base else None
    target = bytearray(24)
    try:
        codec(number).decode(stored, memoryview(target), width, base)
    except CodecError:
        return
    assert len(target) == 24


@pytest.mark.parametrize("number", SHUFFLING)
@pytest.mark.parametrize("plane", [0, 3])
def test_a_bomb_in_a_plane_is_stopped_early(number: int, plane: int) -> None:
    bomb = compress(bytes(1 << 26))
    assert len(bomb) < 4096
    frames = [compress(bytes(4096))] * 4
    frames[plane] = bomb
    stored = b"".join(len(frame).to_bytes(4, "little") for frame in frames) + b"".join(frames)
    base = memoryview(bytes(16384)) if codec(number).needs_base else None
    tracemalloc.start()
    with pytest.raises(CodecError):
        codec(number).decode(stored, memoryview(bytearray(16384)), 4, base)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_bomb_with_a_huge_window_is_refused() -> None:
    from backports.zstd import CompressionParameter, ZstdCompressor

    options = {CompressionParameter.window_log: 27, CompressionParameter.content_size_flag: 0}
    compressor = ZstdCompressor(options=options)
    frame = compressor.compress(bytes(1 << 20)) + compressor.flush()
    with pytest.raises(CodecError, match="zstd"):
        decompress(frame, 1 << 20)


@pytest.mark.parametrize("size", [0, 1, 99, 101, 1 << 20])
def test_a_frame_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(CodecError):
        decompress(compress(b"x" * 100), size)
    assert decompress(compress(b"x" * 100), 100) == b"x" * 100


def test_two_frames_are_not_one() -> None:
    with pytest.raises(CodecError):
        decompress(compress(b"x" * 50) * 2, 50)


@pytest.mark.parametrize("number", [DIFFERENCE, EXCLUSIVE_OR, COPY])
def test_a_difference_without_base_is_refused(number: int) -> None:
    with pytest.raises(CodecError):
        codec(number).decode(bytes(16) * (number != COPY), memoryview(bytearray(4)), 4, None)


def test_an_unknown_number_is_refused() -> None:
    with pytest.raises(CodecError, match="codec 99 is unknown"):
        codec(99)


@pytest.mark.parametrize("dtype", sorted(BITS))
@pytest.mark.parametrize("size", [8, 4096, SMALL_BYTES, SMALL_BYTES + 8, 1 << 20])
def test_no_choice_is_ever_larger_than_raw(dtype: str, size: int) -> None:
    rng = np.random.default_rng(size)
    noise, base = memoryview(rng.bytes(size)), memoryview(rng.bytes(size))
    for given_base in (None, base):
        number, pieces = encode_chunk(noise, Content.of(dtype), given_base)
        assert total(pieces) <= size
        assert number in NUMBERS


def weights(bits: str) -> tuple[memoryview, memoryview]:
    """Return a megabyte of weights and a fine-tuned copy with a relative change of 1.5 %."""
    rng = np.random.default_rng(0)
    count = (1 << 20) // (2 if bits == "BF16" else 4)
    old = (rng.standard_normal(count) * 0.02).astype(np.float32)
    new = old + (0.015 * 0.02 * rng.standard_normal(count)).astype(np.float32)
    if bits == "BF16":
        return tuple(memoryview((each.view(np.uint32) >> 16).astype(np.uint16).tobytes()) for each in (old, new))
    return memoryview(old.tobytes()), memoryview(new.tobytes())


@pytest.mark.parametrize(
    ("dtype", "full", "difference"), [("F32", 0.85, 0.68), ("BF16", 0.70, 0.40)]
)  # the figures of the measured fine-tuning, or better
def test_weights_and_fine_tunings_take_the_share_that_was_measured(dtype: str, full: float, difference: float) -> None:
    old, new = weights(dtype)
    number, pieces = encode_chunk(old, Content.of(dtype), None)
    assert number == SHUFFLE
    assert total(pieces) <= full * len(old)
    number, pieces = encode_chunk(new, Content.of(dtype), old)
    assert number in (DIFFERENCE, EXCLUSIVE_OR)
    assert total(pieces) <= difference * len(new)


def test_the_ordered_difference_is_smaller_than_the_exclusive_or() -> None:
    for dtype, width in (("F32", 4), ("BF16", 2)):
        old, new = weights(dtype)
        sizes = {number: total(codec(number).encode(new, width, old)) for number in (DIFFERENCE, EXCLUSIVE_OR)}
        assert sizes[DIFFERENCE] < sizes[EXCLUSIVE_OR]


def test_the_codec_is_chosen_by_what_the_chunk_is_like() -> None:
    noise = memoryview(np.random.default_rng(0).bytes(1 << 17))
    text = memoryview(b"some words again and again, " * 10_000)
    assert encode_chunk(noise, Content(), None)[0] == RAW
    assert encode_chunk(text, Content(), None)[0] == ZSTD
    assert encode_chunk(text, Content(), memoryview(bytes(text)))[0] == COPY
    assert encode_chunk(text[:4095], Content(), None)[0] == RAW
    assert encode_chunk(text[:4096], Content(), None)[0] == ZSTD
    old, new = weights("F32")
    unrelated = memoryview(old.tobytes()[::-1])
    assert encode_chunk(new, Content.of("F32"), unrelated)[0] == SHUFFLE


def test_raw_bytes_are_read_without_numpy_and_without_zstd() -> None:
    script = (
        "import sys; from mlgit.storage.codecs import codec; import mlgit.storage;"
        "codec(0).decode(b'x', memoryview(bytearray(1)), 1, None);"
        "assert not {'numpy', 'backports.zstd', 'torch', 'networkx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
