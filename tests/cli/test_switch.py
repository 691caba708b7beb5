from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def test_switch_puts_the_other_files_in_place(mlgit: Callable[..., Any], history: Any) -> None:
    before = (history.root / "model.safetensors").read_bytes()
    ran = mlgit("switch", "other")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "on branch other\n")
    assert mlgit("status").stdout == "on branch other\nnothing to commit, working files clean\n"
    assert (history.root / "model.safetensors").read_bytes() != before
    assert mlgit("switch", "main").exit_code == 0
    assert (history.root / "model.safetensors").read_bytes() == before


def test_switch_carries_changes_over(mlgit: Callable[..., Any], history: Any) -> None:
    (history.root / "notes.txt").write_text("mine\n")
    ran = mlgit("switch", "other")
    assert (ran.exit_code, ran.stderr) == (0, "kept changes in notes.txt\non branch other\n")
    assert (history.root / "notes.txt").read_text() == "mine\n"


def test_switch_creates(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("switch", "-c", "new", "other")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "on new branch new\n")
    assert f"* new {history.change[:10]} change\n" in mlgit("branch").stdout


def test_switch_detaches(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("switch", "--detach", "other~1")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", f"HEAD is now at {history.start[:10]}\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["othr"], 10, "error: no branch is named 'othr'\nhint: did you mean 'other'?\n"),
        (["zzz"], 10, "error: no branch is named 'zzz'\nhint: create it with `mlgit switch -c zzz`\n"),
        (
            ["v1"],
            10,
            (
                "error: no branch is named 'v1'\n"
                "hint: it names a commit: `mlgit switch --detach v1`, or make a branch with `mlgit switch -c NAME v1`\n"
            ),
        ),
        (
            ["main~0"],
            10,
            (
                "error: no branch is named 'main~0'\nhint: it names a commit: `mlgit switch --detach main~0`, "
                "or make a branch with `mlgit switch -c NAME main~0`\n"
            ),
        ),
        (["-c", "other"], 11, "error: a branch 'other' exists\nhint: `mlgit switch other`\n"),
        (
            ["-c", "x", "--detach"],
            2,
            "error: a new branch and a detached HEAD exclude each other\nhint: leave out `--detach`\n",
        ),
        (
            ["other", "main"],
            2,
            "error: a start 'main' is only for a new branch\nhint: `mlgit switch -c other main`\n",
        ),
    ],
)
def test_switch_refuses(mlgit: Callable[..., Any], history: Any, arguments: list[str], code: int, message: str) -> None:
    ran = mlgit("switch", *arguments)
    assert (ran.exit_code, ran.stdout, ran.stderr) == (code, "", message)
    assert mlgit("status").stdout == "on branch main\nnothing to commit, working files clean\n"


def test_switch_does_not_lose_uncommitted_work(mlgit: Callable[..., Any], history: Any) -> None:
    history.write(body=[9.0, 9.0], head=[3.0])
    before = (history.root / "model.safetensors").read_bytes()
    ran = mlgit("switch", "other")
    assert (ran.exit_code, ran.stderr) == (
        12,
        (
            "error: uncommitted changes in 'model.safetensors' would be lost\n"
            "hint: commit them with `mlgit commit`, or give them up with `mlgit restore`\n"
        ),
    )
    assert (history.root / "model.safetensors").read_bytes() == before


def test_switch_does_not_overwrite_an_ignored_file(mlgit: Callable[..., Any], history: Any) -> None:
    assert mlgit("switch", "other").exit_code == 0
    (history.root / "data.csv").write_text("theirs")
    assert mlgit("commit", "-m", "data").exit_code == 0
    assert mlgit("switch", "main").exit_code == 0
    (history.root / ".mlgitignore").write_text("*.csv\n")
    (history.root / "data.csv").write_text("mine")
    ran = mlgit("switch", "other")
    assert (ran.exit_code, ran.stderr) == (
        12,
        "error: 'data.csv' is not tracked and would be overwritten\nhint: move it away\n",
    )
    assert (history.root / "data.csv").read_text() == "mine"
