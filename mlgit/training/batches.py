"""One batch per training domain and step, with replacement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import final

import torch

from mlgit.evaluation.loaded import load_domains
from mlgit.tasks.split import DomainData
from mlgit.training.randomness import generator_for

Batch = tuple[torch.Tensor, torch.Tensor]
"""Inputs (B, ...) and labels int64 (B,) on the device, domain after domain."""

MAX_RESIDENT_BYTES = 1 << 30
"""Decoded training images that are kept on the device when no augmentation changes them."""


class Batches(ABC):
    """Gives the batches of a run, in order."""

    @abstractmethod
    def draw(self) -> Batch:
        """Return the next batch: as many examples of each domain, concatenated in the order of the domains."""

    @property
    def generators(self) -> Mapping[str, torch.Generator]:
        """The generators that the next batches depend on, by purpose."""
        return {}


class Sampler(ABC):
    """Draws places in each domain with replacement, from a generator of its own.

    Args:
        per_domain: Places to draw in each domain, at least 1.
        seed: Of the run.
    """

    def __init__(self, per_domain: int, seed: int) -> None:
        self._per_domain = per_domain
        self.generator = generator_for(seed, "sampling")

    @abstractmethod
    def draw(self) -> list[torch.Tensor]:
        """Return int64 (per_domain,) for each domain."""

    def _places(self, size: int) -> torch.Tensor:
        return torch.randint(size, (self._per_domain,), generator=self.generator)


@final
class UniformSampler(Sampler):
    """Each example of a domain is as probable as any other.

    Args:
        sizes: Examples of each domain, all at least 1.
        per_domain: As ``Sampler``.
        seed: As ``Sampler``.
    """

    def __init__(self, sizes: Sequence[int], per_domain: int, seed: int) -> None:
        super().__init__(per_domain, seed)
        self._sizes = tuple(sizes)

    def draw(self) -> list[torch.Tensor]:
        """Return int64 (per_domain,) for each domain."""
        return [self._places(size) for size in self._sizes]


@final
class ClassSampler(Sampler):
    """Each class that a domain has is as probable as any other, and so is each example within a class.

    Args:
        labels: int64 (N_d,) of each domain, none empty.
        per_domain: As ``Sampler``.
        seed: As ``Sampler``.

    Reference:
        The optional weights of DomainBed, 1 / (examples of the class x classes): Gulrajani and Lopez-Paz 2021,
        arXiv:2007.01434.
    """

    def __init__(self, labels: Sequence[torch.Tensor], per_domain: int, seed: int) -> None:
        super().__init__(per_domain, seed)
        self._classes = [[(each == label).nonzero().flatten() for label in torch.unique(each)] for each in labels]

    def draw(self) -> list[torch.Tensor]:
        """Return int64 (per_domain,) for each domain."""
        return [self._draw(classes) for classes in self._classes]

    def _draw(self, classes: Sequence[torch.Tensor]) -> torch.Tensor:
        chosen = self._places(len(classes)).tolist()
        shares = torch.rand(self._per_domain, generator=self.generator, dtype=torch.float64).tolist()
        return torch.stack(
            [classes[number][int(share * len(classes[number]))] for number, share in zip(chosen, shares, strict=True)]
        )


def make_sampler(domains: Sequence[DomainData], *, per_domain: int, seed: int, class_balanced: bool = False) -> Sampler:
    """Return what chooses the examples of a run.

    Args:
        domains: The training domains, none empty.
        per_domain: Examples of each domain in a batch, at least 1.
        seed: Of the run.
        class_balanced: Whether classes are equally probable, and not examples.
    """
    if class_balanced:
        return ClassSampler([domain.labels for domain in domains], per_domain, seed)
    return UniformSampler([len(domain) for domain in domains], per_domain, seed)


@final
class ResidentBatches(Batches):
    """Batches out of inputs that lie on the device.

    Args:
        inputs: Per domain (N_d, ...), on the device.
        labels: Per domain int64 (N_d,).
        sampler: Made for these sizes.
    """

    def __init__(self, inputs: Sequence[torch.Tensor], labels: Sequence[torch.Tensor], sampler: Sampler) -> None:
        self._inputs = torch.cat(list(inputs))
        self._labels = torch.cat(list(labels)).to(self._inputs.device)
        starts = [0]
        for part in labels[:-1]:
            starts.append(starts[-1] + len(part))
        self._starts = starts
        self._sampler = sampler

    def draw(self) -> Batch:
        """Return the next batch."""
        places = self._sampler.draw()
        rows = torch.cat([part + start for part, start in zip(places, self._starts, strict=True)])
        rows = rows.to(self._inputs.device)
        return self._inputs.index_select(0, rows), self._labels.index_select(0, rows)

    @property
    def generators(self) -> Mapping[str, torch.Generator]:
        """That of sampling."""
        return {"sampling": self._sampler.generator}


@final
class AugmentedBatches(Batches):
    """Batches that are decoded and augmented in each step.

    Nothing is made ahead in a thread: augmentation may seed torch's global generator for a moment, from which dropout
    draws too, and the numbers of a run must not depend on which comes first.

    Args:
        domains: Where from.
        sampler: Made for their sizes.
        seed: Of the run.
        device: Where to.
    """

    def __init__(self, domains: Sequence[DomainData], sampler: Sampler, *, seed: int, device: torch.device) -> None:
        self._domains = tuple(domains)
        self._sampler = sampler
        self._generator = generator_for(seed, "augmentation")
        self._device = device

    def draw(self) -> Batch:
        """Return the next batch."""
        pairs = list(zip(self._domains, self._sampler.draw(), strict=True))
        inputs = torch.cat([domain.augmented(rows, self._generator, self._device) for domain, rows in pairs])
        labels = torch.cat([domain.labels[rows] for domain, rows in pairs])
        return inputs, labels.to(self._device)

    @property
    def generators(self) -> Mapping[str, torch.Generator]:
        """Those of sampling and augmentation."""
        return {"sampling": self._sampler.generator, "augmentation": self._generator}


def is_plain(domains: Sequence[DomainData]) -> bool:
    """Tell whether augmentation is known to change nothing, so that images can be decoded once."""
    return not any(domain.augments for domain in domains)


def batches_of(domains: Sequence[DomainData], sampler: Sampler, *, seed: int, device: torch.device) -> Batches:
    """Return the batches of a run; whether they are kept or decoded on the way does not change a bit of them.

    Args:
        domains: The training domains, none empty.
        sampler: Made for them.
        seed: Of the run.
        device: Where to.
    """
    if is_plain(domains):
        loaded = load_domains(domains, device, max_bytes=MAX_RESIDENT_BYTES)
        if all(domain.kept for domain in loaded):
            inputs = [torch.cat(list(domain.batches())) for domain in loaded]
            return ResidentBatches(inputs, [domain.labels for domain in domains], sampler)
    return AugmentedBatches(domains, sampler, seed=seed, device=device)
