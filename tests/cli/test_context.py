from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from mlgit.cli.context import parse_date, resolve
from mlgit.errors import InvalidInputError


def surroundings(**environment: str):  # type: ignore[no-untyped-def]
    return resolve(command=["x"], quiet=False, verbose=False, as_json=False, environment=environment)


def test_a_verb_is_told_who_where_and_how(
    mlgit: Callable, program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLGIT_AUTHOR_NAME", "Ada")
    monkeypatch.setenv("MLGIT_AUTHOR_EMAIL", "")
    monkeypatch.setenv("MLGIT_AUTHOR_DATE", "1700000000 +0100")
    monkeypatch.setenv("HOME", "/home/ada")
    ran = mlgit("where", "-v")
    assert ran.stdout == (
        f"directory {Path.cwd()!r}\n"
        "command ('where', '-v')\n"
        "author_name 'Ada'\nauthor_email None\nauthor_date '1700000000 +0100'\n"
        "user_settings PosixPath('/home/ada/.config/mlgit/config.toml')\n"
        "level 1 NoProgress\n"
    )
    assert ran.stderr == "a note\na detail\nwarning: a warning\n"


@pytest.mark.parametrize(
    ("options", "level", "stderr"),
    [
        ([], 0, "a note\nwarning: a warning\n"),
        (["-q"], -1, "warning: a warning\n"),
        (["--quiet", "--verbose"], -1, "warning: a warning\n"),
        (["--verbose"], 1, "a note\na detail\nwarning: a warning\n"),
    ],
)
def test_every_verb_takes_quiet_and_verbose(
    mlgit: Callable, program: ModuleType, options: list[str], level: int, stderr: str
) -> None:
    ran = mlgit("where", *options)
    assert f"level {level} " in ran.stdout
    assert ran.stderr == stderr


def test_settings_of_the_user_follow_the_environment() -> None:
    assert surroundings(XDG_CONFIG_HOME="/x", HOME="/h").user_settings == Path("/x/mlgit/config.toml")
    assert surroundings(HOME="/h").user_settings == Path("/h/.config/mlgit/config.toml")
    assert surroundings().user_settings is None


def test_a_context_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        surroundings().directory = Path("/")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1700000000", (1700000000, 0)),
        ("@1700000000", (1700000000, 0)),
        ("1700000000 +0130", (1700000000, 90)),
        ("1700000000 -0800", (1700000000, -480)),
        ("2023-11-14T22:13:20Z", (1700000000, 0)),
        ("2023-11-14T23:13:20+01:00", (1700000000, 60)),
        ("2023-11-14 14:13:20-08:00", (1700000000, -480)),
        (" 1970-01-01T00:00:00+00:00 ", (0, 0)),
    ],
)
def test_a_date_is_read_as_in_git(text: str, expected: tuple[int, int]) -> None:
    assert parse_date(text) == expected


def test_a_date_without_zone_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert parse_date("2023-11-15T03:43:20") == (1700000000, 330)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["yesterday", "12 34", "1700000000 +1", "", "9" * 40, "2023-13-01"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="is not a time"):
        parse_date(text)


def test_the_environment_is_not_changed(mlgit: Callable, program: ModuleType) -> None:
    before = dict(os.environ)
    mlgit("where")
    mlgit("--help")
    assert dict(os.environ) == before
