"""Prediction diversity: how differently models err on the same examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from mlgit.errors import InvalidInputError
from mlgit.objects.encoding import JsonValue


@dataclass(frozen=True, slots=True)
class PairDiversity:
    """How differently two models err.

    q-diversity is 1 - Q with Yule's Q = (n11 n00 - n01 n10) / (n11 n00 + n01 n10): 0 to 2, 1 for independent errors.
    r-diversity is the ratio error, (n01 + n10) / n00: 0 upwards. Both grow with diversity. The smoothed forms add 0.5
    to each of the four counts and are always finite.

    Attributes:
        labels: The two models.
        n11: Examples on which both are right.
        n10: Only the first is right.
        n01: Only the second is right.
        n00: Both are wrong.

    Reference:
        Kuncheva and Whitaker, Machine Learning 51 (2003) for Q; Aksela, MCS 2003 for the ratio error; Haldane, Annals
        of Human Genetics 20 (1956) for the 0.5. Used by Rame et al., arXiv:2205.09739 and arXiv:2212.10445.
    """

    labels: tuple[str, str]
    n11: int
    n10: int
    n01: int
    n00: int

    @property
    def q(self) -> float | None:
        """q-diversity, 0 to 2; None when ``q_reason`` says why it is undefined."""
        return _q(self.n11, self.n10, self.n01, self.n00)

    @property
    def q_reason(self) -> str | None:
        """Why q-diversity is undefined, or None."""
        if self.q is not None:
            return None
        right, wrong = "is right on every example", "is wrong on every example"
        constant = (
            ("first", self.n01 + self.n00, right),
            ("first", self.n11 + self.n10, wrong),
            ("second", self.n10 + self.n00, right),
            ("second", self.n11 + self.n01, wrong),
        )
        return "; ".join(f"the {which} model {what}" for which, count, what in constant if not count)

    @property
    def q_saturated(self) -> bool:
        """Whether an empty count pins q-diversity to 0 or 2, so that it says nothing about how much models differ."""
        return self.q is not None and (self.n11 * self.n00 == 0 or self.n10 * self.n01 == 0)

    @property
    def r(self) -> float | None:
        """r-diversity, 0 upwards; None when ``r_reason`` says why it is undefined."""
        return (self.n01 + self.n10) / self.n00 if self.n00 else None

    @property
    def r_reason(self) -> str | None:
        """Why r-diversity is undefined, or None."""
        return None if self.n00 else "no example is wrong for both models"

    @property
    def r_mixmo(self) -> float:
        """r-diversity as mixmo-pytorch computes it: 2 (n01 + n10) / N without shared errors; for comparison only."""
        if self.r is not None:
            return self.r
        return 2 * (self.n01 + self.n10) / (self.n11 + self.n10 + self.n01 + self.n00)

    @property
    def q_smoothed(self) -> float:
        """q-diversity with 0.5 added to each count, between 0 and 2, both excluded."""
        odds, against = (self.n11 + 0.5) * (self.n00 + 0.5), (self.n01 + 0.5) * (self.n10 + 0.5)
        return 2 * against / (odds + against)

    @property
    def r_smoothed(self) -> float:
        """r-diversity with 0.5 added to each count, above 0."""
        return (self.n01 + self.n10 + 1) / (self.n00 + 0.5)

    def to_json(self, *, mixmo: bool = False) -> dict[str, JsonValue]:
        """Return counts and measures as JSON, null with a reason where undefined.

        Args:
            mixmo: Also give ``r_mixmo``.
        """
        return {
            "labels": list(self.labels),
            "n11": self.n11,
            "n10": self.n10,
            "n01": self.n01,
            "n00": self.n00,
            "q": self.q,
            "q_reason": self.q_reason,
            "q_saturated": self.q_saturated,
            "q_smoothed": self.q_smoothed,
            "r": self.r,
            "r_reason": self.r_reason,
            "r_smoothed": self.r_smoothed,
            **({"r_mixmo": self.r_mixmo} if mixmo else {}),
        }


def _q(n11: int, n10: int, n01: int, n00: int) -> float | None:
    """Return 1 - Q, rearranged so that nothing cancels."""
    same, apart = n11 * n00, n01 * n10
    return 2 * apart / (same + apart) if same + apart else None


@dataclass(frozen=True, slots=True)
class Diversity:
    """How differently several models err: means over unordered pairs.

    A pair for which a measure is undefined does not enter its mean; ``q_pairs`` and ``r_pairs`` say how many do.

    Attributes:
        pairs: Every unordered pair, labels sorted.
        accuracies: Label -> share of examples that are right, 0 to 1.
        examples: How many examples were compared.
    """

    pairs: tuple[PairDiversity, ...]
    accuracies: Mapping[str, float]
    examples: int

    @property
    def q(self) -> float | None:
        """Mean q-diversity of the pairs where it is defined, 0 to 2; None if there is none."""
        return _mean([pair.q for pair in self.pairs if pair.q is not None])

    @property
    def q_pairs(self) -> int:
        """Number of pairs with a defined q-diversity."""
        return sum(pair.q is not None for pair in self.pairs)

    @property
    def r(self) -> float | None:
        """Mean r-diversity of the pairs where it is defined, 0 upwards; None if there is none."""
        return _mean([pair.r for pair in self.pairs if pair.r is not None])

    @property
    def r_pairs(self) -> int:
        """Number of pairs with a defined r-diversity."""
        return sum(pair.r is not None for pair in self.pairs)

    @property
    def q_smoothed(self) -> float:
        """Mean smoothed q-diversity of all pairs."""
        return sum(pair.q_smoothed for pair in self.pairs) / len(self.pairs)

    @property
    def r_smoothed(self) -> float:
        """Mean smoothed r-diversity of all pairs."""
        return sum(pair.r_smoothed for pair in self.pairs) / len(self.pairs)

    def to_json(self, *, mixmo: bool = False) -> dict[str, JsonValue]:
        """Return means, pairs and accuracies as JSON, null with a reason where undefined.

        Args:
            mixmo: Also give each pair's ``r_mixmo``.
        """
        return {
            "examples": self.examples,
            "accuracies": dict(self.accuracies),
            "q": self.q,
            "q_reason": None if self.q_pairs else "undefined for every pair",
            "q_saturated": any(pair.q_saturated for pair in self.pairs),
            "q_smoothed": self.q_smoothed,
            "r": self.r,
            "r_reason": None if self.r_pairs else "undefined for every pair",
            "r_smoothed": self.r_smoothed,
            "pairs_total": len(self.pairs),
            "q_pairs": self.q_pairs,
            "r_pairs": self.r_pairs,
            "pairs": [pair.to_json(mixmo=mixmo) for pair in self.pairs],
        }


def diversity(correct: Mapping[str, torch.Tensor]) -> Diversity:
    """Measure how differently models err.

    Args:
        correct: Label -> bool (N,), whether each example is right (``Score.correct``); at least two models, the same
            N >= 1 examples in the same order.

    Returns:
        The measures of every pair and their means; the order of ``correct`` does not matter.

    Raises:
        InvalidInputError: Fewer than two models, or vectors that do not fit together.

    Reference:
        See ``PairDiversity``; means over unordered pairs as in Rame et al., arXiv:2212.10445.
    """
    labels = sorted(correct)
    _check(labels, correct)
    examples = len(correct[labels[0]])
    pairs = tuple(_pair((a, b), correct[a], correct[b]) for a, b in combinations(labels, 2))
    return Diversity(pairs, {label: int(correct[label].sum()) / examples for label in labels}, examples)


def _check(labels: Sequence[str], correct: Mapping[str, torch.Tensor]) -> None:
    """Raise InvalidInputError unless there are at least two bool vectors of one length of at least 1."""
    if len(labels) < 2:
        raise InvalidInputError(
            f"diversity compares models, {len(labels)} given",
            kind="too-few-models",
            hint="name at least two revisions",
        )
    shapes = {tuple(vector.shape) for vector in correct.values()}
    dtypes = {vector.dtype for vector in correct.values()}
    length = min(shapes)
    if len(shapes) != 1 or len(length) != 1 or not length[0] or dtypes != {torch.bool}:
        raise InvalidInputError(
            f"diversity needs one bool per example and model, got shapes {sorted(shapes)} of "
            + ", ".join(sorted(str(dtype) for dtype in dtypes)),
            kind="different-examples",
            hint="evaluate all models on the same split",
        )


def _pair(labels: tuple[str, str], first: torch.Tensor, second: torch.Tensor) -> PairDiversity:
    both, one, other = int((first & second).sum()), int((first & ~second).sum()), int((~first & second).sum())
    return PairDiversity(labels, both, one, other, len(first) - both - one - other)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
