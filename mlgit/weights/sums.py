"""What averages share: their rules, and what is told where models differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch

from mlgit.errors import IncompatibleWeightsError, InvalidInputError, did_you_mean
from mlgit.weights.accumulate import Accumulator, Rule, rule_for
from mlgit.weights.compatibility import MAX_SHOWN
from mlgit.weights.forms import TensorLike
from mlgit.weights.types import Weights

Statistics = Literal["require-equal", "average", "first"]
STATISTICS_RULES: tuple[Statistics, ...] = ("require-equal", "average", "first")


class Average(NamedTuple):
    """Averaged weights.

    Attributes:
        weights: Name -> new tensor, sorted by name; shares no memory with the members. May compute each one when it
            is asked for, where the function says so.
        notes: What the average could not do: which integers differed. Empty mostly.
    """

    weights: Weights
    notes: tuple[str, ...]


def accumulators(known: Mapping[str, TensorLike], statistics: Statistics) -> dict[str, Accumulator]:
    """Return an empty sum for each name, those that must be equal first."""
    sums = {name: Accumulator(rule_for(name, form.dtype, statistics), form) for name, form in sorted(known.items())}
    return dict(sorted(sums.items(), key=lambda item: item[1].rule is not Rule.EQUAL))


def add_to(total: Accumulator, weights: Weights, name: str, coefficient: float = 1.0) -> Accumulator:
    """Add ``coefficient`` times a model's tensor; stored ones tell by their ids whether they need to be read.

    Returns:
        ``total`` itself.
    """
    total.add(partial(weights.__getitem__, name), coefficient, identity(weights, name))
    return total


def identity(weights: Weights, name: str) -> object:
    """Return the id of a tensor, if the weights know it: the same for equal tensors of one form only."""
    entries: Mapping[str, object] = getattr(weights, "entries", {})
    return getattr(entries.get(name), "id", None)


def finish(names: Iterable[str], summed: Callable[[str], Accumulator], divisor: float) -> Average:
    """Return the finished tensors of these names.

    Args:
        names: Those that must be equal come first.
        summed: Returns the sum of a name.
        divisor: What each sum is divided by.

    Raises:
        IncompatibleWeightsError: Tensors that must be equal differ.
    """
    weights: dict[str, torch.Tensor] = {}
    unequal: list[str] = []
    kept: list[str] = []
    for name in names:
        total = summed(name)
        if total.rule is not Rule.EQUAL and unequal:
            break
        if total.differs:
            {Rule.EQUAL: unequal, Rule.FIRST: kept, Rule.MEAN: []}[total.rule].append(name)
        weights[name] = total.value(divisor)
    check_equal(unequal)
    return Average(dict(sorted(weights.items())), kept_notes(kept))


def kept_notes(kept: Sequence[str]) -> tuple[str, ...]:
    """Return the note about tensors that cannot be averaged and differ; none where there are none."""
    if not kept:
        return ()
    what = "1 tensor differs" if len(kept) == 1 else f"{len(kept)} tensors differ"
    return (f"{what} between the models and cannot be averaged; the first model's values are kept: {_listed(kept)}",)


def check_equal(differing: Iterable[str]) -> None:
    """Refuse models in which these tensors, which must be equal, differ.

    Raises:
        IncompatibleWeightsError: There is at least one, and the first are named.
    """
    names = list(differing)
    if names:
        what = (
            "1 tensor that must be equal differs"
            if len(names) == 1
            else f"{len(names)} tensors that must be equal differ"
        )
        raise IncompatibleWeightsError(
            f"{what} between the models: {_listed(names)}",
            kind="unequal-statistics",
            hint="statistics of batch normalization can be averaged or taken from the first model; "
            "tensors of dtypes without arithmetic cannot",
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:MAX_SHOWN]) + more


def check_statistics(statistics: str) -> None:
    """Refuse an unknown rule.

    Raises:
        InvalidInputError: No rule has this name.
    """
    if statistics not in STATISTICS_RULES:
        raise InvalidInputError(
            f"no rule for statistics is named '{statistics}'",
            kind="unknown-statistics-rule",
            hint=did_you_mean(statistics, STATISTICS_RULES),
        )
