"""Recomputed batch-norm statistics against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mlgit.errors import IncompatibleWeightsError, InvalidInputError
from mlgit.models.network import Network
from mlgit.tasks.split import TrainingSplit
from mlgit.training.statistics import recompute_statistics

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def first_convolution(network, training):
    images = torch.cat([domain.images(torch.arange(len(domain))) for domain in training.domains])
    with torch.no_grad():
        outputs = network.module.get_submodule("featurizer.0.0")(images)
    return outputs.double().numpy()


def test_one_batch_gives_the_mean_and_variance_over_all_images(network, training, cpu):
    new = recompute_statistics(network, network.weights(), training, device=cpu)
    outputs = first_convolution(network, training)
    np.testing.assert_allclose(new["featurizer.0.1.running_mean"], outputs.mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        new["featurizer.0.1.running_var"], outputs.var(axis=(0, 2, 3), ddof=1), rtol=1e-4, atol=1e-6
    )
    assert int(new["featurizer.0.1.num_batches_tracked"]) == 1


def test_several_batches_are_averaged_without_a_momentum_and_mixed_over_the_domains(network, training, cpu):
    shifted = TrainingSplit(tuple(training.domains))
    new = recompute_statistics(network, network.weights(), shifted, device=cpu, batch_size=26)
    outputs = first_convolution(network, training)
    assert int(new["featurizer.0.1.num_batches_tracked"]) == 5  # 105 images in 5 batches of 21
    np.testing.assert_allclose(new["featurizer.0.1.running_mean"], outputs.mean(axis=(0, 2, 3)), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(new["featurizer.0.1.running_var"], outputs.var(axis=(0, 2, 3)), rtol=0.1)


def test_domains_far_apart_are_mixed_within_each_batch(network, training, cpu):
    far = []
    for number, domain in enumerate(training.domains):
        moved = domain.subset(torch.arange(45))
        moved._values = moved._values + 10.0 * number
        far.append(moved)
    split = TrainingSplit(tuple(far))
    new = recompute_statistics(network, network.weights(), split, device=cpu, batch_size=10)
    outputs = first_convolution(network, split)
    np.testing.assert_allclose(new["featurizer.0.1.running_var"], outputs.var(axis=(0, 2, 3)), rtol=0.2)


def test_only_statistics_change_and_nothing_that_was_given(network, training, cpu):
    weights = network.weights()
    copy = {name: tensor.clone() for name, tensor in weights.items()}
    home = Network(network.module).weights()
    new = recompute_statistics(network, weights, training, device=cpu)
    assert list(new) == list(weights)
    changed = {name for name in weights if not torch.equal(weights[name], new[name])}
    assert changed == {name for name in weights if name.endswith(STATISTICS)} - {
        name for name in weights if name.endswith("num_batches_tracked")
    }
    assert all(torch.equal(weights[name], copy[name]) for name in copy)
    assert all(torch.equal(network.weights()[name], home[name]) for name in home)
    assert all(part.momentum == 0.1 for part in network.module.modules() if isinstance(part, nn.BatchNorm2d))


def test_old_statistics_do_not_matter(network, training, cpu):
    weights = network.weights()
    odd = {name: tensor + 3 if name.endswith(STATISTICS) else tensor for name, tensor in weights.items()}
    first = recompute_statistics(network, weights, training, device=cpu)
    second = recompute_statistics(network, odd, training, device=cpu)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_statistics_repeat_bit_by_bit_and_leave_the_random_state_alone(network, training, cpu):
    before = torch.get_rng_state()
    first, again = (
        recompute_statistics(network, network.weights(), training, device=cpu, batch_size=16) for _ in range(2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert torch.equal(before, torch.get_rng_state())


def test_training_images_are_not_augmented(network, training, cpu, wrapped):
    watched = TrainingSplit(tuple(wrapped(domain) for domain in training.domains))
    recompute_statistics(network, network.weights(), watched, device=cpu)
    assert [(domain.images_read, domain.augmented_read) for domain in watched.domains] == [(60, 0), (45, 0)]


def test_statistics_keep_the_dtype_they_were_given_in(network, training, cpu):
    halves = {
        name: tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor
        for name, tensor in network.weights().items()
    }
    new = recompute_statistics(network, halves, training, device=cpu)
    assert {name: tensor.dtype for name, tensor in new.items()} == {
        name: tensor.dtype for name, tensor in halves.items()
    }


def test_a_network_without_batch_norm_keeps_its_weights(training, cpu):
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    weights = network.weights()
    new = recompute_statistics(network, weights, training, device=cpu)
    assert all(torch.equal(weights[name], new[name]) for name in weights)


def test_weights_that_do_not_fit_are_refused(network, training, cpu):
    weights = network.weights()
    del weights["classifier.bias"]
    with pytest.raises(IncompatibleWeightsError, match=r"classifier\.bias"):
        recompute_statistics(network, weights, training, device=cpu)


@pytest.mark.parametrize(("images", "batch_size"), [(1, 256), (0, 256), (45, 1)])
def test_too_few_images_for_a_variance_are_refused(network, training, cpu, images, batch_size):
    split = TrainingSplit((training.domains[1].subset(torch.arange(images)),))
    with pytest.raises(InvalidInputError) as error:
        recompute_statistics(network, network.weights(), split, device=cpu, batch_size=batch_size)
    assert error.value.kind == "batch-too-small"
