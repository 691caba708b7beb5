"""What a certificate can measure; each row of ``METRICS`` is one metric, loaded when it is used.

A metric turns predictions into one number and an interval; it knows neither models nor data nor thresholds. Names are
written into certificates: add names, never give one to another definition.
"""

from __future__ import annotations

from mlgit.certification.metrics.metric import Metric
from mlgit.registry import Registry

METRICS: Registry[type[Metric]] = Registry(
    noun="metric",
    group="mlgit.metrics",
    builtin={
        "accuracy": "mlgit.certification.metrics.accuracy:Accuracy",
        "brier-score": "mlgit.certification.metrics.likelihood:BrierScore",
        "calibration-error": "mlgit.certification.metrics.calibration:CalibrationError",
        "negative-log-likelihood": "mlgit.certification.metrics.likelihood:NegativeLogLikelihood",
        "worst-domain-accuracy": "mlgit.certification.metrics.accuracy:WorstDomainAccuracy",
    },
)

__all__ = ["METRICS", "Metric"]
