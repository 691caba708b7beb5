"""WiSE: a point on the straight line between a fine-tuned model and the pretrained one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from mlgit.errors import InvalidInputError
from mlgit.evaluation.score import Evaluate
from mlgit.merging.candidate import Candidate, short
from mlgit.merging.strategy import Combination, MergeStrategy
from mlgit.objects.encoding import JsonValue
from mlgit.weights.arithmetic import LazyAverage, lazy_mix

CHOOSE = -1.0
"""The value of ``share`` that asks for a choice by accuracy."""


@final
@dataclass(frozen=True, kw_only=True)
class WiseInterpolation(MergeStrategy):
    """Take (1 - l) x fine-tuned + l x pretrained, where l is the share of the PRETRAINED end.

    Without a fixed share, the accuracy over all examples is measured at l = 0, ..., 1 and the highest one decides; of
    equal ones the smallest l, which is the closest to the fine-tuned model. A point whose accuracy is NaN is never
    taken. Each point is computed tensor by tensor when it is asked for.

    Attributes:
        pretrained: Label of the candidate that is the pretrained end; the other one is the fine-tuned end.
        points: How many values of l are tried, at evenly spaced places from 0 to 1; at least 2. An odd number has 0.5
            among them.
        share: l, 0 to 1; -1: chosen by accuracy.

    Reference:
        Wortsman et al., arXiv:2109.01903, whose mixing coefficient belongs to the fine-tuned end: it is 1 - l here.
        Rame et al., arXiv:2212.10445, count from the pretrained end as this does.
    """

    name = "wise"
    reference = "Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022, arXiv:2109.01903"
    summary = "point on the line between a fine-tuned model and its pretrained one, chosen by ID validation accuracy"
    exactly = 2
    label_fields: ClassVar[tuple[str, ...]] = ("pretrained",)

    pretrained: str = ""
    points: int = 11
    share: float = CHOOSE

    @property
    def needs_evaluation(self) -> bool:
        """Whether the share is to be chosen."""
        return self.share == CHOOSE

    def problems(self) -> Sequence[str]:
        """Return what is wrong with number of points and share."""
        found = []
        if self.points < 2:
            found.append(f"points is {self.points}, below 2")
        if self.share != CHOOSE and not 0 <= self.share <= 1:
            found.append(f"share is {self.share}, neither between 0 and 1 nor -1 (chosen by accuracy)")
        return found

    def pool_problems(self, labels: Sequence[str]) -> Sequence[str]:
        """Return whether the pretrained end is missing."""
        if not self.pretrained:
            return ["pretrained does not say which candidate is the pretrained end"]
        if self.pretrained not in labels:
            return [f"pretrained is {short(self.pretrained)}, which is not among the candidates"]
        return ()

    def combine(self, pool: tuple[Candidate, ...], evaluate: Evaluate) -> Combination:
        """Return the chosen point; the record names the ends and holds every point that was tried."""
        trials = self._tried(pool, evaluate) if self.needs_evaluation else []
        share, accuracy = _best(trials) if trials else (float(self.share), None)
        mixture = self._mixture(pool, share)
        (fine_tuned,) = (candidate.label for candidate in pool if candidate.label != self.pretrained)
        tried: list[JsonValue] = [
            {"pretrained": point, "fine_tuned": 1.0 - point, "accuracy": None if math.isnan(value) else value}
            for point, value in trials
        ]
        details: dict[str, JsonValue] = {
            "ends": {"pretrained": self.pretrained, "fine_tuned": fine_tuned},
            "pretrained_share": share,
            "accuracy": accuracy,
            "points": tried,
        }
        return Combination(mixture, self._shares(pool, share), details, mixture.notes)

    def _tried(self, pool: tuple[Candidate, ...], evaluate: Evaluate) -> list[tuple[float, float]]:
        """Return each share of the pretrained end, rising, with the accuracy there."""
        places = [step / (self.points - 1) for step in range(self.points)]
        return [(place, evaluate(self._mixture(pool, place)).accuracy) for place in places]

    def _mixture(self, pool: tuple[Candidate, ...], share: float) -> LazyAverage:
        members = [candidate.weights for candidate in pool]
        return lazy_mix(
            members,
            self._shares(pool, share),
            statistics=self.statistics,
            labels=[short(candidate.label) for candidate in pool],
        )

    def _shares(self, pool: tuple[Candidate, ...], share: float) -> tuple[float, ...]:
        """Return the coefficients of the candidates, in the order of the pool."""
        return tuple(share if candidate.label == self.pretrained else 1.0 - share for candidate in pool)


def _best(trials: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the first point with the highest accuracy, NaN left out."""
    usable = [trial for trial in trials if not math.isnan(trial[1])]
    if not usable:
        raise InvalidInputError(
            f"none of the {len(trials)} points between the models has an accuracy that is a number",
            kind="no-usable-candidate",
            hint="look at the runs: their weights are NaN",
        )
    return max(usable, key=lambda trial: trial[1])  # the first of equal ones
