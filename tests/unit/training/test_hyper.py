"""Hyper-parameters: all bad values are reported together."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import InvalidInputError
from mlgit.training.hyper import HyperParameters


def test_the_defaults_are_those_of_the_papers_first_run():
    assert HyperParameters().to_json() == {
        "lr": 5e-5,
        "dropout": 0.0,
        "weight_decay": 0.0,
        "batch_per_domain": 32,
        "steps": 5001,
        "eval_every": 100,
        "freeze_steps": 200,
    }


def test_all_bad_values_are_reported_together():
    with pytest.raises(InvalidInputError) as error:
        HyperParameters(
            lr=0.0, dropout=1.0, weight_decay=-1.0, batch_per_domain=0, steps=0, eval_every=-3, freeze_steps=-1
        )
    assert error.value.kind == "bad-hyper-parameters"
    for name in ("lr", "dropout", "weight_decay", "batch_per_domain", "steps", "eval_every", "freeze_steps"):
        assert name in error.value.message


@pytest.mark.parametrize(
    "values",
    [
        {"lr": math.nan},
        {"lr": math.inf},
        {"lr": -1e-3},
        {"lr": "1e-3"},
        {"lr": True},
        {"dropout": math.nan},
        {"dropout": -0.1},
        {"weight_decay": math.inf},
        {"steps": 1.0},
        {"steps": True},
        {"eval_every": 0},
        {"batch_per_domain": 2.5},
    ],
    ids=str,
)
def test_a_bad_value_is_named(values):
    with pytest.raises(InvalidInputError, match=next(iter(values))):
        HyperParameters(**values)


@given(
    lr=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    dropout=st.floats(0, 1, exclude_max=True),
    steps=st.integers(1, 10**6),
)
def test_values_within_their_ranges_are_taken_as_they_are(lr, dropout, steps):
    hyper = HyperParameters(lr=lr, dropout=dropout, steps=steps)
    assert (hyper.lr, hyper.dropout, hyper.steps) == (lr, dropout, steps)


def test_overrides_replace_and_unknown_names_get_a_hint():
    assert HyperParameters().with_overrides({"steps": 7, "lr": 0.1}) == HyperParameters(steps=7, lr=0.1)
    with pytest.raises(InvalidInputError, match="'step'") as error:
        HyperParameters().with_overrides({"step": 7})
    assert error.value.kind == "unknown-hyper-parameter"
    assert "steps" in error.value.hint
    with pytest.raises(InvalidInputError, match="lr"):
        HyperParameters().with_overrides({"lr": -1.0})


def test_hyper_parameters_can_be_checked_without_importing_torch():
    code = "import sys, mlgit.training.hyper; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
