from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def test_status_of_a_clean_repository(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("status")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout == "on branch main\nnothing to commit, working files clean\n"


def test_status_names_every_change(mlgit: Callable[..., Any], history: Any) -> None:
    history.write(body=[1.0, 5.0], head=[3.0])
    (history.root / "notes.txt").unlink()
    (history.root / "new.txt").write_text("")
    (history.root / "old.pt").write_text("")
    assert mlgit("status").stdout == (
        "on branch main\n"
        "  modified: model.safetensors (1 of 2 tensors)\n"
        "  added: new.txt\n"
        "  deleted: notes.txt\n"
        "  not tracked: old.pt (a pickle may carry code; bring its weights in with `mlgit import old.pt`)\n"
    )
    assert json.loads(mlgit("status", "--json").stdout) == {
        "schema": 1,
        "branch": "main",
        "head": history.start,
        "clean": False,
        "changes": [
            {"path": "model.safetensors", "change": "modified", "tensors": 1, "of": 2},
            {"path": "new.txt", "change": "added", "tensors": None, "of": None},
            {"path": "notes.txt", "change": "deleted", "tensors": None, "of": None},
        ],
        "skipped": [
            {"path": "old.pt", "reason": "a pickle may carry code; bring its weights in with `mlgit import old.pt`"}
        ],
        "run": None,
    }


def test_status_of_a_detached_head(mlgit: Callable[..., Any], history: Any) -> None:
    assert mlgit("switch", "--detach", "v1").exit_code == 0
    assert mlgit("status").stdout == (
        f"HEAD detached at {history.change[:10]}\nnothing to commit, working files clean\n"
    )
    assert json.loads(mlgit("status", "--json").stdout)["branch"] is None


def test_status_on_a_terminal_says_the_same(terminal: Callable[..., Any], history: Any) -> None:
    (history.root / "notes.txt").unlink()
    code, shown = terminal("status", "-q")
    assert code == 0
    assert shown == "on branch \x1b[1;36mmain\x1b[0m\n  deleted: notes.txt\n"
