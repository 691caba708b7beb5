from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


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


@pytest.fixture
def copy(mlgit: Callable[..., Any], history: Any, tmp_path: Path) -> Path:
    """A clone of the small repository."""
    assert mlgit("clone", str(history.root), str(tmp_path / "copy")).exit_code == 0
    return tmp_path / "copy"


def cut_packs(root: Path, pattern: str = "*.pack") -> list[Path]:
    paths = sorted((root / ".mlgit/objects").glob(pattern))
    for path in paths:
        path.write_bytes(path.read_bytes()[:-40])
    return paths


def test_fsck_repairs_from_a_clone(mlgit: Callable[..., Any], history: Any, copy: Path) -> None:
    files = {path.name: path.read_bytes() for path in history.root.iterdir() if path.is_file()}
    cut = cut_packs(history.root)
    ran = mlgit("fsck")
    assert ran.exit_code == 13
    ran = mlgit("fsck", "--repair-from", "../copy", "-v")
    assert (ran.exit_code, ran.stdout.splitlines()[-1]) == (0, "2 commits, 10 objects: sound")
    assert f"fetched commit {history.change}" in ran.stderr
    assert "10 objects repaired\n" in ran.stdout
    assert mlgit("fsck").stdout == "2 commits, 10 objects: sound\n"
    for path in history.root.iterdir():
        if path.is_file():
            path.unlink()
    assert mlgit("restore", ".").exit_code == 0
    assert {path.name: path.read_bytes() for path in history.root.iterdir() if path.is_file()} == files
    assert len(cut) == 3


def test_a_repair_as_json(mlgit: Callable[..., Any], history: Any, copy: Path) -> None:
    for path in cut_packs(history.root):
        path.unlink()
    document = json.loads(mlgit("fsck", "--repair-from", str(copy), "--json").stdout)
    assert (document["sound"], document["hurt"], document["set_aside"]) == (True, [], [])
    assert len(document["repaired"]) == document["objects"] == 10
    assert {"id": history.start, "kind": "commit"} in document["repaired"]


def test_set_aside_packs_are_named(mlgit: Callable[..., Any], history: Any, copy: Path) -> None:
    (path,) = cut_packs(history.root, f"pack-{history.start[:16]}*")
    stranger = path.with_name(path.name.replace(history.start[:16], "0" * 16))
    path.rename(stranger)  # what is written anew cannot take its place
    ran = mlgit("fsck", "--repair-from", str(copy))
    assert ran.exit_code == 0
    moved = history.root / ".mlgit/objects/damaged" / stranger.name
    assert f"set aside the damaged pack {moved}; remove it when you like\n" in ran.stdout
    assert moved.exists()
    assert not stranger.exists()
    assert mlgit("fsck").exit_code == 0


def test_what_the_other_repository_lacks_is_still_hurt(mlgit: Callable[..., Any], history: Any, copy: Path) -> None:
    cut_packs(history.root)
    cut_packs(copy, f"pack-{history.change[:16]}*")
    ran = mlgit("fsck", "--repair-from", str(copy))
    assert ran.exit_code == 13
    assert f"hurt commit {history.change}" in ran.stdout
    assert "\n  named by refs/heads/other, refs/tags/plain, log of HEAD, log of refs/heads/other, " in ran.stdout
    assert "repaired" in ran.stdout
    assert mlgit("log", "main").exit_code == 0
    assert mlgit("fsck").exit_code == 13


def test_a_repair_from_nowhere_or_from_itself_is_refused(
    mlgit: Callable[..., Any], history: Any, tmp_path: Path
) -> None:
    for path, code in (("nowhere", 10), (str(tmp_path), 10), (".", 2), (".mlgit", 2), (".mlgit/objects", 2)):
        ran = mlgit("fsck", "--repair-from", path)
        assert (ran.exit_code, ran.stdout) == (code, ""), path
        assert "hint:" in ran.stderr


def test_names_that_are_hurt_cannot_be_repaired_from_objects(
    mlgit: Callable[..., Any], history: Any, copy: Path
) -> None:
    ref = history.root / ".mlgit/refs/heads/other"
    ref.write_text("commit 00\n")
    ran = mlgit("fsck", "--repair-from", str(copy))
    assert ran.exit_code == 13
    assert f"its log says that it was at {history.change} last" in ran.stdout
    ref.write_text(f"commit {history.change}\n")
    assert mlgit("fsck").exit_code == 0


def test_a_copy_of_the_packs_alone_is_enough(mlgit: Callable[..., Any], history: Any, tmp_path: Path) -> None:
    shutil.copytree(history.root / ".mlgit/objects", tmp_path / "packs", ignore=shutil.ignore_patterns("guards"))
    cut_packs(history.root)
    assert mlgit("fsck", "--repair-from", str(tmp_path / "packs")).exit_code == 0
