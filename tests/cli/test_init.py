from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_init_makes_an_empty_repository(mlgit: Callable[..., Any], tmp_path: Path, author: None) -> None:
    ran = mlgit("init", str(tmp_path / "a" / "b"))
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert ran.stderr == f"empty repository in {tmp_path}/a/b/.mlgit\n"
    assert mlgit("-C", str(tmp_path / "a" / "b"), "status").stdout == (
        "on branch main, no commits yet\nnothing to commit, working files clean\n"
    )


def test_init_takes_the_name_of_the_first_branch(mlgit: Callable[..., Any], tmp_path: Path) -> None:
    assert mlgit("-C", str(tmp_path), "init", "-b", "trunk").exit_code == 0
    assert mlgit("-C", str(tmp_path), "status").stdout.startswith("on branch trunk, no commits yet\n")


def test_init_is_quiet_on_request(mlgit: Callable[..., Any], tmp_path: Path) -> None:
    ran = mlgit("init", str(tmp_path), "-q")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "")


def test_init_twice_is_refused(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("init")
    assert ran.exit_code == 11
    assert ran.stderr == (
        f"error: '{history.root}' is already a repository\nhint: use it, or choose another directory\n"
    )


def test_init_over_a_file_is_refused(mlgit: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = mlgit("init", str(tmp_path / "file"))
    assert ran.exit_code == 16
    assert ran.stderr.startswith(f"error: cannot create a repository in '{tmp_path}/file': ")
