"""Random numbers of a run, apart from everybody else's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from mlgit.models.seeding import seeded
from mlgit.tasks.split import seed_hash


def generator_for(seed: int, purpose: str) -> torch.Generator:
    """Return a CPU generator of its own for one purpose of a run.

    Args:
        seed: Of the run.
        purpose: ``sampling``, ``augmentation``, …; different purposes get unrelated numbers.
    """
    return torch.Generator().manual_seed(seed_hash(seed, purpose))


@contextmanager
def seeded_layers(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators within the block, and put them back afterwards.

    Layers such as dropout draw from the global generators and cannot be handed another one. Only the generators of the
    CPU and of ``device`` are touched.

    Args:
        seed: Of the run.
        device: Where the block computes.
    """
    number = seed_hash(seed, "layers")
    with seeded(number), _seeded_accelerator(number, device):
        yield


@contextmanager
def _seeded_accelerator(number: int, device: torch.device) -> Iterator[None]:
    if device.type == "cuda":
        before = torch.cuda.get_rng_state(device)
        with torch.cuda.device(device):
            torch.cuda.manual_seed(number)
        try:
            yield
        finally:
            torch.cuda.set_rng_state(before, device)
    elif device.type == "mps":
        before = torch.mps.get_rng_state()
        torch.mps.manual_seed(number)
        try:
            yield
        finally:
            torch.mps.set_rng_state(before)
    else:
        yield


def layer_states(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the states of the global generators that layers on ``device`` draw from, by kind of device."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_layer_states(states: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Set the global generators to what ``layer_states`` returned on the same kind of device."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states["mps"])
