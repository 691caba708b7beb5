"""The result of a certificate on a commit: what was measured, on which data, against which thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, cast

from mlgit.errors import CorruptObjectError, InvalidInputError
from mlgit.objects.commit import Identity, TaskRef, Timestamp, read_identity, read_time
from mlgit.objects.encoding import Fields, JsonValue
from mlgit.objects.ids import BlobId, CertificateId, CommitId, ManifestId
from mlgit.objects.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One threshold and what was measured against it.

    Attributes:
        metric: Registered name: ``accuracy``.
        domain: The domain it was measured on, or None for all of the split.
        value: The measured value; the unit is the metric's.
        low: Lower end of the confidence interval.
        high: Upper end of it.
        examples: How many examples it was measured on.
        direction: ``at_least`` or ``at_most``.
        threshold: The bar.
        passed: Whether the bar is met, as the certificate judges.
    """

    metric: str
    domain: str | None
    value: float
    low: float
    high: float
    examples: int
    direction: str
    threshold: float
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateResult(Record):
    """What a certificate said of a commit.

    Attributes:
        commit: The commit that was examined.
        manifest: Its weights.
        certificate: The certificate's name.
        definition: The certificate file itself.
        issuer: Who wrote the certificate, as it says.
        task: The task whose data were used; the digest covers them.
        split: ``test`` or ``validation``.
        judge: ``lower-bound`` or ``point``: what is compared with the thresholds.
        confidence: Level of the intervals, between 0 and 1.
        checks: One for each threshold, in the file's order.
        passed: Whether all checks passed.
        code_version: Version of mlgit that evaluated.
        examiner: Who ran it.
        time: When.
    """

    kind = "certificate"

    commit: CommitId
    manifest: ManifestId
    certificate: str
    definition: BlobId
    issuer: str
    task: TaskRef
    split: str
    judge: str
    confidence: float
    checks: tuple[CheckResult, ...]
    passed: bool
    code_version: str
    examiner: Identity
    time: Timestamp

    @property
    def id(self) -> CertificateId:
        """The result's id."""
        return cast("CertificateId", Record.id.__get__(self))

    def to_json(self) -> Mapping[str, JsonValue]:
        """Return the content as JSON."""
        return {
            "commit": self.commit,
            "manifest": self.manifest,
            "certificate": self.certificate,
            "definition": self.definition,
            "issuer": self.issuer,
            "task": {"name": self.task.name, "digest": self.task.digest},
            "split": self.split,
            "judge": self.judge,
            "confidence": self.confidence,
            "checks": [
                {
                    "metric": check.metric,
                    "domain": check.domain,
                    "value": check.value,
                    "low": check.low,
                    "high": check.high,
                    "examples": check.examples,
                    "direction": check.direction,
                    "threshold": check.threshold,
                    "passed": check.passed,
                }
                for check in self.checks
            ],
            "passed": self.passed,
            "code_version": self.code_version,
            "examiner": {"name": self.examiner.name, "email": self.examiner.email},
            "time": {"seconds": self.time.seconds, "offset_minutes": self.time.offset_minutes},
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Return the result that ``to_json`` described."""
        task = fields.fields("task")
        try:
            return cls(
                commit=CommitId(fields.text("commit")),
                manifest=ManifestId(fields.text("manifest")),
                certificate=fields.text("certificate"),
                definition=BlobId(fields.text("definition")),
                issuer=fields.text("issuer"),
                task=TaskRef(task.text("name"), task.text("digest")),
                split=fields.text("split"),
                judge=fields.text("judge"),
                confidence=fields.number("confidence"),
                checks=tuple(_check(item) for item in fields.items("checks")),
                passed=fields.flag("passed"),
                code_version=fields.text("code_version"),
                examiner=read_identity(fields.fields("examiner")),
                time=read_time(fields.fields("time")),
            )
        except InvalidInputError as error:
            raise CorruptObjectError(f"a certificate result is not valid: {error.message}") from error


def _check(fields: Fields) -> CheckResult:
    return CheckResult(
        metric=fields.text("metric"),
        domain=fields.optional_text("domain"),
        value=fields.number("value"),
        low=fields.number("low"),
        high=fields.number("high"),
        examples=fields.integer("examples"),
        direction=fields.text("direction"),
        threshold=fields.number("threshold"),
        passed=fields.flag("passed"),
    )
