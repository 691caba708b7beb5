"""Random numbers for code that can only use torch's global generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let torch's global CPU generator start from ``seed`` within the block, and put it back afterwards.

    Unlike ``torch.manual_seed`` it leaves the generators of accelerators alone.

    Args:
        seed: From -2^63 to 2^64 - 1.
    """
    before = torch.get_rng_state()
    torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
    try:
        yield
    finally:
        torch.set_rng_state(before)


def draw_seed(generator: torch.Generator | None = None) -> int:
    """Return a seed, 0 to 2^63 - 2, drawn from ``generator``, or from torch's global CPU generator."""
    return int(torch.randint(2**63 - 1, (), generator=generator))
