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
from collections.abc import Iterator, Mapping, Sequence

import torch

from mlgit.errors import InvalidInputError
from mlgit.weights.accumulate import Accumulator, Rule, rule_for
from mlgit.weights.compatibility import MAX_SHOWN, check_compatible
from mlgit.weights.running import RunningAverage
from mlgit.weights.sums import STATISTICS_RULES, Average, Statistics, accumulators, add_to, check_statistics, finish
from mlgit.weights.types import Weights, forms

__all__ = [
    "STATISTICS_RULES",
    "Average",
    "LazyAverage",
    "RunningAverage",
    "Statistics",
    "average",
    "interpolate",
    "lazy_average",
    "mix",
]


class LazyAverage(Mapping[str, torch.Tensor]):
    """An average whose tensors are computed when they are asked for, so that it need not fit into memory.

    A look-up reads the members' tensors of one name, one after the other; in memory are two of them and their float64
    sum. Tensors that are not averaged are read and compared when the object is made. See ``lazy_average``.

    Args:
        members: Models. Not to be changed as long as this is used.
        factors: One per member; members with factor 0 are not read.
        divisor: What the sum of ``factor * member`` is divided by.
        statistics: As in ``average``.
        labels: As in ``average``.

    Attributes:
        entries: Name -> dtype and shape.
        notes: What the average could not do: which integers differed. Empty mostly.
    """

    def __init__(
        self,
        members: Sequence[Weights],
        factors: Sequence[float],
        divisor: float,
        statistics: Statistics,
        labels: Sequence[str] | None,
    ) -> None:
        check_statistics(statistics)
        known = [forms(member) for member in members]
        names = labels or [f"model {number}" for number in range(1, len(members) + 1)]
        check_compatible(dict(zip(names, known, strict=True)))
        self.entries = dict(sorted(known[0].items()))
        self._terms = [(member, factor) for member, factor in zip(members, factors, strict=True) if factor != 0]
        self._divisor = divisor
        self._statistics = statistics
        fixed = [name for name, total in accumulators(self.entries, statistics).items() if total.rule is not Rule.MEAN]
        self._fixed, self.notes = finish(fixed, self._sum, divisor)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._fixed[name].clone() if name in self._fixed else self._sum(name).value(self._divisor)

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def _sum(self, name: str) -> Accumulator:
        form = self.entries[name]
        total = Accumulator(rule_for(name, form.dtype, self._statistics), form)
        for member, factor in self._terms:
            add_to(total, member, name, factor)
        return total


def lazy_average(
    members: Sequence[Weights],
    coefficients: Sequence[float],
    *,
    statistics: Statistics = "require-equal",
    labels: Sequence[str] | None = None,
) -> LazyAverage:
    """Average models; arguments, bits and errors are those of ``average``, but the tensors are computed on demand."""
    if len(members) != len(coefficients):
        raise InvalidInputError(f"{len(members)} models have {len(coefficients)} coefficients", kind="bad-coefficients")
    if not all(map(math.isfinite, coefficients)) or not any(coefficients):
        raise InvalidInputError(
            f"the coefficients {list(coefficients)[:MAX_SHOWN]} must be finite and not all zero",
            kind="bad-coefficients",
        )
    count = sum(coefficient != 0 for coefficient in coefficients)
    if all(coefficient == 0 or math.isclose(coefficient, 1 / count, rel_tol=1e-12) for coefficient in coefficients):
        return LazyAverage(
            members, [float(coefficient != 0) for coefficient in coefficients], count, statistics, labels
        )
    return LazyAverage(members, coefficients, 1.0, statistics, labels)


def average(
    members: Sequence[Weights],
    coefficients: Sequence[float],
    *,
    statistics: Statistics = "require-equal",
    labels: Sequence[str] | None = None,
) -> Average:
    """Average models, tensor by tensor; each tensor is read once at most.

    The order of ``members`` decides the last bits of F64 results and which integers are kept, so callers bring it into
    a canonical order first. In memory are the result, and of one name two tensors and their float64 sum.

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
    lazy = lazy_average(members, coefficients, statistics=statistics, labels=labels)
    return Average(dict(lazy), lazy.notes)


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
    return dict(LazyAverage(members, shares, 1.0, statistics, None))
