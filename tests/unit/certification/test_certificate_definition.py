"""Certificate files: what is read from a good one, and the one clear error of every bad one."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgit.certification.definition import (
    MAX_BYTES,
    Certificate,
    Threshold,
    check_data,
    parse_certificate,
    read_certificate,
)
from mlgit.errors import InvalidInputError, MlgitError, NotFoundError
from mlgit.objects.commit import TaskRef
from mlgit.objects.ids import blob_id

DIGEST = "0123456789abcdef" * 4
GOOD = f"""
name = "digits-shifts"
issuer = "Office for Digits"
task = "digits"
task_digest = "{DIGEST}"
split = "test"
judge = "point"
confidence = 0.9

[[threshold]]
metric = "accuracy"
at_least = 0.9

[[threshold]]
metric = "accuracy"
domain = "noise"
at_least = 1

[[threshold]]
metric = "calibration-error"
at_most = 0.05
"""
SHORT = 'name = "c"\ntask = "digits"\nsplit = "validation"\n'
BAR = '[[threshold]]\nmetric = "accuracy"\nat_least = 0.5\n'


def parse(text: str) -> Certificate:
    return parse_certificate(text.encode(), "c.toml")


def failure(text: str) -> MlgitError:
    with pytest.raises(MlgitError) as caught:
        parse(text)
    return caught.value


def test_every_field_of_a_full_file_is_read():
    assert parse(GOOD) == Certificate(
        name="digits-shifts",
        issuer="Office for Digits",
        task="digits",
        task_digest=DIGEST,
        split="test",
        judge="point",
        confidence=0.9,
        thresholds=(
            Threshold(metric="accuracy", domain=None, direction="at_least", limit=0.9),
            Threshold(metric="accuracy", domain="noise", direction="at_least", limit=1.0),
            Threshold(metric="calibration-error", domain=None, direction="at_most", limit=0.05),
        ),
        source=GOOD.encode(),
    )


def test_what_may_be_left_out_has_the_documented_defaults():
    certificate = parse(SHORT + BAR)
    assert (certificate.issuer, certificate.task_digest) == ("", None)
    assert (certificate.judge, certificate.confidence) == ("lower-bound", 0.95)


def test_the_bytes_are_kept_so_that_the_same_certificate_can_be_read_again():
    text = GOOD + "# a comment \N{EN DASH} kept\r\n"
    certificate = parse(text)
    assert certificate.source == text.encode()
    assert certificate.definition == blob_id([text.encode()])
    assert parse_certificate(certificate.source, "stored") == certificate
    assert parse(GOOD).definition != certificate.definition


BAD = {
    "unknown key": ("nmae = 'c'\n" + SHORT + BAR, "unknown key 'nmae'", "did you mean 'name'?"),
    "unknown key of a threshold": (SHORT + BAR + "atleast = 1", "threshold 1: unknown key 'atleast'", "'at_least'?"),
    "name missing": ("task = 'digits'\nsplit = 'test'\n" + BAR, "'name' is missing", None),
    "task missing": ("name = 'c'\nsplit = 'test'\n" + BAR, "'task' is missing", None),
    "split missing": ("name = 'c'\ntask = 'digits'\n" + BAR, "'split' is missing", None),
    "metric missing": (SHORT + "[[threshold]]\nat_least = 0.5", "threshold 1: 'metric' is missing", None),
    "name is a number": (SHORT.replace('"c"', "3") + BAR, "'name' is a number where a text is needed", None),
    "name is a date": (SHORT.replace('"c"', "2026-01-31") + BAR, "'name' is a date or time", None),
    "name is a path": (SHORT.replace('"c"', '"../c"') + BAR, "'name': '../c' has '..' in its name", None),
    "name with a slash": (SHORT.replace('"c"', '"a/c"') + BAR, "'name' is 'a/c', not 1 to 100 letters", None),
    "name begins with a dot": (SHORT.replace('"c"', '".c"') + BAR, "'name' is '.c'", None),
    "name too long": (SHORT.replace('"c"', f'"{"c" * 101}"') + BAR, "'name' is 'ccc", None),
    "name empty": (SHORT.replace('"c"', '""') + BAR, "a name of 0 characters", None),
    "issuer with an escape": ('issuer = "\\u001b[2J"\n' + SHORT + BAR, "character U+001B", "invisible"),
    "task with a bidi control": (SHORT.replace('"digits"', '"d\\u202e"') + BAR, "character U+202E", "invisible"),
    "domain with a newline": (SHORT + BAR + 'domain = "a\\nb"', "threshold 1: 'domain': ", "invisible"),
    "domain is a list": (SHORT + BAR + 'domain = ["a"]', "'domain' is a list where a text is needed", None),
    "digest too short": ("task_digest = 'abc'\n" + SHORT + BAR, "'task_digest' is 'abc', not 64", None),
    "digest in upper case": (f"task_digest = '{DIGEST.upper()}'\n" + SHORT + BAR, "not 64 lower-case", None),
    "unknown split": (
        SHORT.replace("validation", "tset") + BAR,
        "'split' is 'tset', not one of",
        "did you mean 'test'?",
    ),
    "unknown judge": ("judge = 'points'\n" + SHORT + BAR, "'judge' is 'points'", "did you mean 'point'?"),
    "confidence in percent": ("confidence = 95\n" + SHORT + BAR, "'confidence' is 95, not a number from 0.5", None),
    "confidence of 1": ("confidence = 1.0\n" + SHORT + BAR, "'confidence' is 1.0", None),
    "confidence is a text": ("confidence = '95 %'\n" + SHORT + BAR, "'confidence' is a text where a number", None),
    "no threshold": (SHORT, "no threshold is given", "[[threshold]]"),
    "empty list of thresholds": (SHORT + "threshold = []", "no threshold is given", "[[threshold]]"),
    "threshold is a table": (
        SHORT + BAR.replace("[[threshold]]", "[threshold]"),
        "'threshold' is a table",
        "[[thresho",
    ),
    "threshold is a list of numbers": (SHORT + "threshold = [1]", "'threshold' is a list", "[[threshold]]"),
    "both directions": (SHORT + BAR + "at_most = 1", "threshold 1: both 'at_least' and 'at_most'", "two thresholds"),
    "no direction": (SHORT + "[[threshold]]\nmetric = 'accuracy'", "neither 'at_least' nor", "two thresholds"),
    "threshold in percent": (SHORT + BAR.replace("0.5", "95"), "'at_least' is 95, not a number from 0 to 1", None),
    "threshold below the range": (SHORT + BAR.replace("0.5", "-0.1"), "'at_least' is -0.1", None),
    "threshold is NaN": (SHORT + BAR.replace("0.5", "nan"), "'at_least' is nan", None),
    "threshold is infinite": (SHORT + BAR.replace("0.5", "inf"), "'at_least' is inf", None),
    "threshold is enormous": (SHORT + BAR.replace("0.5", "9" * 400), "'at_least' is an enormous number", None),
    "threshold is true": (SHORT + BAR.replace("0.5", "true"), "'at_least' is true or false where a number", None),
    "duplicate": (SHORT + BAR + BAR, "threshold 2: the same metric, domain and direction as threshold 1", None),
    "domain of a metric that compares domains": (
        SHORT + BAR.replace("accuracy", "worst-domain-accuracy") + "domain = 'a'",
        "threshold 1: 'worst-domain-accuracy' compares domains and takes no 'domain'",
        None,
    ),
    "not TOML": ("name = ", "not readable TOML: Invalid value (at end of document)", None),
    "a key twice": ("name = 'd'\n" + SHORT + BAR, "Cannot overwrite a value", None),
    "absurd nesting": ("x = " + "[" * 100_000, "nested too deeply", None),
    "absurd number": ("x = " + "9" * 5000, "not readable TOML", None),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_has_one_clear_error(case: str):
    text, message, hint = BAD[case]
    error = failure(text)
    assert isinstance(error, InvalidInputError)
    assert error.kind == "bad-certificate"
    assert error.message.startswith("certificate 'c.toml'")
    assert message in error.message
    assert "problems" not in error.message, "one mistake, one problem"
    assert error.message.isprintable()
    assert len(error.message) < 500
    assert (error.hint is None) if hint is None else (hint in (error.hint or ""))


def test_an_unknown_metric_is_not_found_and_the_closest_one_is_named():
    error = failure(SHORT + BAR.replace("accuracy", "acuracy"))
    assert isinstance(error, NotFoundError)
    assert error.kind == "unknown-metric"
    assert error.message == "certificate 'c.toml': threshold 1: no metric is named 'acuracy'"
    assert error.hint == "did you mean 'accuracy'?"


def test_all_problems_are_reported_together():
    error = failure('nam = "c"\nsplit = "tst"\n' + BAR.replace("accuracy", "acuracy").replace("0.5", "'high'"))
    assert isinstance(error, InvalidInputError)
    assert error.message == (
        "certificate 'c.toml' has 6 problems: unknown key 'nam' (did you mean 'name'?); 'name' is missing; "
        "'task' is missing; 'split' is 'tst', not one of test, validation (did you mean 'test'?); "
        "threshold 1: no metric is named 'acuracy' (did you mean 'accuracy'?); "
        "threshold 1: 'at_least' is a text where a number is needed"
    )


def test_a_band_is_two_thresholds_on_one_metric():
    assert len(parse(SHORT + BAR + BAR.replace("at_least = 0.5", "at_most = 0.9")).thresholds) == 2


def test_the_same_metric_on_two_domains_is_no_duplicate():
    assert len(parse(SHORT + BAR + "domain = 'a'\n" + BAR + "domain = 'b'\n").thresholds) == 2


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_with_an_error_of_mlgit(data: bytes):
    with pytest.raises(InvalidInputError):
        parse_certificate(data, "c.toml")


@given(
    st.dictionaries(
        st.sampled_from(["name", "issuer", "task", "task_digest", "split", "judge", "confidence", "threshold", "x"]),
        st.sampled_from(["1", "'a'", "true", "nan", "[]", "[[1]]", "{a = 1}", "2026-01-31", "''", "'test'", "[{}]"]),
    )
)
def test_any_mixture_of_wrong_types_is_refused_with_an_error_of_mlgit(values: dict[str, str]):
    with pytest.raises(InvalidInputError):
        parse("\n".join(f"{key} = {value}" for key, value in values.items()))


def test_a_file_is_read_from_its_path(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(GOOD, encoding="utf-8")
    assert read_certificate(path) == parse(path.read_bytes().decode())


def test_a_missing_file_a_directory_and_an_oversized_file_are_refused(tmp_path):
    with pytest.raises(NotFoundError, match="there is no certificate file"):
        read_certificate(tmp_path / "c.toml")
    with pytest.raises(InvalidInputError, match="is not a file"):
        read_certificate(tmp_path)
    (tmp_path / "big.toml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(InvalidInputError, match="more than 262144 bytes"):
        read_certificate(tmp_path / "big.toml")


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "c.toml")
    with pytest.raises(InvalidInputError, match="is not a file"):
        read_certificate(tmp_path / "c.toml")


def test_other_data_than_the_certificate_means_are_refused():
    certificate = parse(GOOD)
    check_data(certificate, TaskRef("digits", DIGEST))
    with pytest.raises(InvalidInputError) as caught:
        check_data(certificate, TaskRef("digits", "f" * 64))
    assert caught.value.kind == "different-data"
    with pytest.raises(InvalidInputError) as caught:
        check_data(certificate, TaskRef("parity", DIGEST))
    assert caught.value.kind == "wrong-task"


def test_a_certificate_without_digest_accepts_the_task_as_it_is():
    check_data(parse(SHORT + BAR), TaskRef("digits", "f" * 64))
