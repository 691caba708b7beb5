"""A random convex combination of featurizers, as the start of a fine-tuning."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from mlgit.errors import InvalidInputError
from mlgit.evaluation.score import Evaluate
from mlgit.merging.candidate import Candidate, short
from mlgit.merging.strategy import Combination, MergeStrategy, copied, weighted_average
from mlgit.weights.overlay import Overlay, part
from mlgit.weights.types import Weights


@final
@dataclass(frozen=True, kw_only=True)
class Fusing(MergeStrategy):
    """Average featurizers with coefficients softmax(kappa), kappa drawn evenly between 0 and ``fusing_range``.

    The draws belong to the candidates in canonical order: ``random.Random(seed).uniform(0, fusing_range)``, one each.
    The result is an initialisation for a training run, not a model that predicts.

    Attributes:
        fusing_range: Width of the draws, at least 0; 0 gives the plain mean, 4 is the paper's value. No coefficient is
            more than exp(fusing_range) times another.
        seed: Of the draws, at least 0.
        head: Module name of the classifier, as in the manifest. Entries below it are not averaged and may differ in
            shape or be missing. Empty: every entry is averaged.
        head_from: Label of the candidate whose classifier goes into the result. Empty: the result has no classifier.

    Reference:
        Choshen et al., arXiv:2204.03044. Range and draws follow Rame et al., arXiv:2212.10445; the authors' code takes
        the pre-trained model first and auxiliary ones sorted by folder, here labels decide.
    """

    name = "fusing"
    reference = "Choshen et al., Fusing finetuned models for better pretraining, arXiv:2204.03044"
    summary = "random convex combination of featurizers, as the start of a fine-tuning"

    fusing_range: float = 4.0
    seed: int = 0
    head: str = ""
    head_from: str = ""

    def problems(self) -> Sequence[str]:
        """Return what is wrong with range, seed and head."""
        found = []
        if not (math.isfinite(self.fusing_range) and self.fusing_range >= 0):
            found.append(f"fusing_range is {self.fusing_range}, not a finite number of at least 0")
        if self.seed < 0:
            found.append(f"seed is {self.seed}, below 0")
        if self.head_from and not self.head:
            found.append(f"head_from is '{short(self.head_from)}', but head does not say which entries are meant")
        return found

    def combine(self, pool: tuple[Candidate, ...], evaluate: Evaluate) -> Combination:
        """Return the fused featurizer; ``evaluate`` is not called."""
        del evaluate
        draws = random.Random(self.seed)
        kappas = [draws.uniform(0.0, self.fusing_range) for _ in pool]
        coefficients = _softmax(kappas)
        featurizers = [dataclasses.replace(candidate, weights=self._part(candidate, head=False)) for candidate in pool]
        weights, notes = weighted_average(featurizers, coefficients, self.statistics)
        if self.head_from:
            weights = Overlay(weights, self._head(pool))
        labels = [candidate.label for candidate in pool]
        return Combination(weights, coefficients, {"kappas": dict(zip(labels, kappas, strict=True))}, notes)

    def _part(self, candidate: Candidate, *, head: bool) -> Overlay:
        """Return the names below the head, or all others; tensors that can be read later are not read."""
        return part(candidate.weights, lambda name: head == self._is_of_head(name))

    def _is_of_head(self, name: str) -> bool:
        return bool(self.head) and (name == self.head or name.startswith(self.head + "."))

    def _head(self, pool: tuple[Candidate, ...]) -> Weights:
        """Return the classifier of the candidate that ``head_from`` names."""
        source = next((candidate for candidate in pool if candidate.label == self.head_from), None)
        if source is None:
            raise InvalidInputError(
                f"the classifier is to come from {short(self.head_from)}, which is not among the candidates",
                kind="unknown-head-source",
                hint="name one of " + ", ".join(short(candidate.label) for candidate in pool[:10]),
            )
        head = copied(self._part(source, head=True))
        if not head:
            raise InvalidInputError(
                f"{short(self.head_from)} has no entries below '{self.head}'",
                kind="no-head",
                hint="name the module of the classifier, as `mlgit show` prints it",
            )
        return head


def _softmax(values: Sequence[float]) -> tuple[float, ...]:
    """Return exp(v) / sum of exp, in float64, without overflow."""
    largest = max(values)
    powers = [math.exp(value - largest) for value in values]
    total = math.fsum(powers)
    return tuple(power / total for power in powers)
