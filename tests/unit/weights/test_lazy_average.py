"""Averages of stored models, computed on demand: the same bits however they are read, and never much in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.errors import CorruptObjectError, IncompatibleWeightsError, MlgitError
from mlgit.objects import Manifest, TensorEntry, TensorId
from mlgit.storage.objects import ObjectDatabase
from mlgit.storage.transaction import Transaction
from mlgit.weights import ahead, blocks, lazy_average, parts, stored
from mlgit.weights.arithmetic import RunningAverage, average, lazy_mix, mix
from mlgit.weights.arithmetic import lazy_average as make_average
from mlgit.weights.overlay import Overlay, part
from mlgit.weights.stored import StoredWeights, load, store, tensor_bytes
from mlgit.weights.types import DTYPES, Weights

WHOLE, IN_PARTS = 2**40, 0
DTYPE_NAMES = ("F64", "F32", "F16", "BF16", "F8_E4M3", "C64")


class Watched(StoredWeights):
    """Stored weights that count how often each tensor is read, and how many bytes a part had at most."""

    def __init__(self, objects: ObjectDatabase, manifest: Manifest) -> None:
        super().__init__(objects, manifest)
        self.reads: dict[str, int] = {}
        self.largest = 0

    def read_into(self, name: str, target: memoryview) -> None:
        self.reads[name] = self.reads.get(name, 0) + 1
        super().read_into(name, target)

    def parts(self, name: str) -> Iterator[memoryview]:
        self.reads[name] = self.reads.get(name, 0) + 1
        for data in super().parts(name):
            self.largest = max(self.largest, len(memoryview(data)))
            yield memoryview(data)


def saved(objects: ObjectDatabase, weights: Weights) -> Manifest:
    with objects.transaction() as transaction:
        return Manifest(store(transaction, weights))


def model(seed: int, **shapes: tuple[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, (dtype, shape) in shapes.items():
        real = torch.randn(*shape, *([2] if dtype == "C64" else []), generator=generator)
        made[name] = torch.view_as_complex(real) if dtype == "C64" else real.to(DTYPES[dtype])
    return made


def family(count: int = 3) -> list[dict[str, torch.Tensor]]:
    """Models with tensors of every averaged dtype, long and short and empty, one that all share and an integer."""
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {f"w.{dtype}": (dtype, (5, 7)) for dtype in DTYPE_NAMES}
    shapes |= {"long": ("F32", (700, 401)), "long.half": ("BF16", (1, 600_001)), "empty": ("F32", (0, 3))}
    shared = {"shared": torch.tensor([1.0, -0.0, float("nan")]), "count": torch.tensor([3])}
    return [model(seed, **shapes) | shared for seed in range(count)]


def assert_same(left: Weights, right: Weights) -> None:
    assert sorted(left) == sorted(right)
    for name, tensor in left.items():
        assert (tensor.dtype, tensor.shape) == (right[name].dtype, right[name].shape), name
        assert bytes(tensor_bytes(tensor)) == bytes(tensor_bytes(right[name])), name


def numpy_sum(members: Sequence[Weights], factors: Sequence[float], divisor: float) -> np.ndarray:
    terms = [member["long"].double().numpy() * factor for member, factor in zip(members, factors, strict=True)]
    return np.asarray(reduce(np.add, terms) / divisor).astype(np.float32)


@pytest.mark.parametrize("large", [WHOLE, IN_PARTS], ids=["whole", "in parts"])
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("factors", [(1 / 3,) * 3, (0.2, 0.3, 0.5), (2.0, 0.0, -1.0)])
def test_stored_models_have_the_average_of_their_tensors_in_memory_on_any_number_of_threads(
    objects: ObjectDatabase,
    monkeypatch: pytest.MonkeyPatch,
    large: int,
    threads: int,
    factors: tuple[float, ...],
) -> None:
    members = family()
    lazy = [StoredWeights(objects, saved(objects, member)) for member in members]
    expected = average(members, factors).weights
    monkeypatch.setattr(lazy_average, "LARGE", large)
    monkeypatch.setattr(stored, "LARGE", large)
    for module in (ahead, parts):
        monkeypatch.setattr(module, "thread_count", lambda: threads)
    made = make_average(lazy, factors)
    assert_same(dict(made.items()), expected)
    assert_same({name: made[name] for name in made}, expected)
    assert_same(load(objects, saved(objects, made)), expected)
    equal = len(set(factors)) == 1
    plain = numpy_sum(members, [1.0] * 3, 3) if equal else numpy_sum(members, factors, 1)
    assert np.array_equal(made["long"].numpy(), plain)
    assert np.array_equal(expected["long"].numpy(), plain)


def test_a_large_tensor_is_read_once_by_each_model_in_parts(
    objects: ObjectDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [model(seed, w=("F32", (2300, 1000))) for seed in range(3)]
    lazy = [Watched(objects, saved(objects, member)) for member in members]
    monkeypatch.setattr(lazy_average, "LARGE", IN_PARTS)
    sizes = [len(memoryview(data)) for data in make_average(lazy, [1 / 3] * 3).parts("w")]
    assert sum(sizes) == 2300 * 1000 * 4
    assert len(sizes) > 2
    assert max(sizes) <= 2**22
    assert [member.reads for member in lazy] == [{"w": 1}] * 3
    assert 0 < lazy[0].largest <= 2**22


def test_what_all_models_share_is_not_read_and_not_stored_again(objects: ObjectDatabase) -> None:
    members = family()
    lazy = [Watched(objects, saved(objects, member)) for member in members]
    made = make_average(lazy, [1 / 3] * 3)
    manifest = saved(objects, {name: made[name] for name in ("w.F32",)})
    assert manifest.tensors["w.F32"].id != lazy[0].entries["w.F32"].id
    for member in lazy:
        member.reads.clear()
    with objects.transaction() as transaction:
        entries = store(transaction, part(made, {"shared", "count", "empty"}.__contains__))
    assert entries["shared"] == lazy[0].entries["shared"]
    assert entries["count"] == lazy[0].entries["count"]
    assert [member.reads for member in lazy] == [{}] * 3


def test_entries_bear_an_id_only_where_the_average_is_a_stored_tensor(objects: ObjectDatabase) -> None:
    lazy = [StoredWeights(objects, saved(objects, member)) for member in family()]
    made = make_average(lazy, [1 / 3] * 3)
    with_ids = {name for name, entry in made.entries.items() if isinstance(entry, TensorEntry)}
    assert with_ids == {"shared", "count", "empty"}
    tripled = make_average(lazy, [1.0, 1.0, 1.5])
    assert {name for name, entry in tripled.entries.items() if isinstance(entry, TensorEntry)} == {"count"}
    assert bytes(tensor_bytes(tripled["shared"])) == bytes(
        tensor_bytes(average(family(), [1.0, 1.0, 1.5]).weights["shared"])
    )


def test_stored_integers_that_differ_are_kept_and_noted_without_being_read(objects: ObjectDatabase) -> None:
    members = [{"n": torch.tensor([seed]), "w": torch.ones(1)} for seed in (4, 5)]
    lazy = [Watched(objects, saved(objects, member)) for member in members]
    made = make_average(lazy, [0.5, 0.5])
    assert "'n'" in made.notes[0]
    assert [member.reads for member in lazy] == [{}, {}]
    assert made["n"].item() == 4
    statistics = [{"bn.running_mean": torch.tensor([float(seed)])} for seed in (1, 2)]
    lazy = [Watched(objects, saved(objects, member)) for member in statistics]
    with pytest.raises(IncompatibleWeightsError, match="running_mean"):
        make_average(lazy, [0.5, 0.5])
    assert [member.reads for member in lazy] == [{}, {}]


@pytest.mark.parametrize("large", [WHOLE, IN_PARTS], ids=["whole", "in parts"])
def test_a_tensor_that_is_missing_is_named(
    objects: ObjectDatabase, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    monkeypatch.setattr(lazy_average, "LARGE", large)
    here = saved(objects, {"layer": torch.ones(3)})
    gone = Manifest({"layer": TensorEntry(id=TensorId("ab" * 32), dtype="F32", shape=(3,))})
    made = make_average([StoredWeights(objects, here), StoredWeights(objects, gone)], [0.5, 0.5])
    with pytest.raises(MlgitError, match="tensor 'layer'"):
        made["layer"]
    with pytest.raises(MlgitError, match="tensor 'layer'"), objects.transaction() as transaction:
        store(transaction, made)


def test_damage_stops_a_large_average_and_nothing_is_stored(
    objects: ObjectDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lazy_average, "LARGE", IN_PARTS)
    manifests = [saved(objects, model(seed, w=("F32", (900, 900)))) for seed in range(2)]
    pack = objects.pack_paths()[0]
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 0x40
    pack.chmod(0o644)
    pack.write_bytes(data)
    fresh = ObjectDatabase(objects.root)
    before = set(fresh.ids())
    made = make_average([StoredWeights(fresh, manifest) for manifest in manifests], [0.5, 0.5])
    with pytest.raises(CorruptObjectError, match="tensor 'w'"), fresh.transaction() as transaction:
        store(transaction, made)
    assert set(ObjectDatabase(objects.root).ids()) == before


def test_when_storing_fails_no_thread_goes_on(objects: ObjectDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_GROUP", 1)
    shapes = {f"w{number:03d}": ("F32", (50, 50)) for number in range(300)}
    members = [saved(objects, model(seed, **shapes)) for seed in range(2)]
    made = make_average([StoredWeights(objects, manifest) for manifest in members], [0.5, 0.5])
    monkeypatch.setattr(Transaction, "put_tensor", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError) as failure, objects.transaction() as transaction:
        store(transaction, made)
    assert failure.tb is not None  # the frames are still held
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mlgit-ahead")]


def test_mixtures_and_averages_of_averages_can_be_lazy_too(objects: ObjectDatabase) -> None:
    members = family()
    lazy = [StoredWeights(objects, saved(objects, member)) for member in members]
    assert_same(dict(lazy_mix(lazy[:2], (0.25, 0.75))), dict(mix(members[:2], (0.25, 0.75))))
    inner = make_average(lazy[:2], [0.5, 0.5])
    expected = average([average(members[:2], [0.5, 0.5]).weights, members[2]], [0.5, 0.5]).weights
    assert_same(dict(make_average([inner, lazy[2]], [0.5, 0.5]).items()), expected)


# ------------------------------------------------------------------------------------------ running averages


def test_a_running_average_on_demand_has_the_bits_of_the_one_at_once() -> None:
    running, members = RunningAverage(), family(4)
    for member in members:
        expected = running.mean_with(member)
        trial = running.lazy_mean_with(member)
        assert_same(trial.weights, expected.weights)
        assert_same(dict(trial.weights.items()), expected.weights)
        running.add(member)
        assert_same(running.lazy_value().weights, running.value().weights)
    assert_same(running.lazy_value().weights, average(members, [0.25] * 4).weights)


def test_a_running_average_on_demand_has_notes_and_refuses_what_does_not_fit() -> None:
    running = RunningAverage()
    with pytest.raises(MlgitError, match="at least one model"):
        running.lazy_value()
    running.add({"n": torch.tensor([1])})
    assert "'n'" in running.lazy_mean_with({"n": torch.tensor([2])}).notes[0]
    assert running.lazy_value().notes == ()
    with pytest.raises(IncompatibleWeightsError):
        running.lazy_mean_with({"m": torch.tensor([1])})
    running = RunningAverage()
    running.add({"bn.running_var": torch.ones(2)})
    with pytest.raises(IncompatibleWeightsError, match="running_var"):
        running.lazy_mean_with({"bn.running_var": torch.zeros(2)})


# --------------------------------------------------------------------------------------------------- blocks


def cuts(data: bytes, sizes: Sequence[int], width: int) -> Iterator[bytes]:
    """Cut bytes into parts of these many elements, over and over, empty parts included."""
    start = 0
    while start < len(data):
        for size in sizes:
            yield data[start : start + size * width]
            start += size * width


@settings(max_examples=100)
@given(
    st.integers(0, 2000),
    st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=4).filter(any), min_size=1, max_size=4),
    st.sampled_from(["F64", "F32", "BF16"]),
    st.integers(0, 2**32 - 1),
)
def test_rows_that_come_in_parts_cut_anywhere_have_the_sum_of_the_rows(
    length: int, sizes: list[list[int]], dtype: str, seed: int
) -> None:
    rows = [model(seed + number, w=(dtype, (length,)))["w"] for number in range(len(sizes))]
    factors = [0.3 + number for number in range(len(rows))]
    streams = [cuts(bytes(tensor_bytes(row)), size, row.itemsize) for row, size in zip(rows, sizes, strict=True)]
    found = b"".join(bytes(p) for p in blocks.combine_parts(streams, DTYPES[dtype], factors, 1.7))
    total = reduce(np.add, [row.double().numpy() * factor for row, factor in zip(rows, factors, strict=True)]) / 1.7
    expected = torch.empty(length, dtype=DTYPES[dtype])
    blocks.finish(torch.from_numpy(np.asarray(total)), 1.0, expected)
    assert found == bytes(tensor_bytes(expected))


def test_rows_of_different_lengths_are_refused() -> None:
    with pytest.raises(MlgitError, match="numbers of bytes"):
        list(blocks.combine_parts([iter([bytes(8)]), iter([bytes(12)])], torch.float32, [1.0, 1.0], 2.0))


# ---------------------------------------------------------------------------------------------------- ahead


@given(st.lists(st.integers(0, 60), max_size=60), st.integers(1, 100), st.integers(1, 4))
def test_work_ahead_comes_in_order_and_never_costs_more_than_its_budget(
    costs: list[int], budget: int, threads: int
) -> None:
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ahead, "thread_count", lambda: threads)
        asked: list[int] = []

        def cost(key: int) -> int:
            asked.append(key)
            return costs[key]

        for key, result in ahead.ahead(range(len(costs)), lambda key: key * key, cost, budget=budget):
            seen.append(key)
            assert result == key * key
            waiting = sum(costs[other] for other in asked[:-1] if other > key)
            assert waiting + costs[key] <= max(budget, costs[key])
    assert seen == list(range(len(costs)))


def test_an_error_ahead_is_raised_in_its_turn_and_the_rest_is_dropped() -> None:
    def work(key: int) -> float:
        return 1 / (key - 3)

    results = ahead.ahead(range(1000), work, lambda _: 1)
    assert [key for key, _ in (next(results) for _ in range(3))] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)
    abandoned = ahead.ahead(range(1000), work, lambda _: 1)
    next(abandoned)
    abandoned.close()


# -------------------------------------------------------------------------------------------------- overlays


def test_an_overlay_takes_from_above_where_both_have_a_name(objects: ObjectDatabase) -> None:
    below, above = family(2)
    lazy = StoredWeights(objects, saved(objects, below))
    other = {"long": above["long"], "new": torch.ones(2)}
    expected = {name: tensor for name, tensor in below.items() if name != "w.F64"} | other
    made = Overlay(lazy, other, lambda name: name != "w.F64")
    assert list(made) == sorted(expected)
    assert_same(dict(made.items()), expected)
    assert_same(load(objects, saved(objects, made)), expected)
    assert made.entries["shared"] == lazy.entries["shared"]
    assert_same(part(lazy, "long".__eq__), {"long": below["long"]})
