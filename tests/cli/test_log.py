from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_log_tells_each_commit(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("log", "other")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert [line.rstrip() for line in ran.stdout.splitlines()] == [
        f"commit {history.change} (other, tag: plain, tag: v1)",
        "[snapshot]",
        f"from:   init {history.start[:10]}",
        "Author: Ada <ada@example.org>",
        "Date:   2023-11-14T23:13:20+01:00",
        "",
        "    change",
        "",
        f"commit {history.start} (HEAD -> main)",
        "[pretrain]",
        "Author: Ada <ada@example.org>",
        "Date:   2023-11-14T23:13:20+01:00",
        "",
        "    start",
        "",
        "    with a body",
    ]


def test_log_draws_a_graph(mlgit: Callable[..., Any], history: Any) -> None:
    expected = (
        f"●  {history.change[:10]} (other, tag: plain, tag: v1) [snapshot] change\n"
        f"●  {history.start[:10]} (HEAD -> main) [pretrain] start\n"
    )
    assert mlgit("log", "--all", "--graph").stdout == expected
    assert mlgit("log", "--all", "--graph", "--ascii").stdout == expected.replace("●", "*")


def test_log_stops_where_it_is_told(mlgit: Callable[..., Any], history: Any) -> None:
    assert len(mlgit("log", "--oneline", "-n", "1", "other").stdout.splitlines()) == 1
    assert mlgit("log", "-n", "0").stdout == ""
    ran = mlgit("log", "-n", "-1")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr == "error: -1 commits cannot be shown\nhint: give `-n` a number from 0 up\n"


def test_log_as_json(mlgit: Callable[..., Any], history: Any) -> None:
    document = json.loads(mlgit("log", "other", "--json").stdout)
    assert document["schema"] == 1
    newest, oldest = document["commits"]
    assert newest == {
        "id": history.change,
        "parents": [{"id": history.start, "role": "init", "coefficient": None}],
        "message": "change",
        "stage": "snapshot",
        "task": None,
        "metrics": {},
        "author": {"name": "Ada", "email": "ada@example.org"},
        "time": "2023-11-14T23:13:20+01:00",
        "manifest": newest["manifest"],
        "refs": ["other", "tag: plain", "tag: v1"],
        "certificates": [],
    }
    assert oldest["message"] == "start\n\nwith a body"


@pytest.mark.parametrize("revisions", [["ot*"], ["v?"], ["tag:v1"], ["refs/heads/other"], ["other", "main", "other"]])
def test_log_starts_at_names_and_patterns(mlgit: Callable[..., Any], history: Any, revisions: list[str]) -> None:
    found = {line.split()[0] for line in mlgit("log", "--oneline", *revisions).stdout.splitlines()}
    assert found == {history.change[:10], history.start[:10]}


def test_log_before_the_first_commit(mlgit: Callable[..., Any], tmp_path: Path) -> None:
    assert mlgit("init", str(tmp_path)).exit_code == 0
    ran = mlgit("-C", str(tmp_path), "log", "--json")
    assert (ran.exit_code, ran.stdout) == (10, "")
    assert json.loads(ran.stderr)["error"] == {
        "kind": "no-commits",
        "message": "branch 'main' has no commits yet",
        "hint": "make one with `mlgit commit` or `mlgit import`",
        "exit_code": 10,
    }
