"""Greedy soup: one candidate after the other, kept when the accuracy of the mean does not fall."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from mlgit.errors import InvalidInputError
from mlgit.evaluation.score import Evaluate
from mlgit.merging.candidate import Candidate
from mlgit.merging.strategy import Combination, MergeStrategy
from mlgit.objects.encoding import JsonValue
from mlgit.weights.arithmetic import RunningAverage
from mlgit.weights.content import held
from mlgit.weights.types import Weights


@final
@dataclass(frozen=True, kw_only=True)
class GreedySoup(MergeStrategy):
    """Grow a uniform mean along a ranking; what lowers its accuracy is left out for good.

    1. Rank the candidates by their own score, highest first; equal scores stand in the order of their labels.
    2. Start with nothing. For each candidate once: if the mean of what was kept and this candidate is at least as
       accurate as the mean of what was kept, keep it. The first one is always kept.

    The own score is ``Candidate.score`` when every candidate has one: then M evaluations are made for M candidates and
    each candidate's tensors are read once. Otherwise every candidate is first evaluated alone and ranked by the
    unweighted mean over the domains (2M - 1 evaluations); given scores are then ignored, since numbers from different
    sources do not rank. Trials are compared by accuracy over all examples. A candidate whose score, or whose trial's
    accuracy, is NaN is never kept, nor does it count as the first one. In memory are the float64 sum of what was kept
    and one candidate.

    The mean accumulates in ranking order, which scores and labels fix, so the order of arguments does not matter.

    Reference:
        Wortsman et al., arXiv:2203.05482, where ties are refused and the first bar is the best single model. Ties are
        kept here, as by Rame et al., arXiv:2205.09739 and arXiv:2212.10445 (whose text says "lowers" for "does not
        lower").
    """

    name = "greedy"
    reference = "Wortsman et al., Model soups, arXiv:2203.05482; accept rule of Rame et al., DiWA, arXiv:2205.09739"
    summary = "mean of the models that do not lower its ID validation accuracy, tried from the best one down"
    needs_evaluation = True

    def problems(self) -> Sequence[str]:
        """Return nothing: there are no parameters of its own."""
        return ()

    def combine(self, pool: tuple[Candidate, ...], evaluate: Evaluate) -> Combination:
        """Return the mean of the kept candidates; the record holds one entry per candidate, in ranking order."""
        ranking = _Ranking.of(pool, evaluate)
        soup = _Soup(RunningAverage(statistics=self.statistics))
        for entry in ranking.entries:
            soup.offer(entry, evaluate)
        if not soup.kept:
            raise InvalidInputError(
                f"none of the {len(pool)} candidates has an accuracy that is a number",
                kind="no-usable-candidate",
                hint="look at the runs: their weights or their scores are NaN",
            )
        share = 1.0 / len(soup.kept)
        coefficients = tuple(share if candidate.label in soup.kept else 0.0 for candidate in pool)
        details: dict[str, JsonValue] = {
            "ranking": ranking.source,
            "accuracy": soup.best,
            "trials": [trial.to_json() for trial in soup.trials],
            "order": list(soup.kept),
        }
        weights, notes = soup.average.lazy_value()
        return Combination(weights, coefficients, details, notes)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A candidate with what ranks it, and what it reached alone when that was measured."""

    candidate: Candidate
    score: float
    accuracy_alone: float | None = None


@dataclass(frozen=True, slots=True)
class _Ranking:
    """Candidates from the best own score down; NaN last."""

    entries: tuple[_Entry, ...]
    source: str

    @classmethod
    def of(cls, pool: tuple[Candidate, ...], evaluate: Evaluate) -> _Ranking:
        """Rank by recorded scores, or by evaluating each candidate when one of them has none."""
        recorded = [_Entry(c, c.score) for c in pool if c.score is not None]
        if len(recorded) == len(pool):
            return cls(_sorted(recorded), "recorded scores")
        measured = []
        for candidate in pool:
            score = evaluate(candidate.weights)
            measured.append(_Entry(candidate, score.macro, score.accuracy))
        return cls(_sorted(measured), "evaluated alone")


def _sorted(entries: Sequence[_Entry]) -> tuple[_Entry, ...]:
    """Sort by score, highest first, NaN last; the sort is stable, so that ties keep the order of the pool."""
    return tuple(sorted(entries, key=lambda entry: math.inf if math.isnan(entry.score) else -entry.score))


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate's turn.

    Attributes:
        label: The candidate.
        score: Its own score, None for NaN.
        accuracy: Of the mean with the candidate, 0 to 1; None when it was not tried or is NaN.
        accepted: Whether it was kept.
        reason: ``first``, ``not lower``, ``lower`` or ``not a number``.
    """

    label: str
    score: float | None
    accuracy: float | None
    accepted: bool
    reason: str

    def to_json(self) -> dict[str, JsonValue]:
        """Return the fields as JSON."""
        return dataclasses.asdict(self)


@dataclass(slots=True)
class _Soup:
    """What was kept so far."""

    average: RunningAverage
    kept: list[str] = dataclasses.field(default_factory=list)
    trials: list[Trial] = dataclasses.field(default_factory=list)
    best: float = -math.inf

    def offer(self, entry: _Entry, evaluate: Evaluate) -> None:
        """Try one candidate and keep it if the mean with it is at least as accurate as before."""
        if math.isnan(entry.score):
            self._remember(entry, math.nan, accepted=False)
            return
        weights = held(entry.candidate.weights)  # tensors are read here, once
        trial: Weights = self.average.lazy_mean_with(weights).weights if self.kept else weights
        alone = entry.accuracy_alone if not self.kept else None
        accuracy = evaluate(trial).accuracy if alone is None else alone
        accepted = accuracy >= self.best  # False for NaN
        self._remember(entry, accuracy, accepted=accepted)
        if accepted:
            self.average.add(weights)
            self.kept.append(entry.candidate.label)
            self.best = accuracy

    def _remember(self, entry: _Entry, accuracy: float, *, accepted: bool) -> None:
        """Write down one candidate's turn; NaN becomes None, which JSON can hold."""
        reason = "not a number"
        if not math.isnan(accuracy):
            reason = ("not lower" if self.kept else "first") if accepted else "lower"
        self.trials.append(
            Trial(entry.candidate.label, _number(entry.score), _number(accuracy), accepted=accepted, reason=reason)
        )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
