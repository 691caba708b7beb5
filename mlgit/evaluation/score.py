"""What a model predicted on each domain, and how often it was right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from mlgit.errors import InvalidInputError
from mlgit.weights.types import Weights


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What one model says about every example of one domain.

    Attributes:
        domain: Name of the domain.
        probabilities: float32 (N, C), rows sum to 1; on the CPU. A row with NaN is the mark of a broken model.
        labels: int64 (N,), 0 to C - 1; on the CPU.

    Raises:
        InvalidInputError: Shapes do not fit together, or a label is not one of the C classes.
    """

    domain: str
    probabilities: torch.Tensor
    labels: torch.Tensor

    def __post_init__(self) -> None:
        shape = tuple(self.probabilities.shape)
        if len(shape) != 2 or tuple(self.labels.shape) != shape[:1]:
            raise InvalidInputError(
                f"domain '{self.domain}': probabilities of shape {shape} do not fit labels of shape "
                f"{tuple(self.labels.shape)}",
                kind="bad-predictions",
                hint="one row of class probabilities per label is needed",
            )
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < shape[1]:
            raise InvalidInputError(
                f"domain '{self.domain}' has labels from {int(self.labels.min())} to {int(self.labels.max())}, "
                f"but the model tells {shape[1]} classes apart",
                kind="class-count",
                hint="use weights whose head was made for this task, or replace the head",
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def correct(self) -> torch.Tensor:
        """Whether the most probable class is the label, bool (N,): the first wins a tie, a row with NaN is wrong."""
        guesses = self.probabilities.argmax(dim=1)
        return (guesses == self.labels) & ~self.probabilities.isnan().any(dim=1)


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """How often a model is right.

    Attributes:
        accuracy: Share of all examples, 0 to 1 (micro average); higher is better.
        per_domain: Share within each domain, 0 to 1, in the order of the split.
        correct: bool (N,), every example, domain after domain; on the CPU.
    """

    accuracy: float
    per_domain: Mapping[str, float]
    correct: torch.Tensor

    @property
    def macro(self) -> float:
        """Unweighted mean over the domains, 0 to 1: what ranks training runs and their checkpoints."""
        return sum(self.per_domain.values()) / len(self.per_domain)

    @property
    def worst(self) -> float:
        """The lowest accuracy of any domain, 0 to 1."""
        return min(self.per_domain.values())


Evaluate = Callable[[Weights], Score]
"""Scores weights on a split that somebody else chose; all that a merge strategy knows of tasks."""


def score(predictions: Sequence[Predictions]) -> Score:
    """Count how often predictions are right.

    Args:
        predictions: One per domain, at least one, none empty, no domain twice.

    Returns:
        Accuracy over all examples, per domain, and per example.

    Raises:
        InvalidInputError: There is no domain, an empty one, or one named twice.
    """
    names = [part.domain for part in predictions]
    if not names or len(set(names)) != len(names):
        raise InvalidInputError(
            f"a score needs domains with different names, got {names}",
            kind="bad-split",
            hint="evaluate a split with at least one domain",
        )
    empty = [part.domain for part in predictions if not len(part)]
    if empty:
        raise InvalidInputError(
            f"domain '{empty[0]}' has no examples to evaluate",
            kind="empty-split",
            hint="add data to the domain or leave it out of the task",
        )
    parts = [part.correct for part in predictions]
    correct = torch.cat(parts)
    return Score(
        accuracy=int(correct.sum()) / len(correct),
        per_domain={name: int(part.sum()) / len(part) for name, part in zip(names, parts, strict=True)},
        correct=correct,
    )


def ensemble(members: Sequence[Sequence[Predictions]]) -> tuple[Predictions, ...]:
    """Average the probabilities of several models, the way deep ensembles predict.

    Args:
        members: The predictions of each model on the same split; at least one model.

    Returns:
        One entry per domain: the mean over the members, accumulated in float64 and rounded once to float32.

    Raises:
        InvalidInputError: There is no member, or members differ in domains, labels or number of classes.

    Reference:
        Lakshminarayanan et al., NeurIPS 2017, arXiv:1612.01474. Whether probabilities or logits are averaged is not
        said by the papers on weight averaging that compare with ensembles; mlgit averages probabilities.
    """
    if not members:
        raise InvalidInputError(
            "an ensemble needs at least one member", kind="no-members", hint="name at least one revision"
        )
    first = members[0]
    for member in members[1:]:
        _check_same_examples(first, member)
    averaged = []
    for position, part in enumerate(first):
        total = torch.zeros(part.probabilities.shape, dtype=torch.float64)
        for member in members:
            total += member[position].probabilities
        averaged.append(Predictions(part.domain, (total / len(members)).to(torch.float32), part.labels))
    return tuple(averaged)


def _check_same_examples(first: Sequence[Predictions], other: Sequence[Predictions]) -> None:
    """Raise InvalidInputError unless both lists speak about the same examples and classes."""
    same = len(first) == len(other) and all(
        a.domain == b.domain and a.probabilities.shape == b.probabilities.shape and torch.equal(a.labels, b.labels)
        for a, b in zip(first, other, strict=True)
    )
    if not same:
        raise InvalidInputError(
            "the members of an ensemble were evaluated on different examples: "
            f"{[part.domain for part in first]} and {[part.domain for part in other]}",
            kind="different-examples",
            hint="evaluate all members on the same split",
        )
