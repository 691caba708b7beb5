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
from collections.abc import Sequence

from mlgit.errors import InvalidInputError
from mlgit.weights.compatibility import MAX_SHOWN
from mlgit.weights.lazy_average import LazyAverage
from mlgit.weights.running import RunningAverage
from mlgit.weights.sums import STATISTICS_RULES, Average, Statistics
from mlgit.weights.types import Weights

__all__ = [
    "STATISTICS_RULES",
    "Average",
    "LazyAverage",
    "RunningAverage",
    "Statistics",
    "average",
    "interpolate",
    "lazy_average",
    "lazy_mix",
    "mix",
]


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
    a canonical order first. ``lazy_average`` never has the whole result in memory.

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
    return Average(dict(lazy.items()), lazy.notes)


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
    return dict(lazy_mix(members, shares, statistics=statistics).items())


def lazy_mix(
    members: Sequence[Weights],
    shares: Sequence[float],
    *,
    statistics: Statistics = "require-equal",
    labels: Sequence[str] | None = None,
) -> LazyAverage:
    """Mix models; arguments, bits and errors are those of ``mix``, but the tensors are computed on demand.

    ``labels`` are as in ``average``.
    """
    if len(members) != len(shares) or not all(share >= 0 for share in shares) or not math.isclose(sum(shares), 1):
        raise InvalidInputError(
            f"the shares {list(shares)} must be one per model ({len(members)}), none negative, and sum to 1",
            kind="bad-coefficients",
        )
    return LazyAverage(members, shares, 1.0, statistics, labels)
