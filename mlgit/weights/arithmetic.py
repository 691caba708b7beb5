"""Averages of weights: float64 sums in a stated order, one rounding at the end, the same bits on any number of threads.

For every name, with ``x_i`` the tensor of model i in float64 (complex64: its two parts each):

- uniform, when the coefficients of the n models that count are all 1/n: ``((x_1 + x_2) + … + x_n) / n``;
- otherwise: ``((c_1 * x_1 + c_2 * x_2) + … + c_n * x_n)``, each product rounded to float64;
- then one rounding to the tensor's own dtype, to nearest, ties to even (``rounding.narrow``).

Models with coefficient 0 do not count and are not read. Where all models that count hold the same bits and the
coefficients sum to 1, the tensor is taken over as it is, so that an average of equal models changes nothing.

Integers and booleans have no mean: where they differ, the first model's are kept and a note says so. What batch
normalization has counted follows ``statistics``. dtypes without arithmetic (F4, F8_E8M0) must be equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch

from mlgit.errors import IncompatibleWeightsError, InvalidInputError, MlgitError, did_you_mean
from mlgit.weights.accumulate import Accumulator, Rule, rule_for
from mlgit.weights.compatibility import MAX_SHOWN, check_compatible
from mlgit.weights.forms import TensorLike
from mlgit.weights.types import Weights, forms

Statistics = Literal["require-equal", "average", "first"]
STATISTICS_RULES: tuple[Statistics, ...] = ("require-equal", "average", "first")


class Average(NamedTuple):
    """Averaged weights.

    Attributes:
        weights: Name -> new tensor, sorted by name; shares no memory with the members.
        notes: What the average could not do: which integers differed. Empty mostly.
    """

    weights: dict[str, torch.Tensor]
    notes: tuple[str, ...]


def average(
    members: Sequence[Weights],
    coefficients: Sequence[float],
    *,
    statistics: Statistics = "require-equal",
    labels: Sequence[str] | None = None,
) -> Average:
    """Average models, tensor by tensor; each tensor is read once at most.

    The order of ``members`` decides the last bits of F64 results and which integers are kept, so callers bring it into
    a canonical order first. In memory are the result, and of one name two tensors and its float64 sum.

    Args:
        members: Models with the same names, shapes and dtypes; at least one. Not changed.
        coefficients: One finite number per member, not all zero; any sum.
        statistics: For tensors named ``running_mean``, ``running_var`` and ``num_batches_tracked``: refuse models that
            differ, average them (counts: keep the first), or keep the first.
        labels: What the members are called in errors: commit ids. ``model 1`` and so on if not given.

    Returns:
        The weights and notes.

    Raises:
        IncompatibleWeightsError: Names, shapes or dtypes differ, or tensors that must be equal; the first are named.
        InvalidInputError: No members, not one finite coefficient per member, all of them zero, or an unknown rule.
    """
    if len(members) != len(coefficients):
        raise InvalidInputError(f"{len(members)} models have {len(coefficients)} coefficients", kind="bad-coefficients")
    if not all(math.isfinite(coefficient) for coefficient in coefficients) or not any(coefficients):
        raise InvalidInputError(
            f"the coefficients {list(coefficients)[:MAX_SHOWN]} must be finite and not all zero",
            kind="bad-coefficients",
        )
    count = sum(coefficient != 0 for coefficient in coefficients)
    uniform = all(
        coefficient == 0 or math.isclose(coefficient, 1 / count, rel_tol=1e-12) for coefficient in coefficients
    )
    if uniform:
        return _combine(members, [float(coefficient != 0) for coefficient in coefficients], count, statistics, labels)
    return _combine(members, coefficients, 1.0, statistics, labels)


def interpolate(start: Weights, end: Weights, share: float, *, statistics: Statistics = "require-equal") -> Weights:
    """Return the point ``(1 - share) * start + share * end`` of the straight line between two models, in float64.

    Args:
        start: The point at ``share`` 0, which returns its very bits. Not changed.
        end: The point at ``share`` 1, likewise; the same names, shapes and dtypes.
        share: From 0 to 1.
        statistics: As in ``average``.

    Returns:
        Name -> new tensor. Integers are those of ``start`` (at 1, of ``end``).

    Raises:
        IncompatibleWeightsError: The models do not fit together.
        InvalidInputError: ``share`` is outside 0 to 1.
    """
    return mix((start, end), (1.0 - share, share), statistics=statistics)


def mix(members: Sequence[Weights], shares: Sequence[float], *, statistics: Statistics = "require-equal") -> Weights:
    """Return a point of the line, triangle or simplex between models: the sum of ``share * member`` in float64.

    Unlike ``average``, equal shares are no special case, so that the points of a path follow one formula.

    Args:
        members: Models with the same names, shapes and dtypes. Not changed.
        shares: One per member, none negative, summing to 1; a member with share 1 comes out bit for bit.
        statistics: As in ``average``.

    Returns:
        Name -> new tensor.

    Raises:
        IncompatibleWeightsError: The models do not fit together.
        InvalidInputError: The shares are not such.
    """
    if len(members) != len(shares) or not all(share >= 0 for share in shares) or not math.isclose(sum(shares), 1):
        raise InvalidInputError(
            f"the shares {list(shares)} must be one per model ({len(members)}), none negative, and sum to 1",
            kind="bad-coefficients",
        )
    return _combine(members, shares, 1.0, statistics, None).weights


class RunningAverage:
    """The uniform average of models that come one by one, as in a greedy soup.

    ``value()`` has the bits of ``average`` over the same models in the order in which they were added. To try a model
    and then add it with one reading, load it into a dict first.

    Args:
        statistics: As in ``average``.
    """

    def __init__(self, *, statistics: Statistics = "require-equal") -> None:
        _check_statistics(statistics)
        self._statistics = statistics
        self._forms: Mapping[str, TensorLike] = {}
        self._sums: dict[str, Accumulator] = {}
        self._count = 0
        self._complete = True

    @property
    def count(self) -> int:
        """How many models were added."""
        return self._count

    def add(self, weights: Weights) -> None:
        """Add a model.

        Args:
            weights: The same names, shapes and dtypes as the models before. Not changed, and not to be changed later:
                tensors that are equal in all models are held, not copied.

        Raises:
            IncompatibleWeightsError: The model does not fit to those before; the average stays as it is. After
                any other error the average cannot be used any more.
        """
        known = forms(weights)
        sums = self._fitting(known)
        equal = {name: _with(total.fork(), weights, name) for name, total in sums.items() if total.rule is Rule.EQUAL}
        _check_equal(name for name, total in equal.items() if total.differs)
        self._complete = False
        for name, total in sums.items():
            if name not in equal:
                _with(total, weights, name)
        self._sums, self._forms, self._count, self._complete = sums | equal, known, self._count + 1, True

    def mean_with(self, weights: Weights) -> Average:
        """Return what ``value`` would return after ``add(weights)``, and add nothing.

        Raises:
            IncompatibleWeightsError: The model does not fit to those before.
        """
        sums = self._fitting(forms(weights))
        return _results(sums, lambda name: _with(sums[name].fork(), weights, name), self._count + 1)

    def value(self) -> Average:
        """Return the average of the models that were added.

        Raises:
            InvalidInputError: None was added.
        """
        if not self._count:
            raise InvalidInputError("an average needs at least one model", kind="bad-coefficients")
        sums = self._fitting(self._forms)
        return _results(sums, sums.__getitem__, self._count)

    def _fitting(self, known: Mapping[str, TensorLike]) -> dict[str, Accumulator]:
        """Return the sums so far, if a model of this form fits to them."""
        if not self._complete:
            raise MlgitError("a running average cannot be used after an error while a model was added")
        if not self._count:
            return _accumulators(known, self._statistics)
        check_compatible({"the models before": self._forms, "the new model": known})
        return self._sums


def _combine(
    members: Sequence[Weights],
    coefficients: Sequence[float],
    divisor: float,
    statistics: Statistics,
    labels: Sequence[str] | None = None,
) -> Average:
    _check_statistics(statistics)
    known = [forms(member) for member in members]
    names = labels or [f"model {number}" for number in range(1, len(members) + 1)]
    check_compatible(dict(zip(names, known, strict=True)))
    sums = _accumulators(known[0], statistics)

    def summed(name: str) -> Accumulator:
        total = sums.pop(name)
        for member, coefficient in zip(members, coefficients, strict=True):
            if coefficient != 0:
                _with(total, member, name, coefficient)
        return total

    return _results(tuple(sums), summed, divisor)


def _accumulators(known: Mapping[str, TensorLike], statistics: Statistics) -> dict[str, Accumulator]:
    """Return an empty sum for each name, those that must be equal first."""
    sums = {name: Accumulator(rule_for(name, form.dtype, statistics), form) for name, form in sorted(known.items())}
    return dict(sorted(sums.items(), key=lambda item: item[1].rule is not Rule.EQUAL))


def _with(total: Accumulator, weights: Weights, name: str, coefficient: float = 1.0) -> Accumulator:
    """Add one model's tensor; stored ones tell by their ids whether they need to be read."""
    entries: Mapping[str, object] = getattr(weights, "entries", {})
    total.add(partial(weights.__getitem__, name), coefficient, getattr(entries.get(name), "id", None))
    return total


def _results(names: Iterable[str], summed: Callable[[str], Accumulator], divisor: float) -> Average:
    """Finish name by name, those that must be equal first."""
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
    _check_equal(unequal)
    return Average(dict(sorted(weights.items())), _notes(kept))


def _notes(kept: Sequence[str]) -> tuple[str, ...]:
    if not kept:
        return ()
    what = "1 tensor differs" if len(kept) == 1 else f"{len(kept)} tensors differ"
    return (f"{what} between the models and cannot be averaged; the first model's values are kept: {_listed(kept)}",)


def _check_equal(differing: Iterable[str]) -> None:
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


def _check_statistics(statistics: str) -> None:
    if statistics not in STATISTICS_RULES:
        raise InvalidInputError(
            f"no rule for statistics is named '{statistics}'",
            kind="unknown-statistics-rule",
            hint=did_you_mean(statistics, STATISTICS_RULES),
        )
