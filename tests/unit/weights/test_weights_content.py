"""Names of contents: equal names mean equal bits, however weights are held; what is computed needs no reading."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlgit.weights.arithmetic import RunningAverage, lazy_average, lazy_mix
from mlgit.weights.content import (
    HeldWeights,
    average_content,
    contents_of,
    held,
    tensor_content,
    weights_content,
)
from mlgit.weights.overlay import Overlay, part, with_contents

NAMES = ("layer.weight", "layer.bias", "norm.running_mean", "count")


def model(seed: int) -> HeldWeights:
    """Return weights that know what they are: the same seed, the same name."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        "layer.weight": torch.randn(3, 2, generator=generator),
        "layer.bias": torch.randn(3, generator=generator),
        "norm.running_mean": torch.ones(3),
        "count": torch.tensor(7),
    }
    fixed = ("norm.running_mean", "count")
    return HeldWeights(tensors.items(), {name: name if name in fixed else f"{name} {seed}" for name in tensors})


def bits(weights: Mapping[str, torch.Tensor]) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in sorted(weights.items())}


shares = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 1.0])
recipes = st.one_of(
    st.tuples(st.just("mix"), st.lists(st.integers(0, 3), min_size=2, max_size=2), shares),
    st.tuples(st.just("mean"), st.lists(st.integers(0, 3), min_size=1, max_size=4), st.none()),
    st.tuples(st.just("running"), st.lists(st.integers(0, 3), min_size=1, max_size=4), st.none()),
    st.tuples(st.just("with"), st.lists(st.integers(0, 3), min_size=2, max_size=4), st.none()),
)


def made(recipe: tuple[str, list[int], float | None]) -> Mapping[str, torch.Tensor]:
    kind, seeds, share = recipe
    members = [model(seed) for seed in seeds]
    if kind == "mix":
        return lazy_mix(members, (1 - (share or 0.0), share or 0.0))
    if kind == "mean":
        return lazy_average(members, [1 / len(members)] * len(members))
    running = RunningAverage()
    for each in members[: -1 if kind == "with" else None]:
        running.add(each)
    return running.lazy_value().weights if kind == "running" else running.lazy_mean_with(members[-1]).weights


@given(recipes, recipes)
def test_equal_names_mean_equal_bits(first, second):
    a, b = made(first), made(second)
    assert weights_content(a) is not None
    if weights_content(a) == weights_content(b):
        assert bits(a) == bits(b)
    elif first == second:
        raise AssertionError("the same recipe has two names")


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_a_running_average_has_the_name_of_the_average(seeds):
    mean = made(("mean", seeds, None))
    assert weights_content(made(("running", seeds, None))) == weights_content(mean)
    if len(seeds) > 1:
        assert weights_content(made(("with", seeds, None))) == weights_content(mean)


@given(st.integers(0, 2**20), st.integers(0, 2**20), st.floats(0, 1))
def test_a_sum_of_two_is_the_same_in_both_orders(a, b, share):
    forth = lazy_mix([model(a), model(b)], (1 - share, share))
    back = lazy_mix([model(b), model(a)], (share, 1 - share))
    assert weights_content(forth) == weights_content(back)
    assert bits(forth) == bits(back)


def test_a_sum_of_three_has_the_name_of_its_order():
    first, second = (lazy_average([model(n) for n in order], [1 / 3] * 3) for order in ((1, 2, 3), (3, 2, 1)))
    assert weights_content(first) != weights_content(second)


def test_ends_of_a_path_have_the_names_of_the_models():
    for share, seed in ((0.0, 1), (1.0, 2)):
        assert weights_content(lazy_mix([model(1), model(2)], (1 - share, share))) == weights_content(model(seed))


@pytest.mark.parametrize("factor", [0.5000000000000001, 0.25])
def test_coefficients_that_differ_in_the_last_bit_give_another_name(factor):
    first = average_content(["a", "b"], [0.5, 0.5], 1.0, dtype="F32")
    assert first != average_content(["a", "b"], [factor, 0.5], 1.0, dtype="F32")
    assert first != average_content(["a", "b"], [0.5, 0.5], 2.0, dtype="F32")


values = st.floats(width=32)


@given(st.lists(st.lists(values, min_size=3, max_size=3), min_size=2, max_size=4))
def test_the_middle_of_a_path_has_the_name_and_the_bits_of_the_average_of_two_or_four(rows):
    members = [HeldWeights({"w": torch.tensor(row)}.items(), {"w": f"w {n}"}) for n, row in enumerate(rows)]
    shares = [1 / len(members)] * len(members)
    mean, middle = lazy_average(members, shares), lazy_mix(members, shares)
    assert (weights_content(mean) == weights_content(middle)) is (len(members) != 3)
    if len(members) != 3:
        assert bits(mean) == bits(middle)


def test_the_middle_of_a_path_has_another_name_where_a_sum_may_overflow():
    tensors = [torch.tensor([value], dtype=torch.float64) for value in (1.6e308, 1.7e308)]
    huge = [HeldWeights({"w": tensor}.items(), {"w": f"w {n}"}) for n, tensor in enumerate(tensors)]
    mean, middle = lazy_average(huge, (0.5, 0.5)), lazy_mix(huge, (0.5, 0.5))
    assert bits(mean) != bits(middle)
    assert weights_content(mean) != weights_content(middle)


def test_nothing_is_known_of_plain_tensors_and_of_what_is_made_of_them():
    plain = dict(model(1))
    assert weights_content(plain) is None
    assert weights_content(lazy_mix([plain, model(2)], (0.5, 0.5))) is None
    assert tensor_content(Overlay(model(1), {"layer.bias": torch.zeros(3)}), "layer.bias") is None
    running = RunningAverage()
    running.add(plain)
    assert weights_content(running.lazy_mean_with(model(2)).weights) is None


def test_parts_of_others_keep_their_names_and_forms_count():
    whole = Overlay(model(1), part(model(2), lambda name: name == "layer.bias"))
    assert tensor_content(whole, "layer.bias") == tensor_content(model(2), "layer.bias")
    assert tensor_content(whole, "layer.weight") == tensor_content(model(1), "layer.weight")
    halves = HeldWeights(((n, t.half()) for n, t in model(1).items()), contents_of(model(1)))
    assert weights_content(halves) != weights_content(model(1))
    renamed = HeldWeights(
        ((n + "x", t) for n, t in model(1).items()), {n + "x": c for n, c in contents_of(model(1)).items()}
    )
    assert weights_content(renamed) != weights_content(model(1))


def test_names_survive_being_held_and_are_given_by_who_knows():
    lazy = lazy_mix([model(1), model(2)], (0.5, 0.5))
    assert weights_content(held(lazy)) == weights_content(lazy)
    assert bits(held(lazy)) == bits(lazy)
    for weights in (lazy, dict(model(1))):
        named = with_contents(weights, dict.fromkeys(NAMES, "x"))
        assert {tensor_content(named, name) for name in NAMES} == {"x"}
        assert bits(named) == bits(weights)
        assert weights_content(weights, dict.fromkeys(NAMES, "x")) == weights_content(named)
