from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_cat_file_prints_canonical_bytes(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("cat-file", "HEAD")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert json.loads(ran.stdout)["message"] == "start\n\nwith a body"
    assert mlgit("cat-file", "-s", "HEAD").stdout == f"{len(ran.stdout.encode())}\n"
    assert mlgit("cat-file", "-t", "HEAD").stdout == "commit\n"


def test_cat_file_prints_a_tensor_as_its_bytes(mlgit: Callable[..., Any], history: Any, tmp_path: Path) -> None:
    ran = mlgit("cat-file", "e34848b1c6")
    assert ran.stdout.encode() == b"\x00\x00@@"
    assert mlgit("cat-file", "-t", "e34848").stdout == "tensor\n"


def test_cat_file_as_json(mlgit: Callable[..., Any], history: Any) -> None:
    document = json.loads(mlgit("cat-file", "--json", "HEAD").stdout)
    assert (document["schema"], document["id"], document["kind"]) == (1, history.start, "commit")
    assert document["size"] == len(mlgit("cat-file", "HEAD").stdout.encode())
    assert document["stored"] > 0


def test_cat_file_on_a_terminal_only_shows(terminal: Callable[..., Any], history: Any) -> None:
    code, shown = terminal("cat-file", "e34848b1c6")
    assert (code, shown) == (0, "\\x00\\x00@@")


def test_cat_file_of_nothing(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("cat-file", "ffffffff")
    assert (ran.exit_code, ran.stdout) == (10, "")
    assert ran.stderr.startswith("error: no branch, tag or commit is named 'ffffffff'\n")


def test_cat_file_tells_a_tag_from_the_commit_it_tags(mlgit: Callable[..., Any], history: Any) -> None:
    tag = (history.root / ".mlgit/refs/tags/v1").read_text().split()[1]
    assert mlgit("cat-file", "-t", tag[:8]).stdout == "tag\n"
    assert mlgit("cat-file", "-t", "v1").stdout == "commit\n"
