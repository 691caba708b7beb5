"""The accuracy along a path between models, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlgit.merging.candidate import short
from mlgit.merging.criterion import Criterion, Point, Verdict, judge, shortfall
from mlgit.objects.encoding import JsonValue

_REFERENCES = {
    "ratatouille": "the line between the ends has",
    "frankle-mean": "the mean of the ends is",
    "frankle-worst": "the worse end has",
}


@dataclass(frozen=True)
class Curve:
    """Accuracies on the straight line between two models, or between the mean of two and a third.

    Attributes:
        labels: Two, (a, b): the path is (1 - l) a + l b. Three, (a, b, c): (1 - l)/2 a + (1 - l)/2 b + l c.
        points: By rising l; the first is l = 0, the last l = 1.
        criterion: What was asked for.
        examples: How many examples were evaluated at each point.
        split: Where: ``validation``, or ``test`` in reports.
    """

    labels: tuple[str, ...]
    points: tuple[Point, ...]
    criterion: Criterion
    examples: int
    split: str = "validation"

    @property
    def verdict(self) -> Verdict:
        """Whether the path is connected in the sense of the criterion."""
        return judge(self.points, self.criterion)

    @property
    def margin(self) -> float:
        """The lowest gap, -1 to 0: the gap is 0 at both ends."""
        return min(point.gap for point in self.points)

    @property
    def gain(self) -> float:
        """The highest gap, 0 to 1."""
        return max(point.gap for point in self.points)

    @property
    def barrier_mean(self) -> float:
        """The largest rise of the error rate above the mean of the ends, 0 to 1."""
        return max(shortfall(self.points, "frankle-mean"))

    @property
    def barrier_worst(self) -> float:
        """The largest rise of the error rate above the worse end, 0 to 1."""
        return max(shortfall(self.points, "frankle-worst"))

    @property
    def worst(self) -> Point:
        """The point that is furthest below what the definition compares it with; the first of equal ones."""
        drops = shortfall(self.points, self.criterion.definition)
        return self.points[drops.index(max(drops))]

    @property
    def ends(self) -> str:
        """The models, for people: ``a and b``, or ``the mean of a and b, and c``."""
        names = [short(label) for label in self.labels]
        return (
            f"{names[0]} and {names[1]}"
            if len(names) == 2
            else f"the mean of {names[0]} and {names[1]}, and {names[2]}"
        )

    def describe_worst(self) -> str:
        """Return one sentence with the place of the worst point and both numbers."""
        worst = self.worst
        drops = shortfall(self.points, self.criterion.definition)
        expected = worst.accuracy + drops[self.points.index(worst)]
        reference = _REFERENCES[self.criterion.definition]
        return f"at λ = {worst.lam:g} the accuracy is {worst.accuracy:.4f}, {reference} {expected:.4f}"

    def to_json(self) -> dict[str, JsonValue]:
        """Return the curve as it goes into a merge commit; every number is finite."""
        return {
            "labels": list(self.labels),
            **self.criterion.to_json(),
            "examples": self.examples,
            "split": self.split,
            "verdict": self.verdict.value,
            "worst_lambda": self.worst.lam,
            "margin": self.margin,
            "gain": self.gain,
            "barrier_mean": self.barrier_mean,
            "barrier_worst": self.barrier_worst,
            "points": [_point_to_json(point) for point in self.points],
        }


def _point_to_json(point: Point) -> dict[str, JsonValue]:
    return {
        "lambda": point.lam,
        "accuracy": point.accuracy,
        "chord": point.chord,
        "gap": point.gap,
        "standard_error": point.standard_error,
        "p_value": point.p_value,
    }


def overall(curves: Sequence[Curve]) -> Verdict:
    """Return the worst verdict of several paths; ``holds`` when there is none."""
    order = list(Verdict)
    return max((curve.verdict for curve in curves), key=order.index, default=Verdict.HOLDS)
