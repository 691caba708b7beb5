"""Which models fit together, and how the first differences are told."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import IncompatibleWeightsError
from mlgit.weights.compatibility import Incompatibility, check_compatible, incompatibilities
from mlgit.weights.forms import TensorForm

forms = st.builds(TensorForm, st.sampled_from(["F32", "BF16"]), st.sampled_from([(2,), (2, 3), ()]))
models = st.dictionaries(st.sampled_from(["a", "b", "fc.weight", "fc.bias", "fcs.weight", "fc"]), forms)


@given(models)
def test_a_model_fits_to_itself_and_to_nothing_else_to_compare(model: dict[str, TensorForm]) -> None:
    check_compatible({"a": model})
    check_compatible({"a": model, "b": dict(reversed(model.items())), "c": dict(model)})
    check_compatible({})


@given(models, models)
def test_each_difference_is_found_once_and_the_other_way_round_too(
    one: dict[str, TensorForm], two: dict[str, TensorForm]
) -> None:
    found = list(incompatibilities({"one": one, "two": two}))
    assert [difference.name for difference in found] == sorted(
        name for name in {*one, *two} if one.get(name) != two.get(name)
    )
    mirrored = {"missing": "extra", "extra": "missing", "shape": "shape", "dtype": "dtype"}
    back = list(incompatibilities({"two": two, "one": one}))
    assert [mirrored[difference.kind] for difference in found] == [difference.kind for difference in back]
    if found:
        with pytest.raises(IncompatibleWeightsError):
            check_compatible({"one": one, "two": two})


@given(models, models)
def test_ignoring_a_module_compares_the_rest(one: dict[str, TensorForm], two: dict[str, TensorForm]) -> None:
    def rest(model: dict[str, TensorForm]) -> dict[str, TensorForm]:
        return {name: form for name, form in model.items() if name not in ("fc", "fc.weight", "fc.bias")}

    for prefix in ("fc", "fc."):
        assert list(incompatibilities({"1": one, "2": two}, ignore=[prefix])) == list(
            incompatibilities({"1": rest(one), "2": rest(two)})
        )


def test_every_kind_is_told_with_names_and_values() -> None:
    one = {"gone": TensorForm("F32", (2,)), "w": TensorForm("F32", (2,)), "d": TensorForm("F32", ())}
    two = {"new": TensorForm("F32", (2,)), "w": TensorForm("F32", (2, 1)), "d": TensorForm("BF16", ())}
    assert list(map(str, incompatibilities({"4f2a": one, "b07d": two}))) == [
        "'d' is BF16[] in b07d, F32[] in 4f2a",
        "'gone' is missing from b07d",
        "'new' of b07d is not in 4f2a",
        "'w' is F32[2, 1] in b07d, F32[2] in 4f2a",
    ]
    assert next(incompatibilities({"x": one, "y": two})) == Incompatibility("y", "x", "d", "dtype", "F32[]", "BF16[]")


def test_an_error_lists_ten_and_counts_the_rest_over_all_models() -> None:
    model = {f"t{number:02}": TensorForm("F32", ()) for number in range(7)}
    with pytest.raises(IncompatibleWeightsError) as caught:
        check_compatible({"a": model, "b": {}, "c": {}})
    lines = caught.value.message.splitlines()
    assert lines[0].startswith("the models do not fit together: 14 tensors differ")
    assert len(lines) == 12
    assert lines[-1].strip() == "and 4 more"
    assert caught.value.kind == "incompatible-weights"
    assert caught.value.hint


def test_headers_compatibility_and_differences_need_no_torch() -> None:
    code = (
        "import sys, mlgit.weights, mlgit.weights.header, mlgit.weights.compatibility, mlgit.weights.sharding;"
        "assert 'numpy' not in sys.modules;"
        "import mlgit.weights.difference; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
