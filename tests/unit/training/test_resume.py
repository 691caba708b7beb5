"""Runs that are interrupted at any step and go on to the same bits."""

from __future__ import annotations

import json
import random
from contextlib import contextmanager

import pytest
import torch

from mlgit.errors import InvalidInputError
from mlgit.training.execution import Execution
from mlgit.training.hyper import HyperParameters
from mlgit.training.method import Method
from mlgit.training.run import train
from mlgit.training.snapshot import SaveEvery, Saves, Snapshot

HYPER = HyperParameters(
    lr=3e-3, dropout=0.4, weight_decay=1e-4, batch_per_domain=8, steps=24, eval_every=5, freeze_steps=6
)
WAYS = {
    "plain": {},
    "moving": {"method": Method(average="moving", average_from=3)},
    "swad": {"method": Method(average="swad", swad_converge=2, swad_patience=2)},
    "collecting": {"collect": ("swad", "moving"), "method": Method(average_from=3, swad_converge=2, swad_patience=2)},
    "moving, collecting": {"collect": ("swad",), "method": Method(average="moving", average_from=3, swad_converge=1)},
    "coral": {"method": Method(loss="coral")},
    "statistics": {"freeze_statistics": False},
    "head only": {"head_only": True},
    "half": {"execution": Execution(precision="bfloat16", accumulate=2, channels_last=True)},
}


class Memory(Saves):
    """Keeps copies, as a disk does: tensors on their own, values through JSON."""

    def __init__(self, every: SaveEvery) -> None:
        super().__init__(every)
        self.kept: tuple[dict[str, torch.Tensor], str] | None = None
        self.steps: list[int] = []

    def load(self):
        if self.kept is None:
            return None
        return Snapshot({name: each.clone() for name, each in self.kept[0].items()}, json.loads(self.kept[1]))

    def save(self, snapshot, *, step):
        tensors = {name: each.detach().cpu().contiguous().clone() for name, each in snapshot.tensors.items()}
        self.kept = tensors, json.dumps(snapshot.values)
        self.steps.append(step)


class Killed(BaseException):
    """Ends a run as nothing else does."""


class Deadly:
    """A progress that ends the run when so many steps are done."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    @contextmanager
    def task(self, title, total=None):
        yield self

    def advance(self, amount=1, note=""):
        self.left -= amount
        if self.left == 0:
            raise Killed


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def resumed(network, splits, cpu, way, saves, kills):
    """Train, killed after each of some numbers of steps, and then to the end."""
    options = {"seed": 5, "device": cpu, "freeze_featurizer_first": True, "saves": saves, **way}
    for kill in kills:
        with pytest.raises(Killed):
            train(network, *splits, HYPER, progress=Deadly(kill), **options)
        torch.rand(3)  # what happens between two processes changes nothing
    return train(network, *splits, HYPER, **options)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_killed_and_resumed_run_has_the_bits_of_one_that_was_not(network, splits, cpu, way, count, noisy):
    noisy_splits = type(splits[0])(tuple(noisy(each) for each in splits[0].domains)), splits[1]
    whole = train(network, *noisy_splits, HYPER, seed=5, device=cpu, freeze_featurizer_first=True, **way)
    draws = random.Random(str(sorted(way)))
    for _ in range(count(2, 50)):
        every, kill = draws.randint(1, 7), draws.randint(1, whole.steps - 1)
        again = draws.randint(kill, whole.steps - 1)
        saves = Memory(SaveEvery(steps=every))
        result = resumed(network, noisy_splits, cpu, way, saves, [kill, again] if again > kill else [kill])
        assert result.resumed_from == (again - 1) // every * every
        assert same(result.weights, whole.weights)
        assert same(result.last_weights, whole.last_weights)
        assert result.history == whole.history
        assert (result.best, result.last, result.metrics) == (whole.best, whole.last, whole.metrics)
        assert result.record["method"] == whole.record["method"]
        assert tuple(result.collected) == way.get("collect", ())
        for name, wanted in whole.collected.items():
            found = result.collected[name]
            assert same(found.weights, wanted.weights)
            assert same(found.last_weights, wanted.last_weights)
            assert (found.best, found.last) == (wanted.best, wanted.last)
            for key in ("method", "history", "best_step"):
                assert found.record[key] == wanted.record[key]


def test_saving_changes_nothing_and_happens_when_it_should(network, splits, cpu):
    saves = Memory(SaveEvery(steps=7))
    result = train(network, *splits, HYPER, seed=5, device=cpu, saves=saves)
    assert saves.steps == [7, 14, 21]
    assert result.resumed_from == 0
    assert same(result.last_weights, train(network, *splits, HYPER, seed=5, device=cpu).last_weights)


def test_the_time_of_all_processes_counts(network, splits, cpu):
    saves = Memory(SaveEvery(steps=1))
    with pytest.raises(Killed):
        train(network, *splits, HYPER, seed=5, device=cpu, saves=saves, progress=Deadly(9))
    tensors, text = saves.kept
    saves.kept = tensors, json.dumps(json.loads(text) | {"seconds": 1000.0})
    result = train(network, *splits, HYPER, seed=5, device=cpu, saves=saves)
    assert result.duration_s > 1000
    assert result.record["resumed_from"] == result.resumed_from == 8


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("500", SaveEvery(steps=500)),
        ("1", SaveEvery(steps=1)),
        ("300s", SaveEvery(seconds=300)),
        ("0.5s", SaveEvery(seconds=0.5)),
        ("0s", SaveEvery(seconds=0)),
        ("off", SaveEvery()),
    ],
)
def test_schedules_are_read(text, every):
    assert SaveEvery.parse(text) == every


@pytest.mark.parametrize("text", ["", "0", "-1", "s", "-3s", "infs", "nans", "5m", "1e3", "On"])
def test_other_schedules_are_refused(text):
    with pytest.raises(InvalidInputError) as error:
        SaveEvery.parse(text)
    assert error.value.kind == "bad-schedule"


@pytest.mark.parametrize(
    ("every", "steps", "seconds", "due"),
    [
        (SaveEvery(), 100, 1e9, False),
        (SaveEvery(steps=5), 10, 0, True),
        (SaveEvery(steps=5), 11, 1e9, False),
        (SaveEvery(seconds=300), 11, 299.9, False),
        (SaveEvery(seconds=300), 11, 300, True),
    ],
)
def test_a_save_is_due_by_steps_or_by_time(every, steps, seconds, due):
    assert every.is_due(steps, seconds) is due
