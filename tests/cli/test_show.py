from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def test_show_tells_everything(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("show", "v1")
    manifest = json.loads(mlgit("show", "v1", "--json").stdout)["commit"]["manifest"]
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert [line.rstrip() for line in ran.stdout.splitlines()] == [
        f"commit {history.change} (other, tag: plain, tag: v1)",
        "stage:    snapshot",
        f"from:     init {history.start[:10]}",
        "author:   Ada <ada@example.org>",
        "date:     2023-11-14T23:13:20+01:00",
        f"manifest: {manifest} (2 tensors, 16 bytes)",
        "",
        "    change",
        "",
        "files",
        "  modified: model.safetensors (1 of 2 tensors)",
    ]


def test_show_as_json(mlgit: Callable[..., Any], history: Any) -> None:
    document = json.loads(mlgit("show", "--json").stdout)["commit"]
    assert document["id"] == history.start
    assert document["made"] == {}
    assert document["changes"] == [
        {"path": "model.safetensors", "change": "added", "tensors": 2, "of": 2},
        {"path": "notes.txt", "change": "added", "tensors": None, "of": None},
    ]


def test_show_of_nothing(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("show", "othr")
    assert (ran.exit_code, ran.stdout) == (10, "")
    assert ran.stderr == "error: no branch, tag or commit is named 'othr'\nhint: did you mean 'other'?\n"
