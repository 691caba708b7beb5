"""Tensors to bytes, into the object database and back: every bit stays."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.errors import CorruptObjectError, IncompatibleWeightsError, InvalidInputError, NotFoundError
from mlgit.objects import BITS, Manifest, TensorEntry, TensorId, tensor_id
from mlgit.storage.objects import ObjectDatabase
from mlgit.weights.stored import StoredWeights, load, load_into, store, tensor_bytes, tensor_from_buffer
from mlgit.weights.types import DTYPE_NAMES, DTYPES, Weights, forms, tensor_form, torch_shape

WHOLE = sorted(set(DTYPES) - {"F4"})
shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)


def raw(draw: st.DrawFn, dtype: str, shape: tuple[int, ...]) -> bytes:
    size = math.prod(shape) * BITS[dtype] // 8
    if dtype == "BOOL":
        return bytes(draw(st.lists(st.integers(0, 1), min_size=size, max_size=size)))
    return draw(st.binary(min_size=size, max_size=size))


def view(dtype: str, shape: tuple[int, ...], data: bytes) -> torch.Tensor:
    """Build a tensor without the code under test."""
    flat = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
    return flat.view(DTYPES[dtype]).reshape(shape)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Any bits (NaN payloads, -0.0, subnormal values), any shape, any layout."""
    dtype = draw(st.sampled_from(WHOLE))
    shape = draw(shapes)
    tensor = view(dtype, shape, raw(draw, dtype, shape))
    layouts: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda t: t,
        lambda t: t.permute(tuple(range(t.ndim))[::-1]),
    ]
    if tensor.ndim:
        layouts += [
            lambda t: t[::2],
            lambda t: t[1:],
            lambda t: t[:1].expand(3 if len(t) else 0, *t.shape[1:]),
            lambda t: t.unsqueeze(0).transpose(0, -1),
        ]
    return draw(st.sampled_from(layouts))(tensor)


def bits(tensor: torch.Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    """Return all that must stay, taken element by element so that no layout matters."""
    words = tensor.resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
    return tensor.dtype, tuple(tensor.shape), words.reshape(-1).view(torch.uint8).numpy().tobytes()


def quantized() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates making them; files have them
        return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)


def stored(objects: ObjectDatabase, weights: Weights, bases: Manifest | None = None) -> Manifest:
    with objects.transaction() as transaction:
        return Manifest(store(transaction, weights, bases))


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(["a", "b.weight", "c.0", "ü"]), tensors()))
def test_what_is_stored_is_loaded_bit_for_bit(shared_objects: ObjectDatabase, weights: dict[str, torch.Tensor]) -> None:
    manifest = stored(shared_objects, weights)
    loaded, lazy = load(shared_objects, manifest), StoredWeights(shared_objects, manifest)
    assert list(loaded) == list(lazy) == sorted(weights)
    for name, tensor in weights.items():
        assert bits(loaded[name]) == bits(tensor)
        assert bits(lazy[name]) == bits(tensor)
        assert loaded[name].is_contiguous()
        assert manifest.tensors[name].id == tensor_id(DTYPE_NAMES[tensor.dtype], tuple(tensor.shape), [bits(tensor)[2]])


@given(st.data(), st.sampled_from(WHOLE), shapes)
def test_bytes_to_tensor_to_bytes_changes_nothing(data: st.DataObject, dtype: str, shape: tuple[int, ...]) -> None:
    content = raw(data.draw, dtype, shape)  # type: ignore[arg-type]  # DataObject.draw is a DrawFn
    tensor = tensor_from_buffer(dtype, shape, content)
    assert bytes(tensor_bytes(tensor)) == content
    assert tensor_form(tensor).dtype == dtype
    assert tensor_form(tensor).shape == shape
    assert bits(tensor) == bits(view(dtype, shape, content))


@given(st.data(), st.lists(st.integers(0, 4), min_size=2, max_size=3).map(tuple))
def test_a_transposed_tensor_gives_the_bytes_numpy_gives(data: st.DataObject, shape: tuple[int, ...]) -> None:
    content = raw(data.draw, "BF16", shape)  # type: ignore[arg-type]  # DataObject.draw is a DrawFn
    words = np.frombuffer(content, dtype=np.uint16).reshape(shape)
    assert (
        bytes(tensor_bytes(view("BF16", shape, content).permute(tuple(range(len(shape)))[::-1]))) == words.T.tobytes()
    )


def test_every_dtype_of_torch_that_safetensors_has_is_known() -> None:
    assert set(DTYPES) == set(BITS) - {"F6_E2M3", "F6_E3M2"}
    assert all(DTYPES[name].itemsize * 8 == BITS[name] for name in WHOLE)
    assert all(DTYPE_NAMES[DTYPES[name]] == name for name in DTYPES)


def test_packed_halves_of_bytes_keep_their_bytes_and_count_as_elements(objects: ObjectDatabase) -> None:
    tensor = torch.arange(6, dtype=torch.uint8).reshape(2, 3).view(DTYPES["F4"])
    manifest = stored(objects, {"x": tensor})
    assert manifest.tensors["x"].shape == (2, 6)
    again = load(objects, manifest)["x"]
    assert again.shape == (2, 3)
    assert bytes(tensor_bytes(again)) == bytes(range(6))
    assert torch_shape(manifest.tensors["x"]) == (2, 3)


def test_the_bytes_of_a_contiguous_tensor_are_not_copied_and_cannot_be_written() -> None:
    tensor = torch.zeros(4)
    data = tensor_bytes(tensor)
    tensor[0] = 1
    assert bytes(data[:4]) == np.float32(1).tobytes()
    assert data.readonly


def test_conjugate_and_negative_views_are_stored_as_they_read(objects: ObjectDatabase) -> None:
    numbers = torch.tensor([1 + 2j, -3j], dtype=torch.complex64)
    weights = {"conj": numbers.conj(), "neg": torch.imag(numbers.conj())}
    assert weights["conj"].is_conj()
    assert weights["neg"].is_neg()
    loaded = load(objects, stored(objects, weights))
    assert loaded["conj"].tolist() == [1 - 2j, 3j]
    assert loaded["neg"].tolist() == [-2.0, 3.0]


def test_parameters_with_gradients_are_stored(objects: ObjectDatabase) -> None:
    layer = torch.nn.Linear(3, 2)
    layer(torch.ones(1, 3)).sum().backward()
    loaded = load(objects, stored(objects, dict(layer.named_parameters())))
    assert torch.equal(loaded["weight"], layer.weight)
    assert not loaded["weight"].requires_grad


def test_tied_names_are_stored_once_and_loaded_apart(objects: ObjectDatabase) -> None:
    table = torch.randn(5, 3)
    manifest = stored(objects, {"embed": table, "head": table, "rows": table[:2]})
    assert manifest.tensors["embed"].id == manifest.tensors["head"].id
    assert len(list(objects.ids("tensor"))) == 2
    loaded = load(objects, manifest)
    loaded["embed"].zero_()
    assert torch.equal(loaded["head"], table)
    assert torch.equal(loaded["rows"], table[:2])


def test_stored_weights_look_like_a_mapping_and_know_forms_without_reading(objects: ObjectDatabase) -> None:
    unknown = TensorEntry(TensorId("0" * 64), "F32", (2, 3))
    lazy = StoredWeights(objects, Manifest({"x": unknown}))
    assert forms(lazy) == {"x": unknown}
    assert "x" in lazy
    assert "y" not in lazy
    assert len(lazy) == 1
    with pytest.raises(KeyError):
        lazy["y"]
    with pytest.raises(NotFoundError, match="tensor 'x'") as caught:
        lazy["x"]
    assert caught.value.kind == "missing-object"
    with pytest.raises(NotFoundError, match="tensor 'x'"):
        load(objects, Manifest({"x": unknown}))


def test_a_base_of_another_form_or_none_at_all_is_passed_over(objects: ObjectDatabase) -> None:
    base = stored(objects, {"same": torch.zeros(4096), "grown": torch.zeros(3), "cast": torch.zeros(4)})
    weights = {
        "same": torch.full((4096,), 1e-3),
        "grown": torch.ones(4),
        "cast": torch.ones(4).half(),
        "new": torch.ones(1),
    }
    loaded = load(objects, stored(objects, weights, base))
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())


def test_a_base_makes_a_small_change_small(objects: ObjectDatabase) -> None:
    torch.manual_seed(0)
    start = torch.randn(2**16)
    base = stored(objects, {"w": start})
    moved = stored(objects, {"w": start * (1 + 1e-6)}, base)
    alone = stored(objects, {"v": torch.randn(2**16)})
    assert objects.stored_size(moved.tensors["w"].id) < 0.7 * objects.stored_size(alone.tensors["v"].id)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.ones(2).to_sparse(), "sparse"),
        (quantized(), "quantized"),
        (torch.ones(2, dtype=torch.complex128), "complex128"),
        (torch.ones(2, device="meta"), "meta"),
        (torch.zeros((), dtype=torch.uint8).view(DTYPES["F4"]), "packs two"),
    ],
    ids=["sparse", "quantized", "complex128", "meta", "F4 scalar"],
)
def test_a_tensor_that_safetensors_cannot_hold_is_refused_by_name_before_anything_is_written(
    objects: ObjectDatabase, tensor: torch.Tensor, words: str
) -> None:
    with objects.transaction() as transaction, pytest.raises(InvalidInputError, match=f"tensor 'z'.*{words}") as caught:
        store(transaction, {"a": torch.ones(2), "z": tensor})
    assert caught.value.kind == "unsupported-tensor"
    assert list(objects.ids()) == []


def test_a_bad_name_is_refused(objects: ObjectDatabase) -> None:
    with objects.transaction() as transaction, pytest.raises(InvalidInputError, match="has '\\.\\.' in its name"):
        store(transaction, {"a": torch.ones(2), "../b": torch.ones(2)})


def test_bytes_that_do_not_fit_the_form_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"F32\[2\] has 8 bytes, not 7"):
        tensor_from_buffer("F32", (2,), bytes(7))


def test_a_dtype_torch_does_not_have_is_refused_when_it_is_loaded(objects: ObjectDatabase) -> None:
    with objects.transaction() as transaction:
        identity = transaction.put_tensor("F6_E2M3", (4,), [b"abc"])
    with pytest.raises(InvalidInputError, match="F6_E2M3") as caught:
        load(objects, Manifest({"x": TensorEntry(identity, "F6_E2M3", (4,))}))
    assert caught.value.kind == "unsupported-dtype"


def test_damage_names_the_tensor(objects: ObjectDatabase) -> None:
    manifest = stored(objects, {"conv.weight": torch.randn(10000)})
    (pack,) = objects.pack_paths()
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 0xFF
    pack.chmod(0o644)
    pack.write_bytes(data)
    with pytest.raises(CorruptObjectError, match=r"tensor 'conv\.weight'"):
        load(ObjectDatabase(objects.root), manifest)


@given(weights=st.dictionaries(st.sampled_from(["a", "b.weight", "c.0"]), tensors(), min_size=1))
def test_weights_are_loaded_into_tensors_of_any_layout(
    shared_objects: ObjectDatabase, weights: dict[str, torch.Tensor]
) -> None:
    manifest = stored(shared_objects, weights)
    targets = {
        name: torch.zeros((*tensor.shape[::-1], 2), dtype=tensor.dtype)[..., 0].permute(tuple(range(tensor.ndim))[::-1])
        if number % 2
        else torch.zeros(tensor.shape, dtype=tensor.dtype)
        for number, (name, tensor) in enumerate(weights.items())
    }
    places = {name: tensor.data_ptr() for name, tensor in targets.items()}
    load_into(shared_objects, manifest, targets)
    assert {name: tensor.data_ptr() for name, tensor in targets.items()} == places
    assert {name: bits(tensor) for name, tensor in targets.items()} == {name: bits(t) for name, t in weights.items()}


def test_a_module_is_filled_in_place_and_computes_what_the_other_one_did(objects: ObjectDatabase) -> None:
    source, target = (torch.nn.Sequential(torch.nn.Linear(9, 5), torch.nn.BatchNorm1d(5)) for _ in range(2))
    manifest = stored(objects, source.state_dict())
    parameters = list(target.parameters())
    load_into(objects, manifest, target.state_dict())
    assert all(before is after for before, after in zip(parameters, target.parameters(), strict=True))
    inputs = torch.randn(4, 9)
    assert torch.equal(source.eval()(inputs), target.eval()(inputs))


def test_tensors_of_other_names_or_shapes_are_left_as_they_are(objects: ObjectDatabase) -> None:
    manifest = stored(objects, {"a": torch.ones(3), "b": torch.ones(4)})
    targets = {"a": torch.zeros(3), "b": torch.zeros(5)}
    with pytest.raises(IncompatibleWeightsError, match="'b' is F32"):
        load_into(objects, manifest, targets)
    with pytest.raises(IncompatibleWeightsError, match="'b' is missing"):
        load_into(objects, manifest, {"a": targets["a"]})
    assert not targets["a"].any()


def test_tied_tensors_take_equal_contents_only(objects: ObjectDatabase) -> None:
    shared = torch.zeros(3)
    equal = stored(objects, {"a": torch.ones(3), "b": torch.ones(3)})
    load_into(objects, equal, {"a": shared, "b": shared})
    assert shared.all()
    different = stored(objects, {"a": torch.ones(3), "b": torch.zeros(3)})
    with pytest.raises(IncompatibleWeightsError, match="share memory"):
        load_into(objects, different, {"a": shared, "b": shared})
