"""How sure a measured number is: exact binomial intervals and the bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mlgit.errors import InvalidInputError

_RELATIVE_EPSILON = 2.0**-52
_TINY = 1e-300
_CHUNK_ELEMENTS = 1 << 22


@dataclass(frozen=True, slots=True)
class Interval:
    """A range that holds the true value with the stated confidence.

    Attributes:
        low: Lower end, in the unit of the metric.
        high: Upper end.
        confidence: Coverage asked for, between 0 and 1.
    """

    low: float
    high: float
    confidence: float


def binomial_interval(correct: int, n: int, confidence: float = 0.95) -> Interval:
    """Return the exact two-sided interval of a share, ``correct`` of ``n``.

    The low end is the share at which ``correct`` or more successes have probability (1 - confidence) / 2, the high end
    the one at which ``correct`` or fewer have it. Coverage is never below ``confidence``.

    Args:
        correct: Number of successes, 0 to ``n``.
        n: Number of independent trials, at least 1.
        confidence: Between 0 and 1, both excluded.

    Returns:
        The interval, within [0, 1]; absolute error of the ends below 1e-9.

    Raises:
        InvalidInputError: A number is out of its range.

    Reference:
        Clopper and Pearson, Biometrika 26 (1934).
    """
    if n < 1 or not 0 <= correct <= n:
        raise InvalidInputError(
            f"{correct} of {n} is not a share",
            kind="bad-count",
            hint="the count must lie between 0 and the number of trials, which is at least 1",
        )
    _check_confidence(confidence)
    tail = (1.0 - confidence) / 2
    low = 0.0 if correct == 0 else _beta_quantile(tail, correct, n - correct + 1)
    high = 1.0 if correct == n else 1.0 - _beta_quantile(tail, n - correct, correct + 1)
    return Interval(low, high, confidence)


def _check_confidence(confidence: float) -> None:
    if not 0.0 < confidence < 1.0:
        raise InvalidInputError(
            f"confidence {confidence} is not between 0 and 1", kind="bad-confidence", hint="0.95 is usual"
        )


def _beta_quantile(probability: float, a: float, b: float) -> float:
    """Return x with I_x(a, b) = probability, by bisection: slow, and impossible to send astray."""
    low, high = 0.0, 1.0
    while high - low > 4 * _RELATIVE_EPSILON * high:
        middle = (low + high) / 2
        if _incomplete_beta(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b) for 0 < x < 1."""
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast only on the near side of the mean
        return 1.0 - _incomplete_beta(1.0 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) / a * _beta_fraction(x, a, b)


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Evaluate the continued fraction of the incomplete beta function by the modified Lentz method."""
    numerator, denominator = 1.0, _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    denominator = 1.0 / denominator
    value = denominator
    for m in range(1, 20 + 20 * math.isqrt(int(max(a, b)) + 1)):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        factor = 1.0
        for term in (even, odd):
            denominator = 1.0 / _away_from_zero(1.0 + term * denominator)
            numerator = _away_from_zero(1.0 + term / numerator)
            factor = numerator * denominator
            value *= factor
        if abs(factor - 1.0) <= _RELATIVE_EPSILON:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def bootstrap_interval(
    metric: Callable[..., torch.Tensor],
    *arrays: torch.Tensor,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return the percentile bootstrap interval of any metric.

    Examples are drawn with replacement, together from all arrays; many resamples are computed in one call.

    Args:
        metric: Takes the arrays with a leading resample dimension, shapes (R, N, ...), and returns (R,) values.
        arrays: One entry per example along the first dimension, all of the same length N >= 1; on the CPU.
        confidence: Between 0 and 1, both excluded.
        resamples: How many, at least 2.
        seed: Same seed, same interval; the global random state is neither read nor changed.

    Returns:
        The interval between the lower and upper (1 - confidence) / 2 quantile of the metric over the resamples.

    Raises:
        InvalidInputError: No examples, different lengths, a bad confidence or number of resamples, a metric that
            returns another shape or a value that is not finite.

    Reference:
        Efron, Annals of Statistics 7 (1979).
    """
    count = _check_arrays(arrays)
    _check_confidence(confidence)
    if resamples < 2:
        raise InvalidInputError(f"{resamples} resamples are too few", kind="bad-resamples", hint="1000 is usual")
    generator = torch.Generator().manual_seed(seed)
    widest = max(array[0].numel() for array in arrays)
    chunk = max(1, _CHUNK_ELEMENTS // (count * max(1, widest)))
    values: list[torch.Tensor] = []
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        picked = torch.randint(count, (rows, count), generator=generator)
        values.append(_measured(metric, [array[picked] for array in arrays], rows))
    tail = (1.0 - confidence) / 2
    ends = torch.quantile(torch.cat(values), torch.tensor([tail, 1.0 - tail], dtype=torch.float64))
    return Interval(float(ends[0]), float(ends[1]), confidence)


def _check_arrays(arrays: tuple[torch.Tensor, ...]) -> int:
    """Return the common length of the arrays."""
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1 or 0 in lengths:
        raise InvalidInputError(
            f"a bootstrap needs arrays of one common length of at least 1, got lengths {sorted(lengths)}",
            kind="bad-sample",
            hint="give one entry per example in every array",
        )
    return lengths.pop()


def _measured(metric: Callable[..., torch.Tensor], arrays: list[torch.Tensor], rows: int) -> torch.Tensor:
    """Return the metric of each resample as float64 (rows,)."""
    values = metric(*arrays).to(torch.float64)
    if tuple(values.shape) != (rows,) or not bool(values.isfinite().all()):
        raise InvalidInputError(
            f"the metric returned shape {tuple(values.shape)} or a value that is not finite for {rows} resamples",
            kind="bad-metric",
            hint="a metric takes arrays (R, N, ...) and returns R finite values",
        )
    return values
