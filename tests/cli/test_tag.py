from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest


def test_tag_lists(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("tag")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout == f"plain {history.change[:10]}\nv1 {history.change[:10]} first\n"
    assert json.loads(mlgit("tag", "--json").stdout) == {
        "schema": 1,
        "tags": [
            {"name": "plain", "commit": history.change, "message": None},
            {"name": "v1", "commit": history.change, "message": "first\nmore"},
        ],
    }


def test_tag_creates_and_deletes(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("tag", "v0", "main")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "")
    ran = mlgit("tag", "-d", "v0")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", f"deleted tag v0 (was {history.start[:10]})\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["v1"], 11, "error: a tag 'v1' exists\nhint: tags never move; delete it first with `mlgit tag -d v1`\n"),
        (["-d", "v2"], 10, "error: no tag is named 'v2'\nhint: known: plain, v1\n"),
        (["-d"], 2, "error: which tag? its name is missing\nhint: see `mlgit tag --help`\n"),
        (["x", "-m", " "], 2, "error: the message of a tag is empty\nhint: leave out `-m` for a plain tag\n"),
        (["x", "nix"], 10, "error: no branch, tag or commit is named 'nix'\nhint: known: "),
    ],
)
def test_tag_refuses(mlgit: Callable[..., Any], history: Any, arguments: list[str], code: int, message: str) -> None:
    before = mlgit("tag").stdout
    ran = mlgit("tag", *arguments)
    assert (ran.exit_code, ran.stdout) == (code, "")
    assert ran.stderr.startswith(message)
    assert mlgit("tag").stdout == before
