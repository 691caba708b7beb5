"""What a run minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, final

import torch
from torch import nn

from mlgit.training.method import Method


@dataclass(frozen=True, slots=True, eq=False)
class Forward:
    """What one forward pass of a batch gave.

    Attributes:
        logits: float32 (B, classes).
        labels: int64 (B,).
        features: What the head was given, after dropout: (B, F); only where the loss asks for it.
        domains: The batch holds as many domains, one after the other, with equally many examples each.
    """

    logits: torch.Tensor
    labels: torch.Tensor
    features: torch.Tensor | None
    domains: int


class Loss(ABC):
    """A number to make small.

    Attributes:
        needs_features: Whether features are captured.
        is_mean: Whether it is a mean over examples, so that the parts of a batch can be computed one by one.

    Args:
        method: Has the parameters.
    """

    needs_features: ClassVar[bool] = False
    is_mean: ClassVar[bool] = True

    def __init__(self, method: Method) -> None:
        self.method = method

    @abstractmethod
    def __call__(self, forward: Forward) -> torch.Tensor:
        """Return the loss, a float32 scalar."""


@final
class CrossEntropy(Loss):
    """The mean cross-entropy over all examples, in nats."""

    def __call__(self, forward: Forward) -> torch.Tensor:
        """Return the loss."""
        return nn.functional.cross_entropy(forward.logits, forward.labels)


@final
class Coral(Loss):
    """Cross-entropy, and a penalty on the differences of the features' means and covariances between domains.

    The penalty is the mean over all pairs of domains of the mean square difference of the means plus that of the
    covariances. With one domain there is none.

    Reference:
        Sun and Saenko, "Deep CORAL", ECCV 2016 workshops, arXiv:1607.01719, as defined by DomainBed, arXiv:2007.01434.
    """

    needs_features = True
    is_mean = False

    def __call__(self, forward: Forward) -> torch.Tensor:
        """Return the loss."""
        loss = nn.functional.cross_entropy(forward.logits, forward.labels)
        if forward.features is None or forward.domains < 2:
            return loss
        moments = [_moments(part) for part in forward.features.float().chunk(forward.domains)]
        pairs = list(combinations(moments, 2))
        penalties = [_square(a[0], b[0]) + _square(a[1], b[1]) for a, b in pairs]
        return loss + self.method.coral_weight * torch.stack(penalties).mean()


def _moments(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = features.mean(dim=0, keepdim=True)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


def _square(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).square().mean()
