"""One thread, small images and a small network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mlgit.models.factories import build
from mlgit.models.network import Network
from mlgit.tasks.arrays import ArrayDomain


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def network() -> Network:
    return Network(build("mlgit:digits-cnn", num_classes=3, seed=0))


@pytest.fixture
def make_domain():
    def make(name: str, n: int, seed: int = 0, classes: int = 3) -> ArrayDomain:
        generator = torch.Generator().manual_seed(seed)
        pixels = torch.randint(256, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)
        return ArrayDomain(name, pixels, torch.arange(n) % classes, mean=0.5, std=0.25)

    return make
