"""Draws against published vectors and against numpy."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.training.draws import SPACES, Initialisation, assign_initialisation, draw
from mlgit.training.hyper import HyperParameters

# Runs 0 to 19 of the mild space for three trials: dropout (0, 1 or 5 tenths), rate (times 1e-5), decay (- none,
# 4: 1e-4, 6: 1e-6). Computed by an independent re-implementation of the seeding.
MILD = {
    0: "05- 534 516 036 016 534 134 114 154 556 556 056 534 556 056 034 514 154 056 036",
    1: "05- 536 536 134 034 136 014 556 054 114 534 156 054 554 116 516 014 056 154 516",
    2: "05- 536 016 134 554 514 014 156 034 036 514 536 056 034 516 036 514 114 016 114",
}
PACS_POOL = {"DomainNet": 4, "OfficeHome": 4, "TerraIncognita": 4, "VLCS": 4}
# Auxiliary task (- for the pre-trained featurizer) and sub-run of runs 0 to 19.
ASSIGNED = "- D1 O2 T3 V0 - D2 O3 T0 V1 - D3 O0 T1 V2 - D0 O1 T2 V3"


def seed(*args: object) -> int:
    return int(hashlib.md5(str(args).encode()).hexdigest(), 16) % 2**31  # noqa: S324 - a seed, not a secret


@pytest.mark.parametrize("trial", MILD)
def test_mild_draws_equal_the_published_ones(trial):
    decays = {"-": 0.0, "4": 1e-4, "6": 1e-6}
    for run, (dropout, rate, decay) in enumerate(MILD[trial].split()):
        assert draw("mild", run, trial=trial) == HyperParameters(
            dropout=int(dropout) / 10, lr={"1": 1e-5, "3": 3e-5, "5": 5e-5}[rate], weight_decay=decays[decay]
        )


@given(run=st.integers(1, 10_000), trial=st.integers(0, 50))
def test_domainbed_draws_equal_numpys(run, trial):
    base = seed(run, trial)
    hyper, small = draw("domainbed", run, trial=trial), draw("domainbed-small", run, trial=trial)

    def random(name: str) -> np.random.RandomState:
        return np.random.RandomState(seed(base, name))

    assert hyper.lr == 10 ** random("lr").uniform(-5, -3.5)
    assert hyper.weight_decay == 10 ** random("weight_decay").uniform(-6, -2)
    assert hyper.batch_per_domain == int(2 ** random("batch_size").uniform(3, 5.5))
    assert hyper.dropout == random("resnet_dropout").choice([0.0, 0.1, 0.5])
    assert small.lr == 10 ** random("lr").uniform(-4.5, -2.5)
    assert small.batch_per_domain == int(2 ** random("batch_size").uniform(3, 9))
    assert (small.weight_decay, small.dropout) == (0.0, hyper.dropout)


@pytest.mark.parametrize("space", sorted(SPACES))
def test_run_zero_has_the_defaults_of_its_space(space):
    assert draw(space, 0, trial=2) == SPACES[space].first
    assert SPACES[space].name == space
    assert "arXiv" in SPACES[space].reference


def test_the_default_space_is_the_same_for_every_run():
    assert {draw("default", run) for run in range(20)} == {HyperParameters()}


def test_drawn_values_are_plain_numbers():
    hyper = draw("domainbed", 3)
    assert type(hyper.lr) is float
    assert type(hyper.dropout) is float
    assert type(hyper.batch_per_domain) is int


def test_overrides_win_over_draws():
    assert draw("mild", 1, overrides={"lr": 0.5, "steps": 10}) == HyperParameters(
        lr=0.5, steps=10, dropout=0.5, weight_decay=1e-4
    )
    assert draw("mild", 0, overrides={"dropout": 0.25}).dropout == 0.25


def test_draws_leave_numpys_global_random_state_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the legacy state is what must not change
    draw("domainbed", 5)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_an_unknown_space_gets_a_hint():
    with pytest.raises(NotFoundError, match="'midl'") as error:
        draw("midl", 0)
    assert error.value.kind == "unknown-space"
    assert "mild" in error.value.hint


@pytest.mark.parametrize(("run", "trial"), [(-1, 0), (0, -1)])
def test_negative_numbers_are_refused(run, trial):
    with pytest.raises(InvalidInputError):
        draw("mild", run, trial=trial)


def test_initialisations_equal_the_published_assignment():
    names = {name[0]: name for name in PACS_POOL}
    for run, text in enumerate(ASSIGNED.split()):
        expected = Initialisation() if text == "-" else Initialisation(names[text[0]], int(text[1]))
        assert assign_initialisation(run, PACS_POOL) == expected


@given(
    run=st.integers(0, 1000),
    pool=st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 5), max_size=4),
)
def test_an_initialisation_exists_and_does_not_depend_on_the_order_of_the_pool(run, pool):
    chosen = assign_initialisation(run, pool)
    assert chosen == assign_initialisation(run, dict(reversed(pool.items())))
    if chosen.auxiliary is None:
        assert run % (len(pool) + 1) == 0
        assert chosen.sub_run is None
    else:
        assert 0 <= chosen.sub_run < pool[chosen.auxiliary]


def test_without_auxiliary_tasks_every_run_starts_from_the_pre_trained_network():
    assert {assign_initialisation(run, {}) for run in range(5)} == {Initialisation()}


def test_an_auxiliary_task_without_a_finished_run_is_refused():
    with pytest.raises(InvalidInputError, match="'x'") as error:
        assign_initialisation(0, {"x": 0, "y": 1})
    assert error.value.kind == "no-auxiliary-run"
