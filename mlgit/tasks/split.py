"""Splits: which images train, which select and which only test, as types that cannot be mixed up."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from blake3 import blake3

from mlgit.errors import InvalidInputError
from mlgit.objects.encoding import JsonValue, canonical_json

CPU = torch.device("cpu")
HOLDOUT = 0.2
"""Share of a training domain that is kept for ID validation."""


class DomainData(ABC):
    """The labelled images of one domain, or some of them.

    Attributes:
        name: The domain.
        labels: int64 (N,), indices into the task's classes.
        digest: BLAKE3, hexadecimal, of all that the numbers depend on: images and labels in order, preprocessing.
        augments: Whether ``augmented`` gives anything else than ``images``; if not, images can be read once.
    """

    augments: ClassVar[bool] = True
    name: str
    labels: torch.Tensor
    digest: str

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def images(self, indices: torch.Tensor, device: torch.device = CPU) -> torch.Tensor:
        """Return images without augmentation.

        Args:
            indices: int64 (B,), from 0 to ``len(self) - 1``, on the CPU.
            device: Where the images are wanted.

        Returns:
            float32 (B, C, H, W), normalised, on the device.

        Raises:
            InvalidInputError: An image cannot be read; it is named.
        """

    @abstractmethod
    def augmented(self, indices: torch.Tensor, generator: torch.Generator, device: torch.device = CPU) -> torch.Tensor:
        """Return images as training sees them; all randomness comes from ``generator``.

        Args:
            indices: int64 (B,), from 0 to ``len(self) - 1``, on the CPU.
            generator: A CPU generator.
            device: Where the images are wanted.

        Returns:
            float32 (B, C, H, W), normalised, on the device.

        Raises:
            InvalidInputError: An image cannot be read; it is named.
        """

    @abstractmethod
    def subset(self, indices: torch.Tensor) -> DomainData:
        """Return the images at ``indices``, int64 (B,), in that order, under the same name."""


@dataclass(frozen=True, eq=False)
class Split(ABC):
    """Domains with one purpose. The leaves are unrelated: no function for one takes another.

    Attributes:
        domains: In the task's order of domains.
    """

    domains: tuple[DomainData, ...]
    role: ClassVar[str]

    def __init_subclass__(cls) -> None:
        if Split not in cls.__bases__:
            raise TypeError(f"{cls.__name__} may not inherit from a kind of split")
        super().__init_subclass__()

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images in all domains."""

    @property
    def digest(self) -> str:
        """BLAKE3, hexadecimal, of purpose, domains and images; equal splits of two machines have equal digests."""
        content: JsonValue = {"role": self.role, "domains": [[domain.name, domain.digest] for domain in self.domains]}
        return blake3(b"mlgit split 1\n" + canonical_json(content)).hexdigest()

    @property
    def names(self) -> tuple[str, ...]:
        """The domains' names."""
        return tuple(domain.name for domain in self.domains)


@final
@dataclass(frozen=True, eq=False)
class TrainingSplit(Split):
    """The 80 % of every training domain that gradients may see."""

    role: ClassVar[str] = "training"

    def __len__(self) -> int:
        return _size(self.domains)


@final
@dataclass(frozen=True, eq=False)
class ValidationSplit(Split):
    """The other 20 % of every training domain: "ID validation", all that selection may see."""

    role: ClassVar[str] = "validation"

    def __len__(self) -> int:
        return _size(self.domains)


@final
@dataclass(frozen=True, eq=False)
class TestSplit(Split):
    """Images that only measure: the whole test domain, or what a certificate names."""

    __test__ = False  # the name is not that of a test
    role: ClassVar[str] = "test"

    def __len__(self) -> int:
        return _size(self.domains)


def _size(domains: tuple[DomainData, ...]) -> int:
    return sum(len(domain) for domain in domains)


def seed_hash(*args: object) -> int:
    """Return the seed that DomainBed derives from ``args``: MD5 of the tuple's text, modulo 2^31.

    Reference:
        Gulrajani and Lopez-Paz, "In Search of Lost Domain Generalization", ICLR 2021, arXiv:2007.01434.
    """
    return int(hashlib.md5(str(args).encode(), usedforsecurity=False).hexdigest(), 16) % 2**31


def split_indices(size: int, trial: int, domain_index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Share the images of a domain out as DomainBed does.

    Args:
        size: Images of the domain, at least 5.
        trial: Which of the random splits, 0, 1, ….
        domain_index: Place of the domain among all domains of the task, the test domain included.

    Returns:
        Validation indices (the first ``int(0.2 * size)`` of a shuffle) and training indices (the rest), int64.

    Raises:
        InvalidInputError: So few images that none would be left for validation, or a negative trial.
    """
    if trial < 0:
        raise InvalidInputError(f"trial {trial} is negative", kind="bad-trial")
    held_out = int(size * HOLDOUT)
    if held_out == 0:
        raise InvalidInputError(
            f"{size} images cannot be split into training and validation", kind="too-few-images", hint="5 are needed"
        )
    keys = np.arange(size)
    # the legacy generator: its stream is frozen, and published splits come from it
    np.random.RandomState(seed_hash(trial, domain_index)).shuffle(keys)
    order = torch.from_numpy(keys.astype(np.int64))
    return order[:held_out], order[held_out:]
