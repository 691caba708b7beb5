"""Predictions against a certificate's thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlgit.certification.definition import Certificate, Threshold
from mlgit.certification.metrics import METRICS
from mlgit.errors import CheckFailedError, InvalidInputError, NotFoundError, did_you_mean
from mlgit.objects.certificate import CheckResult

if TYPE_CHECKING:  # imports torch, and reading a certificate's result must not
    from mlgit.evaluation.score import Predictions


def judge(certificate: Certificate, predictions: Sequence[Predictions]) -> tuple[CheckResult, ...]:
    """Measure what the certificate asks for and compare it with the thresholds.

    A certificate is reached when every check passes. Because all of them must, a model that truly misses one limit
    passes by luck with probability at most (1 - confidence) / 2, however many thresholds there are, as far as the
    metric's interval keeps its promise; judged by ``point`` nothing is promised.

    Args:
        certificate: What to judge by.
        predictions: Of the commit on the certificate's split, one entry per domain.

    Returns:
        One check per threshold, in the file's order.

    Raises:
        InvalidInputError: No predictions, a domain without examples, or a domain twice.
        NotFoundError: A threshold names a domain that was not evaluated, or a metric that is gone.
        CheckFailedError: A probability or a metric is NaN or infinite. Such a model reaches no certificate, and no
            result can be stored, because JSON has no such number: a failed certificate without a result.
    """
    _check_predictions(predictions)
    chosen = [(threshold, _on(threshold, predictions)) for threshold in certificate.thresholds]
    _check_finite(certificate, predictions)
    return tuple(_check(certificate, threshold, parts) for threshold, parts in chosen)


def _check_predictions(predictions: Sequence[Predictions]) -> None:
    if not predictions:
        raise InvalidInputError("there are no predictions to judge", kind="empty-split")
    for index, part in enumerate(predictions):
        if not len(part):
            raise InvalidInputError(f"domain '{part.domain}' has no examples to judge", kind="empty-split")
        if part.domain in [earlier.domain for earlier in predictions[:index]]:
            raise InvalidInputError(f"domain '{part.domain}' was evaluated twice", kind="bad-split")


def _on(threshold: Threshold, predictions: Sequence[Predictions]) -> list[Predictions]:
    """Return the predictions a threshold is about."""
    parts = [part for part in predictions if threshold.domain in (None, part.domain)]
    if not parts:
        known = [part.domain for part in predictions]
        raise NotFoundError(
            f"the certificate names the domain '{threshold.domain}', which is not in its split",
            kind="unknown-domain",
            hint=did_you_mean(threshold.domain or "", known),
        )
    return parts


def _check_finite(certificate: Certificate, predictions: Sequence[Predictions]) -> None:
    for part in predictions:
        broken = int((~part.probabilities.isfinite()).any(dim=1).sum())
        if broken:
            raise CheckFailedError(
                f"certificate '{certificate.name}' is not reached: the model's output is NaN or infinite "
                f"on {broken} of {len(part)} examples of domain '{part.domain}'",
                kind="not-finite",
                hint="the weights are probably broken: compare them with an earlier commit by `mlgit diff`",
            )


def _check(certificate: Certificate, threshold: Threshold, parts: Sequence[Predictions]) -> CheckResult:
    metric = METRICS.get(threshold.metric)()
    value, interval = metric.value(parts), metric.interval(parts, certificate.confidence)
    if not all(math.isfinite(number) for number in (value, interval.low, interval.high)):
        raise CheckFailedError(
            f"certificate '{certificate.name}' is not reached: {threshold.metric} is {value}, "
            f"between {interval.low} and {interval.high}",
            kind="not-finite",
        )
    lower, upper = (value, value) if certificate.judge == "point" else (interval.low, interval.high)
    at_least = threshold.direction == "at_least"
    return CheckResult(
        metric=threshold.metric,
        domain=threshold.domain,
        value=value,
        low=interval.low,
        high=interval.high,
        examples=sum(len(part) for part in parts),
        direction=threshold.direction,
        threshold=threshold.limit,
        passed=lower >= threshold.limit if at_least else upper <= threshold.limit,
    )
