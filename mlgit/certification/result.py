"""Checks into a record that can be stored, found again and told to people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mlgit.certification.definition import Certificate
from mlgit.errors import CheckFailedError, InvalidInputError
from mlgit.objects.certificate import CertificateResult, CheckResult
from mlgit.objects.commit import Identity, TaskRef, Timestamp
from mlgit.objects.ids import BlobId, CommitId, ManifestId

REF_PREFIX = "refs/certificates/"
_DEFINITION_DIGITS = 12
_REF = re.compile(rf"{REF_PREFIX}([0-9a-f]{{64}})/(.+)-([0-9a-f]{{{_DEFINITION_DIGITS}}})")


@dataclass(frozen=True, slots=True)
class ResultRef:
    """What the name of a result's ref says.

    Attributes:
        commit: The commit that was examined.
        certificate: The certificate's name.
        definition: The first 12 digits of the id of the certificate's file.
    """

    commit: CommitId
    certificate: str
    definition: str


def build_result(
    certificate: Certificate,
    checks: Sequence[CheckResult],
    *,
    commit: CommitId,
    manifest: ManifestId,
    task: TaskRef,
    code_version: str,
    examiner: Identity,
    time: Timestamp,
) -> CertificateResult:
    """Put together what is stored for one commit and one certificate.

    Args:
        certificate: What was judged by; its ``source`` must be stored as a blob with the result.
        checks: What ``judge`` returned for it.
        commit: The commit that was examined.
        manifest: Its weights.
        task: The task whose data were used.
        code_version: Version of mlgit that evaluated.
        examiner: Who ran it.
        time: When.

    Raises:
        InvalidInputError: The checks are not those of the certificate's thresholds.
    """
    asked = [(item.metric, item.domain, item.direction, item.limit) for item in certificate.thresholds]
    if [(check.metric, check.domain, check.direction, check.threshold) for check in checks] != asked:
        raise InvalidInputError(
            f"the checks are not those that certificate '{certificate.name}' asks for", kind="wrong-checks"
        )
    return CertificateResult(
        commit=commit,
        manifest=manifest,
        certificate=certificate.name,
        definition=certificate.definition,
        issuer=certificate.issuer,
        task=task,
        split=certificate.split,
        judge=certificate.judge,
        confidence=certificate.confidence,
        checks=tuple(checks),
        passed=all(check.passed for check in checks),
        code_version=code_version,
        examiner=examiner,
        time=time,
    )


def results_prefix(commit: CommitId) -> str:
    """Return what the names of all refs to results of a commit begin with."""
    return f"{REF_PREFIX}{commit}/"


def result_ref(commit: CommitId, certificate: str, definition: BlobId) -> str:
    """Return the name of the ref that holds the newest result of one certificate on one commit.

    Args:
        commit: The commit that was examined.
        certificate: The certificate's name.
        definition: The id of the certificate's file: another text under the same name is another certificate.
    """
    return f"{results_prefix(commit)}{certificate}-{definition[:_DEFINITION_DIGITS]}"


def read_result_ref(name: str) -> ResultRef | None:
    """Return what ``result_ref`` was given, or None when the name is not of its form."""
    found = _REF.fullmatch(name)
    return None if found is None else ResultRef(CommitId(found[1]), found[2], found[3])


def verdict(result: CertificateResult) -> str:
    """Return the verdict in a few words: ``digits-shifts passed``, ``digits-shifts failed (1 of 3 checks)``."""
    if result.passed:
        return f"{result.certificate} passed"
    failed = sum(not check.passed for check in result.checks)
    return f"{result.certificate} failed ({failed} of {len(result.checks)} checks)"


def describe(check: CheckResult, judge: str) -> str:
    """Return what was measured and why that passes or fails, in one line.

    Args:
        check: The check.
        judge: ``lower-bound`` or ``point``, as in the certificate.

    Returns:
        ``accuracy on 'blur' is 0.93 (0.8986 to 0.9542, 359 examples); the lower bound must be at least 0.9: failed``,
        the numbers with at least four decimals.
    """
    where = "" if check.domain is None else f" on '{check.domain}'"
    at_least = check.direction == "at_least"
    bound = "value" if judge == "point" else "lower bound" if at_least else "upper bound"
    digits = _digits(check)
    numbers = [f"{number:.{digits}f}" for number in (check.value, check.low, check.high)]
    return (
        f"{check.metric}{where} is {numbers[0]} ({numbers[1]} to {numbers[2]}, {check.examples} examples); "
        f"the {bound} must be {'at least' if at_least else 'at most'} {check.threshold!r}: "
        f"{'passed' if check.passed else 'failed'}"
    )


def require_passed(result: CertificateResult) -> None:
    """Return if the commit reached the certificate.

    Raises:
        CheckFailedError: It did not; the failed checks are described.
    """
    failed = [describe(check, result.judge) for check in result.checks if not check.passed]
    if failed:
        raise CheckFailedError(
            f"{result.commit.short} does not reach certificate '{result.certificate}': {'; '.join(failed)}",
            kind="certificate-not-reached",
        )


def _digits(check: CheckResult) -> int:
    """Return how many decimals tell the numbers from the threshold, at least 4: no ``0.9000 is not at least 0.9``."""
    gaps = [abs(number - check.threshold) for number in (check.value, check.low, check.high)]
    return next((digits for digits in range(4, 17) if all(gap == 0 or gap >= 0.5 * 10.0**-digits for gap in gaps)), 17)
