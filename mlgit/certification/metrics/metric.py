"""What every metric promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:  # both import torch, and reading a certificate's result must not
    from mlgit.evaluation.score import Predictions
    from mlgit.evaluation.statistics import Interval


class Metric(ABC):
    """One way to turn predictions into a number. Subclasses are final and made without arguments.

    Predictions come as one entry per domain, none empty, no domain twice, all probabilities finite; the order of the
    domains and of the examples within them changes nothing.

    Attributes:
        name: What certificates call it.
        summary: What it is, in one line.
        reference: Where it is defined.
        unit: What the number counts.
        range: Lowest and highest possible value.
        higher_is_better: Whether a better model has a higher value.
        compares_domains: Whether it needs all domains, so that a threshold on a single one makes no sense.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str]
    unit: ClassVar[str]
    range: ClassVar[tuple[float, float]]
    higher_is_better: ClassVar[bool]
    compares_domains: ClassVar[bool] = False

    @abstractmethod
    def value(self, predictions: Sequence[Predictions]) -> float:
        """Return the metric's value, in ``unit``, within ``range``."""

    @abstractmethod
    def interval(self, predictions: Sequence[Predictions], confidence: float) -> Interval:
        """Return a two-sided confidence interval that holds the value and lies within ``range``.

        Args:
            predictions: As for ``value``; examples count as independent draws.
            confidence: Between 0 and 1; each end is missed with probability at most (1 - confidence) / 2, exactly or
                approximately, as the metric says.
        """
