"""Averages and interpolation, against the plain formulas in NumPy."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.errors import IncompatibleWeightsError, InvalidInputError, MlgitError
from mlgit.objects import Manifest
from mlgit.storage.objects import ObjectDatabase
from mlgit.weights import parts
from mlgit.weights.arithmetic import RunningAverage, average, interpolate, lazy_average, mix
from mlgit.weights.rounding import narrow
from mlgit.weights.stored import StoredWeights, store, tensor_bytes
from mlgit.weights.types import DTYPES, Weights, forms

REAL = {
    torch.float64: np.float64,
    torch.float32: np.float32,
    torch.float16: np.float16,
}
NARROW = (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)
FLOATS = (*REAL, *NARROW)

values = st.floats(-400, 400, width=32) | st.sampled_from([0.0, -0.0, 1e-7, 2.0**-20])
coefficients_of = st.lists(st.floats(-2, 3).filter(bool), min_size=1, max_size=5)


@st.composite
def families(draw: st.DrawFn, dtypes: Sequence[torch.dtype] = FLOATS, count: int | None = None) -> list[torch.Tensor]:
    """A few tensors of one dtype and shape."""
    dtype = draw(st.sampled_from(dtypes))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    size = int(np.prod(shape))
    count = count or draw(st.integers(1, 6))
    rows = [draw(st.lists(values, min_size=size, max_size=size)) for _ in range(count)]
    return [torch.tensor(row, dtype=torch.float64).reshape(shape).clamp(-200, 200).to(dtype) for row in rows]


def plain(tensor: torch.Tensor) -> np.ndarray:
    return tensor.to(torch.float64).numpy()


def rounded(exact: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    if dtype in REAL:
        return torch.from_numpy(np.asarray(exact).astype(REAL[dtype]))
    return narrow(torch.from_numpy(np.asarray(exact)), dtype)  # proved by test_rounding


def expected_mean(family: Sequence[torch.Tensor]) -> torch.Tensor:
    total = reduce(np.add, [plain(tensor) for tensor in family])
    return rounded(total / len(family), family[0].dtype)


def expected_sum(family: Sequence[torch.Tensor], factors: Sequence[float]) -> torch.Tensor:
    terms = [plain(tensor) * np.float64(factor) for tensor, factor in zip(family, factors, strict=True)]
    return rounded(reduce(np.add, terms), family[0].dtype)


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    return (left.dtype, left.shape, bytes(tensor_bytes(left))) == (right.dtype, right.shape, bytes(tensor_bytes(right)))


def all_equal(family: Sequence[torch.Tensor]) -> bool:
    return all(same_bits(family[0], tensor) for tensor in family)


# ------------------------------------------------------------------------------------------------ means


@settings(max_examples=200)
@given(families())
def test_a_uniform_average_is_the_plain_float64_mean_bit_for_bit(family: list[torch.Tensor]) -> None:
    result = average([{"w": tensor} for tensor in family], [1 / len(family)] * len(family))
    expected = family[0] if all_equal(family) else expected_mean(family)
    assert same_bits(result.weights["w"], expected)
    assert result.notes == ()


@settings(max_examples=200)
@given(families(dtypes=(torch.float64, torch.float32, torch.float16, torch.bfloat16), count=3), st.data())
def test_a_weighted_average_is_the_plain_float64_sum_of_products(
    family: list[torch.Tensor], data: st.DataObject
) -> None:
    factors = data.draw(
        st.lists(st.floats(-2, 3).filter(bool), min_size=3, max_size=3).filter(lambda f: len(set(f)) > 1)
    )
    result = average([{"w": tensor} for tensor in family], factors).weights["w"]
    kept = all_equal(family) and abs(sum(factors) - 1) < 1e-9
    assert same_bits(result, family[0] if kept else expected_sum(family, factors))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("count", [2, 3, 5, 6, 7])
def test_many_numbers_are_averaged_by_the_stated_formula(dtype: torch.dtype, count: int) -> None:
    torch.manual_seed(count)
    family = [torch.randn(2000, dtype=torch.float64).to(dtype) for _ in range(count)]
    result = average([{"w": tensor} for tensor in family], [1 / count] * count).weights["w"]
    assert same_bits(result, expected_mean(family))
    if dtype == torch.float64 and count in (3, 5, 6, 7):  # the other formula has other bits
        assert not same_bits(result, expected_sum(family, [1 / count] * count))


def test_equal_coefficients_that_do_not_sum_to_one_are_a_sum() -> None:
    members = [{"w": torch.tensor([value])} for value in (1.0, 2.0, 4.0)]
    assert average(members, [1.0, 1.0, 1.0]).weights["w"].item() == 7.0
    assert average(members, [1 / 3] * 3).weights["w"].item() == np.float32(7 / 3)


def test_equal_models_stay_as_they_are_whatever_their_dtype() -> None:
    third = torch.tensor([0.1, float("nan"), -0.0], dtype=torch.float64)
    signalling = torch.tensor([0x7FA00001, -0x80000000], dtype=torch.int32).view(torch.float32)
    packed = torch.tensor([200, 7], dtype=torch.uint8).view(DTYPES["F4"])
    model = {"f64": third, "nan": signalling, "f4": packed, "int": torch.tensor([3]), "bool": torch.tensor([True])}
    for factors in ([1 / 3] * 3, [0.2, 0.3, 0.5]):
        result = average([model, dict(model), {name: tensor.clone() for name, tensor in model.items()}], factors)
        assert all(same_bits(result.weights[name], tensor) for name, tensor in model.items())
        assert result.notes == ()


def test_equal_models_with_coefficients_that_do_not_sum_to_one_are_scaled() -> None:
    model = {"w": torch.tensor([1.0, 3.0])}
    assert average([model, model], [0.5, 1.0]).weights["w"].tolist() == [1.5, 4.5]


@given(families(count=2))
def test_a_model_with_coefficient_zero_changes_nothing_and_is_not_read(family: list[torch.Tensor]) -> None:
    start, end = ({"w": tensor} for tensor in family)
    never = Counted({"w": torch.full_like(family[0].to(torch.float32), float("nan")).to(family[0].dtype)})
    with_zero = average([start, never, end], [0.5, 0.0, 0.5])
    assert same_bits(with_zero.weights["w"], average([start, end], [0.5, 0.5]).weights["w"])
    assert never.reads == 0


def test_complex_numbers_are_averaged_part_by_part() -> None:
    members = [
        {"w": torch.tensor([[1 + 2j, 0.1j]], dtype=torch.complex64)},
        {"w": torch.tensor([[3 - 1j, 5]], dtype=torch.complex64)},
    ]
    result = average(members, [0.5, 0.5]).weights["w"]
    expected = (members[0]["w"].numpy().astype(np.complex128) + members[1]["w"].numpy()) / 2
    assert result.dtype == torch.complex64
    assert np.array_equal(result.numpy(), expected.astype(np.complex64))


def test_large_tensors_are_averaged_in_parts_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    members = [{"w": torch.randn(3, 100_003).t()} for _ in range(3)]
    expected = expected_sum([member["w"] for member in members], [0.2, 0.3, 0.5])
    monkeypatch.setattr(parts, "_THREADED", 1)
    for threads in (1, 2, 3, 16):
        monkeypatch.setattr(parts, "thread_count", lambda threads=threads: threads)
        assert same_bits(average(members, [0.2, 0.3, 0.5]).weights["w"], expected)


@given(st.integers(0, 300), st.integers(1, 5), st.booleans())
def test_parts_cover_everything_once(count: int, threads: int, threaded: bool) -> None:
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART", 7)
        patch.setattr(parts, "_THREADED", 0 if threaded else 10**9)
        patch.setattr(parts, "thread_count", lambda: threads)
        parts.in_parts(count, lambda part: seen.extend(range(part.start, part.stop)))
    assert sorted(seen) == list(range(count))


def test_an_error_in_a_part_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_THREADED", 0)
    monkeypatch.setattr(parts, "thread_count", lambda: 2)
    with pytest.raises(ZeroDivisionError):
        parts.in_parts(10**6, lambda part: 1 / (part.start - parts.PART))


@given(families(count=3), st.lists(st.floats(-2, 3).filter(bool), min_size=3, max_size=3))
def test_a_lazy_average_has_the_bits_of_the_average(family: list[torch.Tensor], factors: list[float]) -> None:
    members = [{"w": tensor, "n": torch.tensor(index)} for index, tensor in enumerate(family)]
    lazy, full = lazy_average(members, factors), average(members, factors)
    assert list(lazy) == list(full.weights) == ["n", "w"]
    assert len(lazy) == 2
    assert "w" in lazy
    assert "x" not in lazy
    assert all(same_bits(lazy[name], full.weights[name]) for name in lazy)
    assert lazy.notes == full.notes
    assert forms(lazy) == forms(full.weights)
    lazy["n"].fill_(9)
    assert lazy["n"].item() == 0


def test_a_lazy_average_reads_a_tensor_when_it_is_asked_for(objects: ObjectDatabase) -> None:
    members = [Counted({"a": torch.randn(4), "b": torch.randn(4), "n": torch.tensor(1)}) for _ in range(2)]
    lazy = lazy_average(members, [0.5, 0.5])
    assert [member.reads for member in members] == [1, 1]
    assert torch.equal(lazy["a"], expected_mean([member.weights["a"] for member in members]))
    assert [member.reads for member in members] == [2, 2]
    with objects.transaction() as transaction:
        entries = store(transaction, lazy)
    assert torch.equal(StoredWeights(objects, Manifest(entries))["b"], lazy["b"])


def test_the_members_are_left_alone_and_the_result_is_nobodys() -> None:
    members: list[Weights] = [
        {"w": torch.tensor([1.0, 2.0], dtype=torch.float64), "f": torch.ones(2)} for _ in range(2)
    ]
    members[1]["w"].add_(1)
    before = [{name: tensor.clone() for name, tensor in member.items()} for member in members]
    result = average(members, [0.25, 0.75]).weights
    for tensor in result.values():
        tensor.fill_(9)
    assert all(same_bits(member[name], old[name]) for member, old in zip(members, before, strict=True) for name in old)


class Counted(Mapping[str, torch.Tensor]):
    """Weights that count how often they are read and how many of their tensors are alive."""

    alive = 0
    most = 0

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.reads = 0

    @property
    def entries(self) -> Mapping[str, object]:
        from mlgit.weights.types import tensor_form

        return {name: tensor_form(tensor, name) for name, tensor in self.weights.items()}

    def __getitem__(self, name: str) -> torch.Tensor:
        self.reads += 1
        tensor = self.weights[name].clone()
        Counted.alive += 1
        Counted.most = max(Counted.most, Counted.alive)
        weakref.finalize(tensor, self._gone)
        return tensor

    @staticmethod
    def _gone() -> None:
        Counted.alive -= 1

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)


def test_each_tensor_is_read_once_and_at_most_two_are_held() -> None:
    gc.collect()
    Counted.alive = Counted.most = 0
    members = [Counted({f"w{index}": torch.randn(4) for index in range(7)}) for _ in range(6)]
    average(members, [1 / 6] * 6)
    assert [member.reads for member in members] == [7] * 6
    assert Counted.most == 2
    assert Counted.alive == 0


def test_stored_tensors_with_equal_ids_are_read_once_for_all_members(
    objects: ObjectDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with objects.transaction() as transaction:
        shared = torch.randn(5)
        manifests = [Manifest(store(transaction, {"frozen": shared, "moved": torch.randn(5)})) for _ in range(4)]
    read: list[str] = []
    inner = objects.read_into
    monkeypatch.setattr(objects, "read_into", lambda oid, target: (read.append(oid), inner(oid, target))[1])
    members = [StoredWeights(objects, manifest) for manifest in manifests]
    result = average(members, [0.25] * 4).weights
    assert read.count(manifests[0].tensors["frozen"].id) == 1
    assert len(read) == 5
    assert torch.equal(result["frozen"], shared)
    assert torch.equal(result["moved"], expected_mean([member["moved"] for member in members]))


# -------------------------------------------------------------------------- integers, statistics, refusals


def test_integers_and_booleans_that_differ_are_the_first_models_with_a_note() -> None:
    members = [
        {"position": torch.tensor([1, 2]), "mask": torch.tensor([True]), "w": torch.tensor([1.0])},
        {"position": torch.tensor([1, 3]), "mask": torch.tensor([True]), "w": torch.tensor([2.0])},
    ]
    result = average(members, [0.5, 0.5])
    assert result.weights["position"].tolist() == [1, 2]
    assert result.weights["w"].tolist() == [1.5]
    assert len(result.notes) == 1
    assert "1 tensor differs" in result.notes[0]
    assert "'position'" in result.notes[0]
    assert average(members[::-1], [0.5, 0.5]).weights["position"].tolist() == [1, 3]


@pytest.mark.parametrize("dtype", ["U16", "U32", "U64", "I8", "I16", "I32", "U8", "BOOL"])
def test_every_integer_dtype_has_the_rule(dtype: str) -> None:
    members = [{"n": torch.tensor([value]).to(DTYPES[dtype])} for value in (1, 0)]
    assert same_bits(average(members, [0.5, 0.5]).weights["n"], members[0]["n"])


@pytest.mark.parametrize("dtype", ["F4", "F8_E8M0"])
def test_dtypes_without_arithmetic_must_be_equal(dtype: str) -> None:
    members = [{"x": torch.tensor([value], dtype=torch.uint8).view(DTYPES[dtype])} for value in (130, 131)]
    for statistics in ("require-equal", "average", "first"):
        with pytest.raises(
            IncompatibleWeightsError, match="1 tensor that must be equal differs between the models: 'x'"
        ):
            average(members, [0.5, 0.5], statistics=statistics)  # type: ignore[arg-type]  # each is a rule


def normalized(mean: float, count: int) -> dict[str, torch.Tensor]:
    return {
        "bn.weight": torch.tensor([mean]),
        "bn.running_mean": torch.tensor([mean]),
        "bn.running_var": torch.tensor([1.0]),
        "bn.num_batches_tracked": torch.tensor(count),
    }


def test_statistics_follow_their_rule() -> None:
    members = [normalized(1.0, 3), normalized(2.0, 5)]
    with pytest.raises(IncompatibleWeightsError) as caught:
        average(members, [0.5, 0.5])
    assert caught.value.kind == "unequal-statistics"
    assert "'bn.num_batches_tracked', 'bn.running_mean'" in caught.value.message
    assert "bn.weight" not in caught.value.message

    averaged = average(members, [0.5, 0.5], statistics="average")
    assert averaged.weights["bn.running_mean"].item() == 1.5
    assert averaged.weights["bn.num_batches_tracked"].item() == 3
    assert "'bn.num_batches_tracked'" in averaged.notes[0]

    first = average(members, [0.5, 0.5], statistics="first")
    assert first.weights["bn.running_mean"].item() == 1.0
    assert first.weights["bn.weight"].item() == 1.5
    assert "'bn.running_mean'" in first.notes[0]

    frozen = [normalized(1.0, 3), normalized(1.0, 3) | {"bn.weight": torch.tensor([3.0])}]
    assert average(frozen, [0.5, 0.5]).weights["bn.running_mean"].item() == 1.0


@pytest.mark.parametrize(
    ("members", "factors"),
    [([], []), ([{}], [0.5, 0.5]), ([{}], [0.0]), ([{}], [float("nan")]), ([{}], [float("inf")])],
)
def test_bad_coefficients_are_refused(members: list[Weights], factors: list[float]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        average(members, factors)
    assert caught.value.kind == "bad-coefficients"


def test_an_unknown_rule_is_refused_with_a_hint() -> None:
    with pytest.raises(InvalidInputError) as caught:
        average([{}], [1.0], statistics="frist")  # type: ignore[arg-type]  # wrong on purpose
    assert caught.value.hint == "did you mean 'first'?"
    with pytest.raises(InvalidInputError):
        RunningAverage(statistics="x")  # type: ignore[arg-type]  # wrong on purpose


def test_models_that_do_not_fit_are_refused_with_their_labels() -> None:
    members = [{"w": torch.ones(2)}, {"w": torch.ones(3)}]
    with pytest.raises(IncompatibleWeightsError, match=r"'w' is F32\[3\] in b07d3e2, F32\[2\] in 4f2a91c"):
        average(members, [0.5, 0.5], labels=["4f2a91c", "b07d3e2"])
    with pytest.raises(IncompatibleWeightsError, match="model 2"):
        average(members, [1.0, 0.0])


# ------------------------------------------------------------------------------------------ interpolation


@given(families(dtypes=(torch.float64, torch.float32, torch.float16, torch.bfloat16), count=2), st.floats(0, 1))
def test_interpolation_is_the_plain_formula_in_float64(family: list[torch.Tensor], share: float) -> None:
    start, end = family
    result = interpolate({"w": start}, {"w": end}, share)["w"]
    if share in (0.0, 1.0) or all_equal(family):
        assert same_bits(result, end if share == 1.0 else start)
    else:
        assert same_bits(result, expected_sum(family, [1 - share, share]))


def test_the_ends_of_a_line_are_the_models_themselves_nan_and_integers_included() -> None:
    start = {"w": torch.tensor([1.0, float("nan"), -0.0]), "n": torch.tensor([1])}
    end = {"w": torch.tensor([float("inf"), 2.0, 0.0]), "n": torch.tensor([2])}
    for share, model in ((0.0, start), (1.0, end)):
        result = interpolate(start, end, share)
        assert all(same_bits(result[name], model[name]) for name in model)
        assert all(result[name].data_ptr() != model[name].data_ptr() for name in model)


@given(families(dtypes=(torch.float32,), count=3), st.floats(0, 1), st.floats(0, 1))
def test_a_point_of_a_triangle_is_the_plain_formula(family: list[torch.Tensor], first: float, second: float) -> None:
    shares = [first * second, first * (1 - second)]
    shares.append(1 - shares[0] - shares[1])
    shares[2] = max(shares[2], 0.0)
    result = mix([{"w": tensor} for tensor in family], shares)["w"]
    used = [(tensor, share) for tensor, share in zip(family, shares, strict=True) if share]
    if all_equal([tensor for tensor, _ in used]):
        assert same_bits(result, used[0][0])
    else:
        assert same_bits(result, expected_sum(*zip(*used, strict=True)))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_the_line_is_refused(share: float) -> None:
    with pytest.raises(InvalidInputError, match="shares"):
        interpolate({}, {}, share)


@pytest.mark.parametrize("shares", [[0.5, 0.6], [0.5], [1.5, -0.5]])
def test_shares_that_are_none_are_refused(shares: list[float]) -> None:
    with pytest.raises(InvalidInputError, match="shares"):
        mix([{}, {}], shares)


# ---------------------------------------------------------------------------------------- running averages


@settings(max_examples=100)
@given(families())
def test_a_running_average_has_the_bits_of_the_average_at_every_step(family: list[torch.Tensor]) -> None:
    running = RunningAverage()
    for count, tensor in enumerate(family, 1):
        expected = average([{"w": member} for member in family[:count]], [1 / count] * count)
        assert same_bits(running.mean_with({"w": tensor}).weights["w"], expected.weights["w"])
        assert running.count == count - 1
        running.add({"w": tensor})
        assert same_bits(running.value().weights["w"], expected.weights["w"])


@settings(max_examples=60)
@given(families(count=4))
def test_trying_a_model_leaves_a_running_average_as_it_was(family: list[torch.Tensor]) -> None:
    running, untouched = RunningAverage(), RunningAverage()
    for tensor in family[:3]:
        running.mean_with({"w": family[3]})
        running.add({"w": tensor})
        running.mean_with({"w": family[3]}).weights["w"].zero_()
        untouched.add({"w": tensor})
        running.value().weights["w"].zero_()
        assert same_bits(running.value().weights["w"], untouched.value().weights["w"])


def test_greedy_reads_each_model_once_when_it_is_loaded_first() -> None:
    running = RunningAverage()
    members = [Counted({"w": torch.randn(3)}) for _ in range(4)]
    for member in members:
        candidate = dict(member)
        running.mean_with(candidate)
        running.add(candidate)
    assert [member.reads for member in members] == [1] * 4


def test_a_model_that_does_not_fit_leaves_a_running_average_as_it_was() -> None:
    running = RunningAverage()
    running.add(normalized(1.0, 3))
    for wrong in (normalized(1.0, 4), {"w": torch.ones(1)}):
        for attempt in (running.add, running.mean_with):
            with pytest.raises(IncompatibleWeightsError):
                attempt(wrong)
    running.add(normalized(1.0, 3) | {"bn.weight": torch.tensor([2.0])})
    assert running.count == 2
    assert running.value().weights["bn.weight"].item() == 1.5


def test_a_running_average_keeps_its_notes() -> None:
    running = RunningAverage()
    running.add({"n": torch.tensor([1])})
    assert "'n'" in running.mean_with({"n": torch.tensor([2])}).notes[0]
    assert running.value().notes == ()
    running.add({"n": torch.tensor([2])})
    running.add({"n": torch.tensor([1])})
    assert "'n'" in running.value().notes[0]
    assert running.value().weights["n"].item() == 1


def test_a_running_average_of_nothing_has_no_value() -> None:
    with pytest.raises(InvalidInputError, match="at least one model"):
        RunningAverage().value()


def test_after_a_failed_reading_a_running_average_gives_no_wrong_answer() -> None:
    class Damaged(Counted):
        def __getitem__(self, name: str) -> torch.Tensor:
            raise OSError("gone")

    running = RunningAverage()
    running.add({"w": torch.ones(1)})
    with pytest.raises(OSError, match="gone"):
        running.add(Damaged({"w": torch.ones(1)}))
    for use in (
        running.value,
        lambda: running.add({"w": torch.ones(1)}),
        lambda: running.mean_with({"w": torch.ones(1)}),
    ):
        with pytest.raises(MlgitError, match="cannot be used"):
            use()
