"""CORAL against the same thing in NumPy."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from bare_training import bare_trajectory

from mlgit.errors import InvalidInputError
from mlgit.training.execution import Execution
from mlgit.training.hyper import HyperParameters
from mlgit.training.losses import Coral, CrossEntropy, Forward
from mlgit.training.method import Method
from mlgit.training.run import train

HYPER = HyperParameters(lr=3e-3, batch_per_domain=8, steps=6, eval_every=3)


def penalty(features: np.ndarray, domains: int) -> float:
    parts = np.split(features.astype(np.float64), domains)
    found = [
        ((a.mean(0) - b.mean(0)) ** 2).mean() + ((np.cov(a, rowvar=False) - np.cov(b, rowvar=False)) ** 2).mean()
        for a, b in combinations(parts, 2)
    ]
    return float(np.mean(found))


@pytest.mark.parametrize("domains", [2, 3, 4])
def test_coral_adds_the_distances_of_means_and_covariances_over_all_pairs(domains):
    generator = torch.Generator().manual_seed(domains)
    features = torch.randn(domains * 6, 5, generator=generator) * torch.arange(1, domains * 6 + 1)[:, None]
    logits, labels = torch.randn(domains * 6, 3, generator=generator), torch.arange(domains * 6) % 3
    forward = Forward(logits, labels, features, domains)
    plain = CrossEntropy(Method())(forward)
    assert float(plain) == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)))
    found = Coral(Method(loss="coral", coral_weight=0.5))(forward)
    assert float(found - plain) == pytest.approx(0.5 * penalty(features.numpy(), domains), rel=1e-4)


def test_one_domain_has_no_penalty():
    forward = Forward(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64), torch.randn(4, 3), 1)
    assert torch.equal(Coral(Method())(forward), CrossEntropy(Method())(forward))


def test_a_run_with_coral_follows_the_gradient_of_both_terms(network, splits, cpu):
    def loss(features, logits, labels):
        a, b = features[:8], features[8:]
        spread = (torch.cov(a.T) - torch.cov(b.T)).square().mean() + (a.mean(0) - b.mean(0)).square().mean()
        return torch.nn.functional.cross_entropy(logits, labels) + 3 * spread

    method = Method(loss="coral", coral_weight=3.0)
    result = train(network, *splits, HYPER, seed=1, device=cpu, method=method)
    wanted = bare_trajectory(network, splits[0], HYPER, seed=1, loss=loss)[-1]
    plain = bare_trajectory(network, splits[0], HYPER, seed=1)[-1]
    assert all(torch.allclose(result.last_weights[name], wanted[name], atol=1e-5) for name in wanted)
    assert not all(torch.allclose(plain[name], wanted[name], atol=1e-4) for name in wanted)
    assert not network.head_module._forward_hooks


def test_a_loss_that_compares_domains_is_not_computed_in_parts(network, splits, cpu):
    with pytest.raises(InvalidInputError, match="in 2 parts") as error:
        train(
            network, *splits, HYPER, seed=1, device=cpu, method=Method(loss="coral"), execution=Execution(accumulate=2)
        )
    assert error.value.kind == "loss-not-a-mean"
