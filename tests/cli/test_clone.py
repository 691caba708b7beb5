from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_clone_copies_history_and_files(mlgit: Callable[..., Any], history: Any, tmp_path: Path) -> None:
    ran = mlgit("clone", ".", "../copy")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", f"cloned into {tmp_path}/copy, on branch main\n")
    for name in ("model.safetensors", "notes.txt"):
        assert (tmp_path / "copy" / name).read_bytes() == (history.root / name).read_bytes()
    copy = ["-C", str(tmp_path / "copy")]
    assert mlgit(*copy, "branch", "-a").stdout == (
        f"* main {history.start[:10]} start\n"
        f"  origin/main {history.start[:10]} start\n"
        f"  origin/other {history.change[:10]} change\n"
    )
    assert mlgit(*copy, "tag").stdout == mlgit("tag").stdout
    assert mlgit(*copy, "config", "remote.origin.url").stdout == f"{history.root}\n"
    assert mlgit(*copy, "switch", "other").stderr == "on new branch other\n"
    assert mlgit(*copy, "fsck").exit_code == 0


def test_clone_fills_the_empty_directory_one_stands_in(
    mlgit: Callable[..., Any], history: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert mlgit("clone", str(history.root), ".").exit_code == 0
    assert sorted(path.name for path in Path().iterdir()) == [".mlgit", "model.safetensors", "notes.txt"]
    assert mlgit("status").stdout == "on branch main\nnothing to commit, working files clean\n"


def test_clone_names_the_copy_after_the_source(
    mlgit: Callable[..., Any], history: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert mlgit("clone", "../model").exit_code == 0
    assert (tmp_path / "elsewhere/model/.mlgit").is_dir()


def test_clone_of_a_repository_without_commits(mlgit: Callable[..., Any], tmp_path: Path, author: None) -> None:
    assert mlgit("init", str(tmp_path / "new"), "-b", "trunk").exit_code == 0
    assert mlgit("clone", str(tmp_path / "new"), str(tmp_path / "copy")).exit_code == 0
    assert mlgit("-C", str(tmp_path / "copy"), "status").stdout.startswith("on branch trunk, no commits yet\n")


@pytest.mark.parametrize(
    ("source", "place", "code", "message"),
    [
        (".", "inside", 2, "' lies inside the repository it would copy\nhint: choose a place outside\n"),
        (".", "../taken", 11, "' exists and is not empty\nhint: choose another directory\n"),
        ("../nix", "../copy", 10, "' is not an mlgit repository\nhint: create one with `mlgit init`\n"),
        (".", None, 11, "' exists and is not empty\nhint: choose another directory\n"),
    ],
)
def test_clone_refuses(
    mlgit: Callable[..., Any],
    history: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    place: str | None,
    code: int,
    message: str,
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("")
    if place is None:
        monkeypatch.chdir(tmp_path)
        source = "model"
    before = sorted(tmp_path.rglob("*"))
    ran = mlgit("clone", source, *([] if place is None else [place]))
    assert (ran.exit_code, ran.stdout) == (code, "")
    assert ran.stderr.endswith(message)
    assert sorted(tmp_path.rglob("*")) == before


def test_clone_needs_both_task_and_train(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("clone", ".", "../copy", "--train")
    assert (ran.exit_code, ran.stderr) == (
        2,
        "error: `--train` and `--task` belong together\nhint: give both, or neither\n",
    )
