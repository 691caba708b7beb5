"""From checks to what is stored, found and told."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgit.certification.definition import Certificate, parse_certificate
from mlgit.certification.judge import judge
from mlgit.certification.result import (
    ResultRef,
    build_result,
    describe,
    read_result_ref,
    require_passed,
    result_ref,
    results_prefix,
    verdict,
)
from mlgit.errors import CheckFailedError, InvalidInputError
from mlgit.objects.certificate import CertificateResult, CheckResult
from mlgit.objects.commit import Identity, TaskRef, Timestamp
from mlgit.objects.ids import BlobId, CommitId, ManifestId
from mlgit.storage.refs import check_ref_name
from mlgit.testing.metric import certain_predictions

COMMIT, MANIFEST = CommitId("c" * 64), ManifestId("d" * 64)
TEXT = """
name = "digits-shifts"
issuer = "Office for Digits"
task = "digits"
split = "test"
[[threshold]]
metric = "accuracy"
at_least = 0.8
[[threshold]]
metric = "calibration-error"
at_most = 0.05
"""
CERTIFICATE = parse_certificate(TEXT.encode(), "c.toml")


def result(right: int, wrong: int, certificate: Certificate = CERTIFICATE) -> CertificateResult:
    return build_result(
        certificate,
        judge(certificate, certain_predictions([right], [wrong])),
        commit=COMMIT,
        manifest=MANIFEST,
        task=TaskRef("digits", "e" * 64),
        code_version="0.1.0",
        examiner=Identity("Ada", "ada@example.org"),
        time=Timestamp(1_700_000_000, 60),
    )


def check(**changes: object) -> CheckResult:
    base = CheckResult(
        metric="accuracy",
        domain="blur",
        value=0.93,
        low=0.89861,
        high=0.95418,
        examples=6,
        direction="at_least",
        threshold=0.9,
        passed=False,
    )
    return dataclasses.replace(base, **changes)


def test_a_result_carries_the_certificate_and_survives_storage():
    built = result(1000, 0)
    assert built.passed
    assert (built.certificate, built.issuer, built.split) == ("digits-shifts", "Office for Digits", "test")
    assert (built.judge, built.confidence, built.definition) == ("lower-bound", 0.95, CERTIFICATE.definition)
    assert CertificateResult.decode(built.encode()) == built


def test_one_failed_check_fails_the_certificate():
    built = result(900, 100)  # accurate enough, but certain when wrong
    assert [item.passed for item in built.checks] == [True, False]
    assert not built.passed


def test_checks_of_another_certificate_are_refused():
    checks = judge(CERTIFICATE, certain_predictions([10], [0]))
    facts = {
        "commit": COMMIT,
        "manifest": MANIFEST,
        "task": TaskRef("digits", "e" * 64),
        "code_version": "0.1.0",
        "examiner": Identity("Ada", ""),
        "time": Timestamp(0),
    }
    for wrong in (checks[:1], checks[::-1], (), (dataclasses.replace(checks[0], threshold=0.1), checks[1])):
        with pytest.raises(InvalidInputError, match="not those that certificate 'digits-shifts' asks for"):
            build_result(CERTIFICATE, wrong, **facts)


def test_the_verdict_counts_the_failed_checks():
    assert verdict(result(1000, 0)) == "digits-shifts passed"
    assert verdict(result(900, 100)) == "digits-shifts failed (1 of 2 checks)"
    assert verdict(result(500, 500)) == "digits-shifts failed (2 of 2 checks)"


@pytest.mark.parametrize(
    ("judged_by", "changes", "text"),
    [
        (
            "lower-bound",
            {},
            "accuracy on 'blur' is 0.9300 (0.8986 to 0.9542, 6 examples); the lower bound must be at least 0.9: failed",
        ),
        (
            "lower-bound",
            {"domain": None, "direction": "at_most", "threshold": 0.96, "passed": True},
            "accuracy is 0.9300 (0.8986 to 0.9542, 6 examples); the upper bound must be at most 0.96: passed",
        ),
        (
            "point",
            {"passed": True},
            "accuracy on 'blur' is 0.9300 (0.8986 to 0.9542, 6 examples); the value must be at least 0.9: passed",
        ),
    ],
)
def test_a_check_is_told_in_one_line(judged_by: str, changes: dict[str, object], text: str):
    assert describe(check(**changes), judged_by) == text


def test_a_near_miss_is_told_with_enough_digits_to_see_it():
    assert "(0.899999 to" in describe(check(low=0.8999990001), "lower-bound")
    assert "(0.9000 to" in describe(check(low=0.9, passed=True), "lower-bound")


def test_a_failed_certificate_is_an_error_that_says_why():
    require_passed(result(1000, 0))
    with pytest.raises(CheckFailedError) as caught:
        require_passed(result(900, 100))
    assert caught.value.kind == "certificate-not-reached"
    assert caught.value.message.startswith(
        "cccccccccc does not reach certificate 'digits-shifts': calibration-error is"
    )
    assert "accuracy" not in caught.value.message


@given(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True).filter(lambda name: ".." not in name),
    st.text("0123456789abcdef", min_size=64, max_size=64),
)
def test_a_ref_name_says_what_it_is_about(name: str, definition: str):
    certificate = parse_certificate(TEXT.replace("digits-shifts", name).encode(), "c.toml")
    ref = result_ref(COMMIT, certificate.name, BlobId(definition))
    check_ref_name(ref)
    assert ref.startswith(results_prefix(COMMIT))
    assert read_result_ref(ref) == ResultRef(COMMIT, name, definition[:12])


@pytest.mark.parametrize(
    "name", ["refs/heads/main", f"refs/certificates/{'c' * 63}/a-{'0' * 12}", "refs/certificates/"]
)
def test_another_name_is_no_result_ref(name: str):
    assert read_result_ref(name) is None


def test_another_text_under_the_same_name_is_another_result():
    other = parse_certificate(TEXT.replace("0.8", "0.1").encode(), "c.toml")
    names = {result_ref(COMMIT, item.name, item.definition) for item in (CERTIFICATE, other)}
    assert len(names) == 2


def test_reading_verdicts_does_not_import_torch():
    code = "import sys, mlgit.certification.result, mlgit.certification.judge; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
