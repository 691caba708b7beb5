"""One batch per training domain and step, uniformly with replacement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, final

import torch

from mlgit.evaluation.loaded import load_domains
from mlgit.tasks.arrays import ArrayDomain
from mlgit.tasks.split import DomainData
from mlgit.training.randomness import generator_for

Batch = tuple[torch.Tensor, torch.Tensor]
"""Inputs (B, ...) and labels int64 (B,) on the device, domain after domain."""

MAX_RESIDENT_BYTES = 1 << 30
"""Decoded training images that are kept on the device when no augmentation changes them."""


class Batches(ABC):
    """Gives the batches of a run, in order; a context manager, because it may own a thread."""

    @abstractmethod
    def draw(self) -> Batch:
        """Return the next batch: as many examples of each domain, concatenated in the order of the domains."""

    @abstractmethod
    def close(self) -> None:
        """Stop whatever works in the background."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@final
class Sampler:
    """Draws places in each domain, uniformly with replacement, from a generator of its own.

    Args:
        sizes: Examples of each domain, all at least 1.
        per_domain: Places to draw in each, at least 1.
        seed: Of the run.
    """

    def __init__(self, sizes: Sequence[int], per_domain: int, seed: int) -> None:
        self._sizes = tuple(sizes)
        self._per_domain = per_domain
        self._generator = generator_for(seed, "sampling")

    def draw(self) -> list[torch.Tensor]:
        """Return int64 (per_domain,) for each domain."""
        return [torch.randint(size, (self._per_domain,), generator=self._generator) for size in self._sizes]


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

    def close(self) -> None:
        """Nothing works in the background."""


@final
class AugmentedBatches(Batches):
    """Batches that are decoded and augmented one step ahead, in a thread.

    Args:
        domains: Where from.
        sampler: Made for their sizes.
        steps: How many batches will be drawn.
        seed: Of the run.
        device: Where to.
    """

    def __init__(
        self, domains: Sequence[DomainData], sampler: Sampler, *, steps: int, seed: int, device: torch.device
    ) -> None:
        self._domains = tuple(domains)
        self._sampler = sampler
        self._generator = generator_for(seed, "augmentation")
        self._device = device
        self._left = steps
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlgit-batches")
        self._next: Future[Batch] | None = None

    def draw(self) -> Batch:
        """Return the next batch, and start on the one after it."""
        ready = self._next or self._thread.submit(self._make)
        inputs, labels = ready.result()
        self._left -= 1
        self._next = self._thread.submit(self._make) if self._left > 0 else None
        return inputs.to(self._device), labels.to(self._device)

    def close(self) -> None:
        """Wait for the batch in the making and drop it."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _make(self) -> Batch:
        places = self._sampler.draw()
        pairs = list(zip(self._domains, places, strict=True))
        inputs = torch.cat([domain.augmented(rows, self._generator) for domain, rows in pairs])
        return inputs, torch.cat([domain.labels[rows] for domain, rows in pairs])


def is_plain(domains: Sequence[DomainData]) -> bool:
    """Tell whether augmentation is known to change nothing, so that images can be decoded once."""
    return all(isinstance(domain, ArrayDomain) for domain in domains)


def batches_of(
    domains: Sequence[DomainData], *, per_domain: int, steps: int, seed: int, device: torch.device
) -> Batches:
    """Return the batches of a run; whether they are kept or decoded on the way does not change a bit of them.

    Args:
        domains: The training domains, none empty.
        per_domain: Examples of each domain in a batch.
        steps: How many batches will be drawn.
        seed: Of the run.
        device: Where to.
    """
    sampler = Sampler([len(domain) for domain in domains], per_domain, seed)
    if is_plain(domains):
        loaded = load_domains(domains, device, max_bytes=MAX_RESIDENT_BYTES)
        if all(domain.kept for domain in loaded):
            inputs = [torch.cat(list(domain.batches())) for domain in loaded]
            return ResidentBatches(inputs, [domain.labels for domain in domains], sampler)
    return AugmentedBatches(domains, sampler, steps=steps, seed=seed, device=device)
