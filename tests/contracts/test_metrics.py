"""Every row of ``METRICS`` passes the contract of metrics."""

from __future__ import annotations

from mlgit.certification.metrics import METRICS
from mlgit.certification.metrics.accuracy import Accuracy, WorstDomainAccuracy
from mlgit.certification.metrics.calibration import CalibrationError
from mlgit.certification.metrics.likelihood import BrierScore, NegativeLogLikelihood
from mlgit.testing.metric import MetricContract


class TestAccuracy(MetricContract):
    metric = Accuracy


class TestWorstDomainAccuracy(MetricContract):
    metric = WorstDomainAccuracy


class TestCalibrationError(MetricContract):
    metric = CalibrationError


class TestNegativeLogLikelihood(MetricContract):
    metric = NegativeLogLikelihood


class TestBrierScore(MetricContract):
    metric = BrierScore


def test_every_row_is_under_contract():
    tested = {contract.metric.name for contract in MetricContract.__subclasses__()}
    assert tested == set(METRICS.names())
