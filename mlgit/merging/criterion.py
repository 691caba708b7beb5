"""When a path between models counts as connected: definitions, tolerance, and the paired test behind a refusal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Literal, get_args

import torch

from mlgit.errors import InvalidInputError
from mlgit.objects.encoding import JsonValue

Definition = Literal["ratatouille", "frankle-mean", "frankle-worst"]
FRANKLE_LIMIT = 0.02
"""Rise of the error rate below which Frankle et al. call two runs connected."""

EPSILON = 1e-12
"""Differences of accuracies below this are rounding; real ones are at least 1 / (number of examples)."""


class Verdict(StrEnum):
    """What was found out about a path."""

    HOLDS = "holds"
    UNDECIDED = "undecided"
    VIOLATED = "violated"


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """What has to be true of accuracies on a path.

    With gap(l) = acc(l) - [(1 - l) acc(0) + l acc(1)] the definitions ask, for every l of the grid:

    - ``ratatouille``: gap(l) is at least -tolerance. Without a tolerance the examples decide: the path *holds* if
      gap(l) >= -(one paired standard error at l) everywhere; it is *violated* if at some l between the ends a
      one-sided paired test rejects gap(l) >= 0 at ``level`` / (number of such l x ``comparisons``); otherwise it is
      *undecided*, which is common: with hundreds of examples, a path without any gap is by chance more than one
      standard error low at one of nine places more often than not. An undecided path is no reason to refuse a merge.
    - ``frankle-mean``: the error rate at l is less than ``tolerance`` above the mean error rate of the two ends.
    - ``frankle-worst``: the same above the error rate of the worse end.

    Attributes:
        definition: Which of the three.
        tolerance: Share of the examples, 0 to 1. None: the paired test for ``ratatouille``, 0.02 for the others.
        level: Probability of calling a path violated that is not, for all comparisons together.
        comparisons: How many paths are judged together.

    Raises:
        InvalidInputError: Values out of range; all of them are named.

    Reference:
        Rame et al., arXiv:2212.10445, equation 1, which gives no number for "about at least". Frankle et al.,
        arXiv:1912.05671; the form against the worse end is how the former quotes it.
    """

    definition: Definition = "ratatouille"
    tolerance: float | None = None
    level: float = 0.01
    comparisons: int = 1

    def __post_init__(self) -> None:
        problems = []
        if self.definition not in get_args(Definition):
            problems.append(f"definition is '{self.definition}', not one of {', '.join(get_args(Definition))}")
        if self.tolerance is not None and not 0 <= self.tolerance <= 1:
            problems.append(f"tolerance is {self.tolerance}, not between 0 and 1")
        if not 0 < self.level < 1:
            problems.append(f"level is {self.level}, not between 0 and 1")
        if self.comparisons < 1:
            problems.append(f"comparisons is {self.comparisons}, below 1")
        if problems:
            raise InvalidInputError(
                "bad criterion of connectivity: " + "; ".join(problems),
                kind="bad-parameter",
                hint="a tolerance of 0.01 allows one example in a hundred to be lost",
            )

    @property
    def limit(self) -> float | None:
        """The allowed drop, or None when the paired test decides."""
        if self.tolerance is None and self.definition != "ratatouille":
            return FRANKLE_LIMIT
        return self.tolerance

    def to_json(self) -> dict[str, JsonValue]:
        """Return the fields as JSON."""
        return {
            "definition": self.definition,
            "tolerance": self.limit,
            "level": self.level,
            "comparisons": self.comparisons,
        }


@dataclass(frozen=True, slots=True)
class Point:
    """One place on a path.

    Attributes:
        lam: Where, 0 to 1.
        accuracy: Share of examples that are right there, 0 to 1.
        chord: Accuracy on the straight line between the ends' accuracies, 0 to 1.
        gap: accuracy - chord, -1 to 1; exactly 0.0 when they are equal.
        standard_error: Of ``gap`` over examples, paired; None for a single example.
        p_value: One-sided, of the hypothesis that the true gap is at least 0; see ``compare``.
    """

    lam: float
    accuracy: float
    chord: float
    gap: float
    standard_error: float | None
    p_value: float


def compare(lam: float, here: torch.Tensor, first: torch.Tensor, last: torch.Tensor) -> Point:
    """Compare a place on the path with the chord, example by example.

    With d_i = here_i - [(1 - lam) first_i + lam last_i], the gap is the mean of d and its standard error s is that of a
    mean, std(d, ddof=1) / sqrt(N). The test divides the gap by the larger of s and s0 and reads the normal
    distribution. s0 is the standard error under the hypothesis that the path answers like one end or the other:
    N^2 s0^2 = (examples on which both ends agree and the path does not) + lam (1 - lam) (examples on which the ends
    differ), which is McNemar's variance when the ends agree everywhere. With s alone, even with Student's t, skew
    makes the test reject far too often: simulated at a true gap of 0 in up to 28 % of the cases instead of 1 % (N = 20,
    ends that differ on 40 % of the examples, nine places); with the larger of both in at most 1.3 %, for N from 12 to
    1,400, and almost as often as with s alone when there is a gap.

    Args:
        lam: Place, 0 to 1.
        here: bool (N,), whether each example is right at this place.
        first: The same at the end with lam = 0.
        last: The same at the end with lam = 1.

    Returns:
        The point; all numbers are finite.

    Raises:
        InvalidInputError: The three do not speak about the same, at least one, examples.

    Reference:
        McNemar, Psychometrika 12 (1947).
    """
    counts = _cell_counts(here, first, last)
    total = sum(counts)
    cells = [(path, a, b) for path in (0, 1) for a in (0, 1) for b in (0, 1)]
    values = [path - (a + lam * (b - a)) for path, a, b in cells]
    gap = _snap(math.fsum(count * value for count, value in zip(counts, values, strict=True)) / total)
    spread = math.fsum(count * (value - gap) ** 2 for count, value in zip(counts, values, strict=True))
    error = _snap(math.sqrt(spread / (total - 1) / total)) if total > 1 else None
    chance = math.fsum(
        count * (abs(path - a) if a == b else lam * (1 - lam))
        for count, (path, a, b) in zip(counts, cells, strict=True)
    )
    width = max(error or 0.0, _snap(math.sqrt(chance) / total))
    right = [sum(count for count, cell in zip(counts, cells, strict=True) if cell[i]) / total for i in range(3)]
    return Point(
        lam=lam,
        accuracy=right[0],
        chord=right[1] + lam * (right[2] - right[1]),
        gap=gap,
        standard_error=error,
        p_value=NormalDist().cdf(gap / width) if width else float(gap >= 0),
    )


def _cell_counts(here: torch.Tensor, first: torch.Tensor, last: torch.Tensor) -> list[int]:
    """Return how many examples have each of the 8 combinations, in the order of binary numbers here-first-last."""
    shapes = {tuple(part.shape) for part in (here, first, last)}
    if len(shapes) != 1 or here.ndim != 1 or not len(here) or any(p.dtype != torch.bool for p in (here, first, last)):
        raise InvalidInputError(
            f"scores along a path need the same examples, at least one, got shapes {sorted(shapes)}",
            kind="different-examples",
            hint="evaluate all models on the same split",
        )
    codes = here.to(torch.int64) * 4 + first.to(torch.int64) * 2 + last.to(torch.int64)
    return [int(count) for count in torch.bincount(codes, minlength=8)]


def _snap(value: float) -> float:
    """Return 0.0 for what is only rounding."""
    return 0.0 if abs(value) < EPSILON else value


def shortfall(points: Sequence[Point], definition: Definition) -> list[float]:
    """Return, for each point, by how much its accuracy is below what the definition compares it with.

    Args:
        points: The path, ends included, by rising ``lam``.
        definition: ``ratatouille`` compares with the chord, ``frankle-mean`` with the mean of the ends,
            ``frankle-worst`` with the worse end.

    Returns:
        One number per point, -1 to 1; negative where the path is better.
    """
    if definition == "ratatouille":
        return [-point.gap for point in points]
    ends = (points[0].accuracy, points[-1].accuracy)
    reference = min(ends) if definition == "frankle-worst" else sum(ends) / 2
    return [_snap(reference - point.accuracy) for point in points]


def judge(points: Sequence[Point], criterion: Criterion) -> Verdict:
    """Say whether the path is connected.

    Args:
        points: The path, ends included, by rising ``lam``; at least one point between the ends.
        criterion: What is asked for.
    """
    drops = shortfall(points, criterion.definition)
    limit = criterion.limit
    if limit is None:
        return _judge_by_test(points, criterion)
    if criterion.definition == "ratatouille":
        return Verdict.HOLDS if all(drop <= limit + EPSILON for drop in drops) else Verdict.VIOLATED
    return Verdict.HOLDS if all(drop < limit - EPSILON for drop in drops) else Verdict.VIOLATED


def _judge_by_test(points: Sequence[Point], criterion: Criterion) -> Verdict:
    if all(point.gap >= -(point.standard_error or 0.0) - EPSILON for point in points):
        return Verdict.HOLDS
    between = points[1:-1]
    if any(point.p_value <= criterion.level / (len(between) * criterion.comparisons) for point in between):
        return Verdict.VIOLATED
    return Verdict.UNDECIDED
