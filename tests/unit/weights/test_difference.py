"""How far stored models lie apart, against NumPy on whole tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.errors import CorruptObjectError
from mlgit.objects import BITS, Manifest, TensorEntry
from mlgit.storage.objects import ObjectDatabase
from mlgit.weights import difference as module
from mlgit.weights.decoding import differing, native
from mlgit.weights.difference import TensorDifference, compare
from mlgit.weights.stored import store, tensor_bytes
from mlgit.weights.types import DTYPES, Weights


def stored(objects: ObjectDatabase, weights: Weights) -> Manifest:
    with objects.transaction() as transaction:
        return Manifest(store(transaction, weights))


def compared(objects: ObjectDatabase, a: Weights, b: Weights) -> dict[str, TensorDifference]:
    return {found.name: found for found in compare(objects, stored(objects, a), stored(objects, b))}


def one(objects: ObjectDatabase, a: Any, b: Any) -> TensorDifference:
    return compared(objects, {"x": torch.as_tensor(a)}, {"x": torch.as_tensor(b)})["x"]


def test_every_status_is_told_in_order_of_names(objects: ObjectDatabase) -> None:
    a = {
        "gone": torch.ones(1),
        "same": torch.ones(3),
        "shape": torch.ones(2),
        "dtype": torch.ones(2),
        "w": torch.ones(2),
    }
    b = {
        "new": torch.ones(1),
        "same": torch.ones(3),
        "shape": torch.ones(3),
        "dtype": torch.ones(2).half(),
        "w": torch.zeros(2),
    }
    found = list(compare(objects, stored(objects, a), stored(objects, b)))
    assert [(item.name, item.status) for item in found] == [
        ("dtype", "dtype"),
        ("gone", "removed"),
        ("new", "added"),
        ("shape", "shape"),
        ("w", "changed"),
    ]
    assert all(
        item.relative_l2 is item.cosine is item.share_changed is item.largest_change is None for item in found[:4]
    )


@settings(max_examples=50)
@given(st.lists(st.tuples(*[st.floats(-5e4, 5e4, width=32)] * 2), min_size=1, max_size=30), st.data())
def test_numbers_agree_with_numpy(
    shared_objects: ObjectDatabase, pairs: list[tuple[float, float]], data: st.DataObject
) -> None:
    dtype = data.draw(st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2]))
    a, b = torch.tensor(pairs, dtype=torch.float64).clamp(-5e4, 5e4).to(dtype).unbind(1)
    found = compared(shared_objects, {"x": a}, {"x": b}).get("x")
    x, y = a.double().numpy(), b.double().numpy()
    changed = [left.tobytes() != right.tobytes() for left, right in zip(x, y, strict=True)]  # widening is exact
    if not any(changed):
        assert found is None
        return
    assert found is not None
    assert found.share_changed == sum(changed) / len(changed)
    assert found.largest_change == np.abs(y - x).max()
    if np.linalg.norm(x):
        assert found.relative_l2 == pytest.approx(np.linalg.norm(y - x) / np.linalg.norm(x), rel=1e-12)
    else:
        assert found.relative_l2 is None
    if np.linalg.norm(x) and np.linalg.norm(y):
        assert found.cosine == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-12)
        assert abs(found.cosine or 0) <= 1
    else:
        assert found.cosine is None


def test_large_tensors_are_compared_in_parts_with_the_same_result(
    objects: ObjectDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    a = torch.randn(3_000_001)
    b = a * (1 + 1e-3 * torch.randn(3_000_001))
    b[::2] = a[::2]
    found = one(objects, a, b)
    x, y = a.double(), b.double()
    assert found.relative_l2 == pytest.approx(((y - x).norm() / x.norm()).item(), rel=1e-12)
    assert found.share_changed == (x != y).double().mean().item()
    assert found.largest_change == (y - x).abs().max().item()
    monkeypatch.setattr(module, "CHUNK", 24 * 7)
    in_parts = one(objects, a[:1000], b[:1000])
    monkeypatch.setattr(module, "CHUNK", 24 * 1000)
    at_once = one(objects, a[:1000], b[:1000])
    assert in_parts.share_changed == at_once.share_changed == 0.5
    assert in_parts.largest_change == at_once.largest_change
    assert in_parts.relative_l2 == pytest.approx(at_once.relative_l2, rel=1e-12)
    assert in_parts.cosine == pytest.approx(at_once.cosine, rel=1e-12)


def test_nan_with_equal_bits_counts_as_unchanged(objects: ObjectDatabase) -> None:
    nan, inf = math.nan, math.inf
    found = one(objects, [nan, inf, 1.0, 2.0], [nan, inf, 1.5, 2.0])
    assert found.share_changed == 0.25
    assert found.largest_change == 0.5
    assert found.relative_l2 is None
    assert found.cosine is None


@pytest.mark.parametrize(
    ("a", "b"), [([1.0, math.nan], [1.0, 2.0]), ([1.0, 2.0], [math.inf, 2.0]), ([-math.inf], [1.0])]
)
def test_what_is_not_finite_has_no_distance(objects: ObjectDatabase, a: list[float], b: list[float]) -> None:
    found = one(objects, a, b)
    assert found.largest_change is None
    assert found.relative_l2 is None
    assert found.cosine is None
    assert found.share_changed is not None


def test_signalling_nan_and_the_largest_numbers_are_compared_without_a_warning(objects: ObjectDatabase) -> None:
    bits = torch.tensor([[0x7F81, 0x7F80], [0x7F81, 0x7F7F]], dtype=torch.int32).to(torch.uint16)
    found = one(objects, bits[0].view(torch.bfloat16), bits[1].view(torch.bfloat16))
    assert (found.share_changed, found.largest_change) == (0.5, None)
    huge = torch.tensor([1e308, -1e308], dtype=torch.float64)
    assert one(objects, huge, -huge).largest_change is None


def test_the_sign_of_zero_is_a_change_of_size_zero(objects: ObjectDatabase) -> None:
    found = one(objects, [0.0, 1.0], [-0.0, 1.0])
    assert (found.share_changed, found.largest_change, found.relative_l2, found.cosine) == (0.5, 0.0, 0.0, 1.0)


def test_a_direction_from_zero_is_not_defined(objects: ObjectDatabase) -> None:
    found = one(objects, [0.0, 0.0], [1.0, 0.0])
    assert (found.relative_l2, found.cosine, found.largest_change) == (None, None, 1.0)


@pytest.mark.parametrize(
    ("dtype", "low", "high", "distance"),
    [
        (torch.int64, -(2**63), 2**63 - 1, 2.0**64),
        (torch.int64, 2**60, 2**60 + 1, 1.0),
        (torch.int8, -128, 127, 255.0),
        (torch.uint8, 255, 0, 255.0),
        (torch.int32, -(2**31), 2**31 - 1, 2.0**32 - 1),
        (torch.bool, True, False, 1.0),
    ],
)
def test_distances_of_integers_are_exact(
    objects: ObjectDatabase, dtype: torch.dtype, low: int, high: int, distance: float
) -> None:
    for a, b in ((low, high), (high, low)):
        found = one(objects, torch.tensor([a, 1], dtype=dtype), torch.tensor([b, 1], dtype=dtype))
        assert found.largest_change == distance
        assert found.share_changed == 0.5


def test_unsigned_64_bit_integers_are_compared_exactly(objects: ObjectDatabase) -> None:
    a, b = (torch.from_numpy(np.array([value], dtype=np.uint64)) for value in (2**64 - 1, 2**64 - 3))
    assert one(objects, a, b).largest_change == 2.0


def test_complex_elements_change_as_a_whole_and_measure_by_their_parts(objects: ObjectDatabase) -> None:
    a = torch.tensor([1 + 2j, 3 + 4j], dtype=torch.complex64)
    b = torch.tensor([1 + 5j, 3 + 4j], dtype=torch.complex64)
    found = one(objects, a, b)
    assert found.share_changed == 0.5
    assert found.largest_change == 3.0
    assert found.relative_l2 == pytest.approx(3 / math.sqrt(30))


def test_packed_elements_are_counted_one_by_one(objects: ObjectDatabase) -> None:
    a, b = (torch.tensor([byte, 0], dtype=torch.uint8).view(DTYPES["F4"]) for byte in (0x21, 0x2F))
    found = one(objects, a, b)
    assert found.share_changed == 0.25
    assert found.largest_change == 6.5  # from 0.5 to -6


def test_a_dtype_of_unknown_packing_has_a_share_only(objects: ObjectDatabase) -> None:
    manifests = []
    with objects.transaction() as transaction:
        for content in (b"\0\0\0" * 2, b"\1\0\0" + b"\0\0\0"):
            entry = TensorEntry(transaction.put_tensor("F6_E2M3", (8,), [content]), "F6_E2M3", (8,))
            manifests.append(Manifest({"x": entry}))
    (found,) = compare(objects, *manifests)
    assert found == TensorDifference("x", "changed", share_changed=0.125)


def test_values_too_large_to_square_are_not_called_zero_or_infinite(objects: ObjectDatabase) -> None:
    found = one(
        objects, torch.tensor([1e200, 1.0], dtype=torch.float64), torch.tensor([1e200, 2.0], dtype=torch.float64)
    )
    assert found.relative_l2 is None
    assert found.largest_change == 1.0


def test_the_cosine_of_parallel_tensors_is_not_above_one(objects: ObjectDatabase) -> None:
    generator = torch.Generator().manual_seed(0)
    a = {f"{number:02}": torch.randn(7, generator=generator, dtype=torch.float64) for number in range(40)}
    found = compared(objects, a, {name: 3 * tensor for name, tensor in a.items()})
    assert all(item.cosine == pytest.approx(1, abs=1e-15) and item.cosine <= 1 for item in found.values())
    plain = [
        float(np.sum(3 * x * x) / (np.sqrt(np.sum(x * x)) * np.sqrt(np.sum(9 * x * x))))
        for x in map(np.asarray, a.values())
    ]
    assert max(plain) > 1  # what rounding makes of it without care


def test_equal_tensors_are_not_read(objects: ObjectDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = stored(objects, {"a": torch.ones(3)})
    monkeypatch.delattr(ObjectDatabase, "stream")
    assert list(compare(objects, manifest, manifest)) == []


def test_damage_is_told_and_not_measured(objects: ObjectDatabase) -> None:
    torch.manual_seed(0)
    a, b = stored(objects, {"x": torch.randn(10000)}), stored(objects, {"x": torch.randn(10000)})
    pack = objects.pack_paths()[0]
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(data)
    with pytest.raises(CorruptObjectError):
        list(compare(ObjectDatabase(objects.root), a, b))


# ----------------------------------------------------------------------------------------------- decoding


@pytest.mark.parametrize("dtype", sorted(set(DTYPES) - {"F4", "C64"}))
@given(data=st.data())
def test_elements_decode_as_torch_decodes_them(dtype: str, data: st.DataObject) -> None:
    size = BITS[dtype] // 8
    content = data.draw(st.binary(min_size=size, max_size=8 * size).map(lambda b: b[: len(b) // size * size]))
    if dtype == "BOOL":
        content = bytes(byte & 1 for byte in content)
    found = native(np.frombuffer(content, np.uint8), dtype)
    theirs = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(DTYPES[dtype])
    assert found is not None
    with np.errstate(invalid="ignore"):  # NumPy warns of signalling NaN
        widened = found.astype(np.float64)
    assert np.array_equal(widened, theirs.to(torch.float64).numpy(), equal_nan=True)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"])
def test_all_bytes_decode_as_torch_decodes_them(dtype: str) -> None:
    content = np.arange(256, dtype=np.uint8)
    theirs = torch.from_numpy(content).view(DTYPES[dtype]).to(torch.float64).numpy()
    assert np.array_equal(native(content, dtype), theirs, equal_nan=True)  # type: ignore[arg-type]  # not None here
    assert np.array_equal(np.signbit(native(content, dtype)), np.signbit(theirs)) or np.isnan(theirs).any()


def test_packed_halves_decode_by_the_ocp_table() -> None:
    values = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    content = np.array([low | (low + 1) << 4 for low in range(0, 16, 2)], dtype=np.uint8)
    assert native(content, "F4").tolist() == [*values, *(-value for value in values)]  # type: ignore[union-attr]


@given(st.sampled_from(sorted(BITS)), st.data())
def test_an_element_differs_where_any_of_its_bits_does(dtype: str, data: st.DataObject) -> None:
    bits = BITS[dtype]
    left = np.frombuffer(data.draw(st.binary(min_size=24, max_size=24)), np.uint8)
    right = left.copy()
    place = data.draw(st.integers(0, 24 * 8 - 1))
    right[place // 8] ^= 1 << place % 8
    assert np.flatnonzero(differing(left, right, bits)).tolist() == [place // bits]


def test_the_bytes_compared_are_those_stored() -> None:
    assert bytes(tensor_bytes(torch.tensor([1.0]))) == np.float32(1).tobytes()
