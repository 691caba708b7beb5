from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest


def test_branch_lists(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("branch")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout == f"* main {history.start[:10]} start\n  other {history.change[:10]} change\n"
    assert json.loads(mlgit("branch", "--json").stdout) == {
        "schema": 1,
        "branches": [
            {"name": "main", "id": history.start, "current": True, "remote": False},
            {"name": "other", "id": history.change, "current": False, "remote": False},
        ],
    }


def test_branch_creates_renames_and_deletes(mlgit: Callable[..., Any], history: Any) -> None:
    assert mlgit("branch", "new", "v1").exit_code == 0
    ran = mlgit("branch", "-m", "new", "newer")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "renamed new to newer\n")
    ran = mlgit("branch", "-d", "newer")
    assert (ran.exit_code, ran.stderr) == (0, f"deleted branch newer (was {history.change[:10]})\n")
    assert "new" not in mlgit("branch").stdout


def test_branch_rename_takes_head_along(mlgit: Callable[..., Any], history: Any) -> None:
    assert mlgit("branch", "-m", "main", "trunk").exit_code == 0
    assert mlgit("status").stdout == "on branch trunk\nnothing to commit, working files clean\n"
    assert "main" not in mlgit("branch").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["other"], 11, "error: a branch 'other' exists\nhint: `mlgit switch other`\n"),
        (["-m", "main", "other"], 11, "error: a branch 'other' exists\nhint: `mlgit switch other`\n"),
        (["-d", "othr"], 10, "error: no branch is named 'othr'\nhint: did you mean 'other'?\n"),
        (
            ["-d", "main"],
            12,
            "error: 'main' is the current branch\nhint: switch to another one before deleting it\n",
        ),
        (
            ["-d", "other"],
            1,
            "error: the commits of 'other' are on no other branch\nhint: `mlgit branch -D other` deletes it\n",
        ),
        (["-d"], 2, "error: which branch? its name is missing\nhint: see `mlgit branch --help`\n"),
        (["-m", "main"], 2, "error: which branch? its name is missing\nhint: see `mlgit branch --help`\n"),
        (["HEAD"], 2, "error: 'HEAD' cannot name a branch or tag\nhint: choose another name\n"),
        (
            ["main/x"],
            11,
            (
                "error: 'refs/heads/main/x' cannot be created: 'refs/heads/main' exists\n"
                "hint: a name cannot also be the folder of another; choose a different one\n"
            ),
        ),
    ],
)
def test_branch_refuses(mlgit: Callable[..., Any], history: Any, arguments: list[str], code: int, message: str) -> None:
    before = mlgit("branch").stdout
    ran = mlgit("branch", *arguments)
    assert (ran.exit_code, ran.stdout, ran.stderr) == (code, "", message)
    assert mlgit("branch").stdout == before


def test_branch_deletes_by_force(mlgit: Callable[..., Any], history: Any) -> None:
    assert mlgit("branch", "-D", "other").exit_code == 0
    assert mlgit("fsck").stdout == "2 commits, 10 objects: sound\n"  # its log still reaches them
