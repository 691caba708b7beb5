from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlgit.errors import InvalidInputError
from mlgit.storage import check_ref_name

ALPHABET = st.sampled_from("ab/.-@{}~^:?*[\\ \x7f\x01é漢lock")


def allowed(name: str) -> bool:
    try:
        check_ref_name(name)
    except InvalidInputError as error:
        return not (error.kind == "bad-ref-name" and error.message.isprintable() and error.hint)
    return True


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the oracle")
@settings(max_examples=150)
@given(tail=st.text(ALPHABET, max_size=12))
@example("main")
@example("a.lock")
@example("a.lock/b")
@example("@")
@example("@{")
@example("a//b")
@example(".a")
@example("a/.b")
@example("a.")
@example("a./b")
@example("a..b")
@example("a/")
def test_names_are_judged_as_git_judges_them(tail: str) -> None:
    name = "refs/heads/" + tail
    if tail.startswith("-"):
        assert not allowed(name)
        return
    git = subprocess.run(["git", "check-ref-format", name], check=False, capture_output=True).returncode == 0
    assert allowed(name) == git


@pytest.mark.parametrize(
    "name",
    [
        "",
        "main",
        "HEAD",
        "heads/main",
        "refs",
        "refs/heads",
        "refs/heads/",
        "/refs/heads/a",
        "refs/heads/../../../etc/passwd",
        "refs/heads/-f",
        "refs/heads/a\u202eb",
        "refs/heads/a\u200bb",
        "refs/heads/a\x1b[2Jb",
        "refs/heads/a\nb",
        "refs/heads/a\u2028b",
        "refs/heads/a\udc80b",
        "refs/heads/a\ue000b",
        "refs/heads/" + "a" * 201,
        "refs/heads/" + "漢" * 67,
        "refs/heads/" + "a/" * 600 + "a",
    ],
)
def test_a_name_that_could_do_harm_is_refused(name: str) -> None:
    assert not allowed(name)


@pytest.mark.parametrize(
    "name", ["refs/heads/main", "refs/tags/v1.0", "refs/remotes/origin/a/b", "refs/heads/lr-3e-5_漢", "refs/heads/@a"]
)
def test_a_usual_name_is_allowed(name: str) -> None:
    assert allowed(name)
