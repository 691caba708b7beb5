from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def test_fsck_of_a_sound_repository(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("fsck")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "2 commits, 10 objects: sound\n", "")
    assert json.loads(mlgit("fsck", "--json").stdout) == {
        "schema": 1,
        "sound": True,
        "commits": 2,
        "objects": 10,
        "hurt": [],
        "repaired": [],
        "set_aside": [],
    }


def test_fsck_names_what_is_hurt(mlgit: Callable[..., Any], history: Any) -> None:
    for pack in (history.root / ".mlgit/objects").glob("*.pack"):
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 1
        pack.write_bytes(data)
    ran = mlgit("fsck")
    assert ran.exit_code == 13
    assert ran.stdout.startswith("hurt ")
    assert ran.stdout.splitlines()[-1].endswith("objects: hurt")
    document = json.loads(mlgit("fsck", "--json").stdout)
    assert document["sound"] is False
    assert {tuple(item) for item in document["hurt"]} == {("id", "kind", "problem", "commits", "names")}


def test_fsck_names_refs_that_are_hurt_and_goes_on(mlgit: Callable[..., Any], history: Any) -> None:
    folder = history.root / ".mlgit/refs/heads"
    (folder / "other").write_text("nonsense")
    (folder / "main (copy)").write_text((folder / "main").read_text())
    ran = mlgit("fsck")
    assert ran.exit_code == 13
    problems = [line for line in ran.stdout.splitlines() if line.startswith("hurt ref")]
    assert len(problems) == 2
    assert any("main (copy)" in line for line in problems)


def test_fsck_needs_a_head(mlgit: Callable[..., Any], history: Any) -> None:
    (history.root / ".mlgit/HEAD").unlink()
    ran = mlgit("fsck")
    assert ran.exit_code == 13
    assert "there is no HEAD" in ran.stdout
