"""Sampling: uniform with replacement, as many of each domain, independent of the global random state."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from mlgit.tasks.arrays import ArrayDomain
from mlgit.training.batches import (
    AugmentedBatches,
    ClassSampler,
    ResidentBatches,
    UniformSampler,
    batches_of,
    make_sampler,
)
from mlgit.training.randomness import generator_for, seeded_layers


def labelled(name: str, start: int, n: int) -> ArrayDomain:
    """A domain in which the first pixel and the label both tell which example it is."""
    pixels = torch.zeros(n, 1, 2, 2, dtype=torch.uint8)
    pixels[:, 0, 0, 0] = torch.arange(start, start + n)
    return ArrayDomain(name, pixels, torch.arange(start, start + n), mean=0.0, std=1 / 255)


@pytest.fixture
def domains():
    return [labelled("a", 0, 10), labelled("b", 10, 3), labelled("c", 13, 1)]


def one_each(domains, cpu):
    return batches_of(domains, make_sampler(domains, per_domain=1, seed=0), seed=0, device=cpu)


def draws(domains, cpu, *, seed=0, steps=4, per_domain=5):
    batches = batches_of(domains, make_sampler(domains, per_domain=per_domain, seed=seed), seed=seed, device=cpu)
    return [batches.draw() for _ in range(steps)]


def test_a_batch_holds_as_many_examples_of_each_domain_in_order(domains, cpu):
    for images, labels in draws(domains, cpu):
        assert images.shape == (15, 1, 2, 2)
        assert labels.dtype == torch.int64
        assert images[:, 0, 0, 0].round().long().tolist() == labels.tolist()
        assert all(0 <= label < 10 for label in labels[:5].tolist())
        assert all(10 <= label < 13 for label in labels[5:10].tolist())
        assert labels[10:].tolist() == [13] * 5


def test_places_are_uniform_and_drawn_with_replacement():
    sampler = UniformSampler([7], 1000, seed=3)
    counts = np.bincount(torch.cat([sampler.draw()[0] for _ in range(14)]).numpy(), minlength=7)
    assert counts.sum() == 14_000
    assert chisquare(counts).pvalue > 1e-3


def test_balanced_draws_spread_evenly_over_classes_and_over_the_examples_of_each():
    labels = torch.tensor([5, 5, 0, 5, 5, 5, 2, 2, 5, 5])
    sampler = ClassSampler([labels, labels[:1]], 900, seed=3)
    drawn = [sampler.draw() for _ in range(10)]
    places = torch.cat([first for first, _ in drawn])
    assert all(second.eq(0).all() for _, second in drawn)
    assert chisquare(np.bincount(labels[places].numpy(), minlength=6)[[0, 2, 5]]).pvalue > 1e-3
    within = np.bincount(places[labels[places] == 5].numpy(), minlength=10)
    assert chisquare(within[labels.numpy() == 5]).pvalue > 1e-3


def test_the_same_seed_draws_the_same_balanced_places(domains):
    one, same, other = (make_sampler(domains, per_domain=6, seed=s, class_balanced=True) for s in (1, 1, 2))
    first = torch.stack(one.draw())
    assert torch.equal(first, torch.stack(same.draw()))
    assert not torch.equal(first, torch.stack(other.draw()))


def test_images_that_nobody_augments_are_kept_and_others_are_made_on_the_way(domains, cpu, wrapped):
    unknown = [wrapped(domain) for domain in domains]
    assert isinstance(one_each(domains, cpu), ResidentBatches)
    assert isinstance(one_each(unknown, cpu), AugmentedBatches)


def test_images_that_do_not_fit_in_memory_are_made_on_the_way(domains, cpu, monkeypatch):
    monkeypatch.setattr("mlgit.training.batches.MAX_RESIDENT_BYTES", 13 * 16)
    assert isinstance(one_each(domains, cpu), AugmentedBatches)


def test_keeping_images_does_not_change_a_bit_of_the_batches(domains, cpu, wrapped):
    kept, made = draws(domains, cpu), draws([wrapped(domain) for domain in domains], cpu)
    for (images, labels), (same_images, same_labels) in zip(kept, made, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(labels, same_labels)


def test_only_the_batches_that_are_used_are_made(domains, cpu, wrapped):
    watched = [wrapped(domain) for domain in domains]
    draws(watched, cpu, steps=3, per_domain=2)
    assert [domain.augmented_read for domain in watched] == [6, 6, 6]


@pytest.mark.parametrize("augment", [False, True])
def test_batches_depend_on_the_seed_only(domains, cpu, noisy, augment):
    chosen = [noisy(domain) for domain in domains] if augment else domains
    torch.manual_seed(0)
    first = draws(chosen, cpu, seed=1)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(1)
    second, other = draws(chosen, cpu, seed=1), draws(chosen, cpu, seed=2)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, second, strict=True))
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(first, other, strict=True))


def test_purposes_of_one_seed_have_unrelated_generators():
    a, b = generator_for(1, "sampling"), generator_for(1, "augmentation")
    assert not torch.equal(torch.rand(4, generator=a), torch.rand(4, generator=b))


def test_layers_draw_seeded_numbers_within_the_block_and_the_old_ones_after_it(cpu):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded_layers(1, cpu):
        first = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with seeded_layers(1, cpu):
        assert torch.equal(torch.rand(3), first)
    with seeded_layers(2, cpu):
        assert not torch.equal(torch.rand(3), first)


def test_the_old_numbers_are_back_after_an_interrupt(cpu):
    before = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt), seeded_layers(1, cpu):
        raise KeyboardInterrupt
    assert torch.equal(torch.get_rng_state(), before)
