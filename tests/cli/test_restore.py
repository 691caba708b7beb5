from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def test_restore_gives_up_changes(mlgit: Callable[..., Any], history: Any) -> None:
    (history.root / "notes.txt").write_text("two\n")
    (history.root / "model.safetensors").unlink()
    ran = mlgit("restore", ".")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "restored model.safetensors\nrestored notes.txt\n")
    assert mlgit("status").stdout == "on branch main\nnothing to commit, working files clean\n"


def test_restore_takes_a_path_as_seen_from_where_one_stands(
    mlgit: Callable[..., Any], history: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (history.root / "sub").mkdir()
    monkeypatch.chdir(history.root / "sub")
    (history.root / "notes.txt").write_text("two\n")
    assert mlgit("restore", "../notes.txt").stderr == "restored notes.txt\n"


def test_restore_takes_files_from_another_commit(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("restore", "-s", "other", "model.safetensors")
    assert (ran.exit_code, ran.stderr) == (0, "restored model.safetensors\n")
    assert mlgit("diff", "other").stdout == ""
    assert "modified: model.safetensors (1 of 2 tensors)" in mlgit("status").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nots.txt"], 10, "error: 'HEAD' holds no file 'nots.txt'\nhint: did you mean 'notes.txt'?\n"),
        (["../x"], 2, "error: '../x' lies outside the repository '"),
        (["-s", "nix", "."], 10, "error: no branch, tag or commit is named 'nix'\n"),
        ([], 2, "error: missing argument"),
    ],
)
def test_restore_refuses(
    mlgit: Callable[..., Any], history: Any, arguments: list[str], code: int, message: str
) -> None:
    (history.root / "notes.txt").write_text("two\n")
    ran = mlgit("restore", *arguments)
    assert (ran.exit_code, ran.stdout) == (code, "")
    assert ran.stderr.startswith(message)
    assert (history.root / "notes.txt").read_text() == "two\n"
