"""What is merged: weights under a label, and the order in which labels are taken."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mlgit.errors import InvalidInputError
from mlgit.objects.ids import LENGTH, SHORT
from mlgit.weights.types import Weights


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One model that may take part in a merge.

    Attributes:
        label: What names it, a commit id as a rule; not empty.
        weights: Its state dict; read, never changed. May load each tensor when it is asked for.
        score: ID validation accuracy recorded when it was trained (mean over the domains, 0 to 1), used for ranking.
            None: not known. NaN: the run failed to give a number, so the model is never selected.
        content: The id of its weights. The canonical order is by content, then by label: so the same weights have the
            same place whoever committed them, and when. Empty: by label alone.

    Raises:
        InvalidInputError: The label is empty or the score infinite.
    """

    label: str
    weights: Weights
    score: float | None = None
    content: str = ""

    def __post_init__(self) -> None:
        if not self.label:
            raise InvalidInputError(
                "a candidate has an empty label", kind="bad-label", hint="label it by its commit id"
            )
        if self.score is not None and math.isinf(self.score):
            raise InvalidInputError(
                f"candidate {short(self.label)} has the score {self.score}",
                kind="bad-score",
                hint="a score is an accuracy between 0 and 1",
            )


def canonical(candidates: Sequence[Candidate], *, keep_order: bool = False) -> tuple[Candidate, ...]:
    """Return the candidates in canonical order: what makes a merge independent of the order of its arguments.

    Args:
        candidates: At least one, each label once.
        keep_order: Check, but leave the order as it is.

    Raises:
        InvalidInputError: The list is empty or a label stands twice.
    """
    if not candidates:
        raise InvalidInputError(
            "there is nothing to merge: the list of candidates is empty",
            kind="empty-pool",
            hint="name at least one revision",
        )
    repeated = sorted(label for label, count in Counter(c.label for c in candidates).items() if count > 1)
    if repeated:
        raise InvalidInputError(
            "named more than once: " + ", ".join(short(label) for label in repeated[:10]),
            kind="duplicate-candidate",
            hint="name each revision once; a strategy chooses the coefficients",
        )
    if keep_order:
        return tuple(candidates)
    return tuple(sorted(candidates, key=lambda candidate: (candidate.content, candidate.label)))


def short(label: str) -> str:
    """Return the label as people read it: the first digits of an id, anything else whole."""
    is_id = len(label) == LENGTH and all(character in "0123456789abcdef" for character in label)
    return label[:SHORT] if is_id else label
