from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_commit_says_where_and_what(mlgit: Callable[..., Any], history: Any) -> None:
    history.write(body=[1.0, 5.0], head=[3.0])
    (history.root / "old.pt").write_text("")
    ran = mlgit("commit", "-m", "better\n\nmuch", "-v")
    commit = mlgit("log", "-n", "1", "--oneline").stdout.split()[0]
    assert ran.exit_code == 0
    assert ran.stdout == f"[main {commit}] better\n"
    assert ran.stderr == (
        "  modified: model.safetensors (1 of 2 tensors)\n"
        "not tracked: old.pt (a pickle may carry code; bring its weights in with `mlgit import old.pt`)\n"
    )


def test_commit_on_a_detached_head_says_so(mlgit: Callable[..., Any], history: Any) -> None:
    assert mlgit("switch", "--detach", "main").exit_code == 0
    ran = mlgit("commit", "--allow-empty", "-m", "x")
    assert ran.stdout.startswith("[detached HEAD ")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-m", "x"], 1, "error: nothing to commit: the working files are those of HEAD\n"),
        ([], 2, 'error: a commit needs a message\nhint: give one with `-m "…"`\n'),
        (["-m", " \n "], 2, 'error: a commit needs a message\nhint: give one with `-m "…"`\n'),
        (
            ["-m", "x", "--task", "t"],
            2,
            (
                "error: no run on task 't' waits for a commit with these weights\n"
                "hint: train first with `mlgit train --task t`, or commit without `--task`\n"
            ),
        ),
        (["-m", "x", "--train"], 2, "error: `--train` needs a task\nhint: name it with `--task`\n"),
    ],
)
def test_commit_refuses(mlgit: Callable[..., Any], history: Any, arguments: list[str], code: int, message: str) -> None:
    ran = mlgit("commit", *arguments)
    assert (ran.exit_code, ran.stdout, ran.stderr) == (code, "", message)
    assert mlgit("log", "--oneline").stdout.startswith(history.start[:10])


def test_commit_of_an_empty_directory_is_refused(mlgit: Callable[..., Any], tmp_path: Path, author: None) -> None:
    assert mlgit("init", str(tmp_path / "new")).exit_code == 0
    ran = mlgit("-C", str(tmp_path / "new"), "commit", "-m", "x")
    assert ran.exit_code == 2
    assert ran.stderr == (
        "error: there is nothing to commit: no file is tracked here\n"
        "hint: put a `.safetensors` file here, or run `mlgit import SOURCE`\n"
    )


def test_the_first_commit_has_the_id_it_has_everywhere(mlgit: Callable[..., Any], history: Any) -> None:
    assert mlgit("log", "--oneline", "other").stdout == (
        f"{history.change[:10]} (other, tag: plain, tag: v1) [snapshot] change\n"
        f"{history.start[:10]} (HEAD -> main) [pretrain] start\n"
    )
