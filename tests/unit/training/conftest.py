"""One thread, a small network, and domains that a network can learn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mlgit.models.factories import build
from mlgit.models.network import Network
from mlgit.tasks.arrays import ArrayDomain
from mlgit.tasks.split import CPU, DomainData, TrainingSplit, ValidationSplit

CLASSES = 3


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads, random = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(random)


@pytest.fixture
def cpu() -> torch.device:
    return torch.device("cpu")


@pytest.fixture
def network() -> Network:
    """A network whose batch-norm statistics are not the ones it was born with."""
    network = Network(build("mlgit:digits-cnn", num_classes=CLASSES, seed=0))
    generator = torch.Generator().manual_seed(0)
    network.module.train()
    with torch.no_grad():
        network.module(torch.randn(64, 1, 8, 8, generator=generator))
    return network.eval()


def learnable(name: str, n: int, seed: int) -> ArrayDomain:
    """Noise with a bright row whose place is the class."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(140, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(n) % CLASSES
    for row, label in enumerate(labels.tolist()):
        pixels[row, 0, 2 * label + 1] += 60
    return ArrayDomain(name, pixels, labels, mean=0.3, std=0.2)


@pytest.fixture
def training() -> TrainingSplit:
    return TrainingSplit((learnable("a", 60, 1), learnable("b", 45, 2)))


@pytest.fixture
def validation() -> ValidationSplit:
    return ValidationSplit((learnable("a", 15, 3), learnable("b", 12, 4)))


@pytest.fixture
def splits(training: TrainingSplit, validation: ValidationSplit) -> tuple[TrainingSplit, ValidationSplit]:
    return training, validation


class WrappedDomain(DomainData):
    """Another domain's images, behind an interface that mlgit knows nothing about; counts what is read."""

    def __init__(self, domain: DomainData) -> None:
        self.domain = domain
        self.name, self.labels, self.digest = domain.name, domain.labels, domain.digest
        self.images_read = self.augmented_read = 0

    def images(self, indices: torch.Tensor, device: torch.device = CPU) -> torch.Tensor:
        self.images_read += len(indices)
        return self.domain.images(indices, device)

    def augmented(self, indices: torch.Tensor, generator: torch.Generator, device: torch.device = CPU) -> torch.Tensor:
        self.augmented_read += len(indices)
        return self.domain.augmented(indices, generator, device)

    def subset(self, indices: torch.Tensor) -> DomainData:
        return type(self)(self.domain.subset(indices))


class NoisyDomain(WrappedDomain):
    """Adds noise when training sees the images."""

    def augmented(self, indices: torch.Tensor, generator: torch.Generator, device: torch.device = CPU) -> torch.Tensor:
        images = super().augmented(indices, generator, device)
        return images + 0.1 * torch.randn(images.shape, generator=generator)


@pytest.fixture
def wrapped():
    return WrappedDomain


@pytest.fixture
def noisy():
    return NoisyDomain
