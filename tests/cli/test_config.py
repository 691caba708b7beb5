from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest


def test_config_sets_shows_lists_and_removes(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("config", "user.name", "Grace Hopper")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "")
    assert mlgit("config", "user.name").stdout == "Grace Hopper\n"
    assert mlgit("config").stdout == "user.name = Grace Hopper\n"
    assert json.loads(mlgit("config", "--json").stdout) == {"schema": 1, "settings": {"user.name": "Grace Hopper"}}
    assert json.loads(mlgit("config", "user.name", "--json").stdout) == {
        "schema": 1,
        "key": "user.name",
        "value": "Grace Hopper",
    }
    assert mlgit("config", "--unset", "user.name").exit_code == 0
    assert mlgit("config").stdout == ""


def test_config_of_the_user_is_weaker_than_that_of_the_repository(mlgit: Callable[..., Any], history: Any) -> None:
    assert mlgit("config", "--global", "user.name", "everywhere").exit_code == 0
    assert mlgit("config", "user.name").stdout == "everywhere\n"
    assert mlgit("config", "user.name", "here").exit_code == 0
    assert mlgit("config", "user.name").stdout == "here\n"
    assert mlgit("config", "--global", "user.name").stdout == "everywhere\n"


def test_config_names_the_author(mlgit: Callable[..., Any], history: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLGIT_AUTHOR_NAME")
    monkeypatch.delenv("MLGIT_AUTHOR_EMAIL")
    for key, value in (("user.name", "Grace"), ("user.email", "grace@example.org")):
        assert mlgit("config", key, value).exit_code == 0
    assert mlgit("commit", "--allow-empty", "-m", "x").exit_code == 0
    author = json.loads(mlgit("log", "-n", "1", "--json").stdout)["commits"][0]["author"]
    assert author == {"name": "Grace", "email": "grace@example.org"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["user.name"], 10, "error: 'user.name' is not set\n"),
        (["--unset", "user.name"], 10, "error: 'user.name' is not set in '"),
        (["name", "x"], 2, "error: 'name' is not a settings key\nhint: write it as `section.name`\n"),
        (["a b.c", "x"], 2, "error: 'a b.c' is not a settings key\n"),
    ],
)
def test_config_refuses(mlgit: Callable[..., Any], history: Any, arguments: list[str], code: int, message: str) -> None:
    ran = mlgit("config", *arguments)
    assert (ran.exit_code, ran.stdout) == (code, "")
    assert ran.stderr.startswith(message)
    assert not (history.root / ".mlgit/config.toml").exists()
