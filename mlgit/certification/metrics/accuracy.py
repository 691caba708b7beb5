"""Shares of right answers, with exact intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from mlgit.certification.metrics.metric import Metric
from mlgit.evaluation.score import Predictions
from mlgit.evaluation.statistics import Interval, binomial_interval


@final
@dataclass(frozen=True, slots=True)
class Accuracy(Metric):
    """Right answers over examples, all domains pooled; the interval is the exact binomial one."""

    name: ClassVar[str] = "accuracy"
    summary: ClassVar[str] = "share of examples whose most probable class is the label"
    reference: ClassVar[str] = "interval: Clopper and Pearson, Biometrika 26 (1934)"
    unit: ClassVar[str] = "share of examples"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    higher_is_better: ClassVar[bool] = True

    def value(self, predictions: Sequence[Predictions]) -> float:
        """Return the share of right answers, 0 to 1; the quotient of two integers, rounded once."""
        return _right(predictions) / _count(predictions)

    def interval(self, predictions: Sequence[Predictions], confidence: float) -> Interval:
        """Return the exact interval; neither end is missed with a probability above (1 - ``confidence``) / 2."""
        return binomial_interval(_right(predictions), _count(predictions), confidence)


@final
@dataclass(frozen=True, slots=True)
class WorstDomainAccuracy(Metric):
    """The lowest accuracy of any domain.

    The low end is the lowest of the low ends of the domains' exact intervals. It needs no correction for looking at
    several domains: it can lie above the truth only if the interval of the truly worst domain does. The high end can
    be too low because of any of the D domains, so their high ends are taken at the level 1 - (1 - confidence) / D.
    """

    name: ClassVar[str] = "worst-domain-accuracy"
    summary: ClassVar[str] = "lowest accuracy of any domain"
    reference: ClassVar[str] = "Sagawa et al., ICLR 2020, arXiv:1911.08731, with domains as groups"
    unit: ClassVar[str] = "share of examples"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    higher_is_better: ClassVar[bool] = True
    compares_domains: ClassVar[bool] = True

    def value(self, predictions: Sequence[Predictions]) -> float:
        """Return the lowest share of right answers, 0 to 1."""
        return min(_right([part]) / len(part) for part in predictions)

    def interval(self, predictions: Sequence[Predictions], confidence: float) -> Interval:
        """Return the interval; neither end is missed with a probability above (1 - ``confidence``) / 2."""
        stricter = 1.0 - (1.0 - confidence) / len(predictions)
        counts = [(_right([part]), len(part)) for part in predictions]
        return Interval(
            low=min(binomial_interval(right, count, confidence).low for right, count in counts),
            high=min(binomial_interval(right, count, stricter).high for right, count in counts),
            confidence=confidence,
        )


def _right(predictions: Sequence[Predictions]) -> int:
    return sum(int(part.correct.sum()) for part in predictions)


def _count(predictions: Sequence[Predictions]) -> int:
    return sum(len(part) for part in predictions)
