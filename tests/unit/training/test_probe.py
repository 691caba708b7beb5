"""The linear probe: a new seeded head, a featurizer without a changed bit, and a speed-up that changes nothing."""

from __future__ import annotations

import pytest
import torch

from mlgit.errors import InvalidInputError
from mlgit.tasks.split import TrainingSplit, ValidationSplit
from mlgit.training.hyper import HyperParameters
from mlgit.training.probe import linear_probe
from mlgit.training.run import train

HYPER = HyperParameters(lr=1e-2, dropout=0.1, batch_per_domain=8, steps=12, eval_every=5)


def differing(a, b) -> set[str]:
    return {name for name in a if a[name].shape != b[name].shape or not torch.equal(a[name], b[name])}


def test_only_the_head_is_new(network, splits, cpu):
    result = linear_probe(network, *splits, HYPER, num_classes=3, seed=0, device=cpu)
    for weights in (result.weights, result.last_weights):
        assert differing(network.weights(), weights) == set(network.head_names)
    assert result.head_only_steps == result.record["head_only_steps"] == HYPER.steps


def test_the_head_gets_the_classes_of_the_task(network, splits, cpu):
    result = linear_probe(network, *splits, HYPER, num_classes=5, seed=0, device=cpu)
    assert result.weights["classifier.weight"].shape == (5, 128)
    assert network.num_classes == 3
    with pytest.raises(InvalidInputError) as error:
        linear_probe(network, *splits, HYPER, num_classes=2, seed=0, device=cpu)
    assert error.value.kind == "class-count"
    assert network.num_classes == 3


def test_the_old_head_does_not_matter(network, splits, cpu):
    first = linear_probe(network, *splits, HYPER, num_classes=3, seed=0, device=cpu)
    network.replace_head(9, seed=77)
    again = linear_probe(network, *splits, HYPER, num_classes=3, seed=0, device=cpu)
    assert differing(first.weights, again.weights) == set()


def test_the_seed_decides_where_the_head_starts(network, splits, cpu):
    still = HYPER.with_overrides({"steps": 1, "lr": 1e-30})
    starts = [
        linear_probe(network, *splits, still, num_classes=3, seed=seed, device=cpu).weights["classifier.weight"]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(starts[0], starts[1])
    assert not torch.allclose(starts[0], starts[2])
    assert not torch.allclose(starts[0], network.weights()["classifier.weight"])


def test_a_probe_repeats_bit_by_bit(network, splits, cpu):
    first, again = (linear_probe(network, *splits, HYPER, num_classes=3, seed=4, device=cpu) for _ in range(2))
    assert differing(first.last_weights, again.last_weights) == set()
    assert first.history == again.history


def test_a_probe_learns(network, splits, cpu):
    hyper = HYPER.with_overrides({"steps": 200, "eval_every": 50, "dropout": 0.0})
    result = linear_probe(network, *splits, hyper, num_classes=3, seed=0, device=cpu)
    assert result.best.macro > 0.8


def test_features_computed_once_give_the_head_that_images_in_every_step_give(network, splits, cpu, wrapped):
    training, validation = splits
    watched = TrainingSplit(tuple(wrapped(domain) for domain in training.domains))
    fast = linear_probe(network, training, validation, HYPER, num_classes=3, seed=2, device=cpu)
    slow = linear_probe(network, watched, validation, HYPER, num_classes=3, seed=2, device=cpu)
    assert all(domain.augmented_read == HYPER.steps * 8 for domain in watched.domains)
    for name in network.head_names:
        torch.testing.assert_close(fast.last_weights[name], slow.last_weights[name], atol=1e-5, rtol=0)
    assert [entry.per_domain for entry in fast.history] == [entry.per_domain for entry in slow.history]


def test_features_that_do_not_fit_in_memory_are_computed_in_every_step(network, splits, cpu, monkeypatch):
    fast = linear_probe(network, *splits, HYPER, num_classes=3, seed=2, device=cpu)
    monkeypatch.setattr("mlgit.training.inputs.MAX_LOADED_BYTES", 10)
    slow = linear_probe(network, *splits, HYPER, num_classes=3, seed=2, device=cpu)
    assert differing(network.weights(), slow.weights) == set(network.head_names)
    for name in network.head_names:
        torch.testing.assert_close(fast.last_weights[name], slow.last_weights[name], atol=1e-5, rtol=0)


def test_each_image_is_featurized_once(network, splits, cpu, wrapped):
    training, validation = splits
    held_out = ValidationSplit(tuple(wrapped(domain) for domain in validation.domains))
    sizes = []
    handle = network.module.get_submodule("featurizer").register_forward_hook(
        lambda *arguments: sizes.append(len(arguments[-1]))
    )
    linear_probe(network, training, held_out, HYPER, num_classes=3, seed=2, device=cpu)
    handle.remove()
    assert sum(sizes) == len(training) + len(validation)


def test_a_probe_is_the_head_only_run_of_a_network_with_a_new_head(network, splits, cpu):
    from mlgit.tasks.split import seed_hash

    probe = linear_probe(network, *splits, HYPER, num_classes=3, seed=6, device=cpu)
    network.replace_head(3, seed=seed_hash(6, "head"))
    run = train(network, *splits, HYPER, seed=6, device=cpu, head_only=True)
    assert differing(probe.weights, run.weights) == set()
