from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def test_ls_tree_lists_tensors_and_files(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("ls-tree")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout == (
        "tensor  dtype  shape     size  id\n"
        "body    F32    [2]    8 bytes  0e269238b5\n"
        "head    F32    [1]    4 bytes  e34848b1c6\n"
        "file model.safetensors\n"
        "file notes.txt\n"
    )


def test_ls_tree_as_json_and_by_the_id_of_the_manifest(mlgit: Callable[..., Any], history: Any) -> None:
    document = json.loads(mlgit("ls-tree", "--json").stdout)
    manifest = document["manifest"]
    assert document["schema"] == 1
    assert manifest["id"] == "5b0e0fa316d51cff1adea04114392960c354b30c967b4eb526ff120ce658a6a9"
    assert manifest["tensors"]["body"] == {
        "id": "0e269238b5fe25e777066df21d7408091ad5070d50b76e745aaaebfddc2e7446",
        "dtype": "F32",
        "shape": [2],
    }
    assert [file["path"] for file in manifest["files"]] == ["model.safetensors", "notes.txt"]
    assert mlgit("ls-tree", manifest["id"][:12]).stdout == mlgit("ls-tree").stdout


def test_ls_tree_of_what_is_no_manifest(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("ls-tree", "0e269238b5")
    assert ran.stdout == ""
    assert ran.exit_code in (2, 10)
    assert ran.stderr.startswith("error: ")
