"""The plain mean of all candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from mlgit.evaluation.score import Evaluate
from mlgit.merging.candidate import Candidate
from mlgit.merging.strategy import Combination, MergeStrategy, weighted_average


@final
@dataclass(frozen=True, kw_only=True)
class UniformAverage(MergeStrategy):
    """Average all candidates with the coefficient 1/M; nothing is selected and no data is needed."""

    name = "uniform"
    reference = "Wortsman et al., Model soups, ICML 2022, arXiv:2203.05482; Rame et al., DiWA, arXiv:2205.09739"
    summary = "mean of all models, each with the coefficient 1/M"

    def problems(self) -> Sequence[str]:
        """Return nothing: there are no parameters of its own."""
        return ()

    def combine(self, pool: tuple[Candidate, ...], evaluate: Evaluate) -> Combination:
        """Return the mean; ``evaluate`` is not called."""
        del evaluate
        coefficients = (1.0 / len(pool),) * len(pool)
        weights, notes = weighted_average(pool, coefficients, self.statistics)
        return Combination(weights, coefficients, {}, notes)
