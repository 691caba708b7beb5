"""A certificate file: which task and split to evaluate, and which thresholds a commit must reach there.

::

    name = "digits-shifts"
    task = "digits"
    split = "test"

    [[threshold]]
    metric = "accuracy"
    at_least = 0.9
"""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from mlgit.certification.metrics import METRICS, Metric
from mlgit.certification.table import Table, refuse, shown
from mlgit.errors import InvalidInputError, MlgitError, NotFoundError
from mlgit.fileio import read_file
from mlgit.objects.commit import TaskRef
from mlgit.objects.ids import BlobId, blob_id

SPLITS = ("test", "validation")
JUDGES = ("lower-bound", "point")
DIRECTIONS = ("at_least", "at_most")
DEFAULT_CONFIDENCE = 0.95
LOWEST_CONFIDENCE, HIGHEST_CONFIDENCE = 0.5, 0.999
"""A higher level cannot be read off 1,000 resamples, a lower one is no confidence."""
MAX_BYTES = 2**18

_KEYS = ("name", "issuer", "task", "task_digest", "split", "judge", "confidence", "threshold")
_THRESHOLD_KEYS = ("metric", "domain", *DIRECTIONS)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """One bar a commit must reach.

    Attributes:
        metric: Registered name.
        domain: The domain to measure on, or None for all of the split.
        direction: ``at_least`` or ``at_most``.
        limit: The bar, in the metric's unit and range.
    """

    metric: str
    domain: str | None
    direction: str
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a certificate file says; made by ``parse_certificate``, which has checked all of it.

    Attributes:
        name: 1 to 100 letters, digits, ``.``, ``_`` and ``-``; it becomes part of a ref's name.
        issuer: Who wrote it, in their own words; may be empty.
        task: Name of the task whose data are used.
        task_digest: The digest the task must have, which covers data and test domain; None accepts any.
        split: ``test``: the test domain. ``validation``: the ID validation split.
        judge: ``lower-bound``: the unfavourable end of the confidence interval is compared with each limit.
            ``point``: the measured value is.
        confidence: Level of the two-sided intervals, 0.5 to 0.999.
        thresholds: At least one; no metric, domain and direction stand twice.
        source: The file's bytes, kept so that a result can be repeated.
    """

    name: str
    issuer: str
    task: str
    task_digest: str | None
    split: str
    judge: str
    confidence: float
    thresholds: tuple[Threshold, ...]
    source: bytes

    @property
    def definition(self) -> BlobId:
        """The id of the file's bytes."""
        return blob_id([self.source])


def read_certificate(path: Path) -> Certificate:
    """Read a certificate file.

    Raises:
        NotFoundError: There is no such file, or the file names a metric that does not exist.
        InvalidInputError: Not a certificate; all problems are named.
        FileSystemError: The operating system refused to read it.
    """
    if path.exists() and not path.is_file():
        raise InvalidInputError(f"certificate {shown(path)} is not a file", kind="bad-certificate")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidInputError(
                f"certificate {shown(path)} has more than {MAX_BYTES} bytes", kind="bad-certificate"
            )
        return parse_certificate(read_file(path), str(path))
    except FileNotFoundError as error:
        raise NotFoundError(
            f"there is no certificate file {shown(path)}", kind="no-such-file", hint="check the path"
        ) from error


def parse_certificate(data: bytes, source: str) -> Certificate:
    """Read a certificate from the bytes of its file.

    Args:
        data: UTF-8 TOML.
        source: What to call the file in errors: its path, or the name of a blob.

    Raises:
        NotFoundError: All that is wrong are metrics that do not exist.
        InvalidInputError: Not TOML, or not a certificate; all problems are named together.
    """
    problems: list[MlgitError] = []
    top = Table(_read_toml(data, source), "", problems)
    top.only(_KEYS)
    confidence = top.number("confidence", LOWEST_CONFIDENCE, HIGHEST_CONFIDENCE, DEFAULT_CONFIDENCE)
    certificate = Certificate(
        name=_matching(
            top, "name", _NAME, "1 to 100 letters, digits, '.', '_' or '-', beginning with one of the first two"
        ),
        issuer=top.text("issuer", ""),
        task=top.text("task"),
        task_digest=_matching(top, "task_digest", _DIGEST, "64 lower-case hexadecimal digits", "") or None,
        split=top.choice("split", SPLITS),
        judge=top.choice("judge", JUDGES, "lower-bound"),
        confidence=confidence or DEFAULT_CONFIDENCE,
        thresholds=_thresholds(top),
        source=bytes(data),
    )
    refuse(problems, source)
    return certificate


def check_data(certificate: Certificate, task: TaskRef) -> None:
    """Refuse to judge on other data than the certificate means.

    Args:
        certificate: What to judge by.
        task: The task whose data are at hand.

    Raises:
        InvalidInputError: Another task, or a task whose digest is not the certificate's.
    """
    if task.name != certificate.task:
        raise InvalidInputError(
            f"certificate '{certificate.name}' is about task '{certificate.task}', not '{task.name}'", kind="wrong-task"
        )
    if certificate.task_digest not in (None, task.digest):
        raise InvalidInputError(
            f"certificate '{certificate.name}' is about a task with digest {certificate.task_digest}, "
            f"but task '{task.name}' has {task.digest}",
            kind="different-data",
            hint="use the issuer's files, kind of task and test domain; `mlgit task show NAME --json` gives the digest",
        )


def _read_toml(data: bytes, source: str) -> dict[str, object]:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, absurd numbers, absurd nesting
        reason = str(error) if isinstance(error, ValueError) else "nested too deeply"
        raise InvalidInputError(
            f"certificate {shown(source)} is not readable TOML: {reason}", kind="bad-certificate"
        ) from error


def _matching(table: Table, key: str, pattern: re.Pattern[str], meaning: str, default: str | None = None) -> str:
    value = table.text(key, default)
    if value and not pattern.fullmatch(value):
        table.report(f"'{key}' is {shown(value)}, not {meaning}")
    return value


def _thresholds(top: Table) -> tuple[Threshold, ...]:
    tables = top.tables("threshold")
    if not tables and not top.values.get("threshold"):
        top.report("no threshold is given", hint="add a [[threshold]] with a metric and at_least or at_most")
    found: dict[tuple[str, str | None, str], int] = {}
    thresholds = []
    for index, table in enumerate(tables, 1):
        threshold = _threshold(table)
        if threshold is None:
            continue
        thresholds.append(threshold)
        first = found.setdefault((threshold.metric, threshold.domain, threshold.direction), index)
        if first != index:
            table.report(f"the same metric, domain and direction as threshold {first}")
    return tuple(thresholds)


def _threshold(table: Table) -> Threshold | None:
    """Return what a threshold's table says, or None when a problem was reported."""
    before = len(table.problems)
    table.only(_THRESHOLD_KEYS)
    name = table.text("metric")
    metric = _metric(table, name)
    domain = table.text("domain") if "domain" in table.values else None
    if metric is not None and metric.compares_domains and domain is not None:
        table.report(f"'{name}' compares domains and takes no 'domain'")
    direction, limit = _limit(table, metric)
    if limit is None or len(table.problems) > before:
        return None
    return Threshold(metric=name, domain=domain, direction=direction, limit=limit)


def _metric(table: Table, name: str) -> type[Metric] | None:
    if not name:
        return None
    try:
        return METRICS.get(name)
    except MlgitError as error:  # unknown, or of a package that is broken
        table.report(error)
        return None


def _limit(table: Table, metric: type[Metric] | None) -> tuple[str, float | None]:
    """Return direction and limit; the limit is None when a problem was reported."""
    given = [direction for direction in DIRECTIONS if direction in table.values]
    if len(given) != 1:
        table.report(
            "both 'at_least' and 'at_most' are given" if given else "neither 'at_least' nor 'at_most' is given",
            hint="a threshold has one of them; write two thresholds for a range",
        )
        return "", None
    low, high = metric.range if metric is not None else (-math.inf, math.inf)
    return given[0], table.number(given[0], low, high)
