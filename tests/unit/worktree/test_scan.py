from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mlgit.errors import InvalidInputError
from mlgit.repository import Repository
from mlgit.worktree import scan as module
from mlgit.worktree.scan import Stat, scan


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")


def test_every_file_is_found_and_sorted(repository: Repository) -> None:
    touch(repository.root, "z", "a/b/c", "a.txt", "weights/model.safetensors")
    assert list(scan(repository.root).files) == ["a.txt", "a/b/c", "weights/model.safetensors", "z"]


def test_the_state_of_a_file_is_that_of_the_system(repository: Repository) -> None:
    touch(repository.root, "a")
    found = (repository.root / "a").stat()
    assert scan(repository.root).files["a"] == Stat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def test_ignored_files_are_left_out_without_a_word(repository: Repository) -> None:
    touch(repository.root, "a", "b.log", "out/x", "keep/x", "keep/y.tmp", ".git/config", "__pycache__/m.pyc")
    (repository.root / ".mlgitignore").write_text("*.log\n/out/\n# a comment\n!keep/y.tmp\n")
    found = scan(repository.root)
    assert list(found.files) == [".mlgitignore", "a", "keep/x", "keep/y.tmp"]
    assert found.skipped == ()


def test_pickles_links_and_special_files_are_named(repository: Repository) -> None:
    touch(repository.root, "a.pt", "b.PTH", "sub/c.bin", "d.ckpt", "e.pkl", "plain")
    (repository.root / "link").symlink_to("plain")
    (repository.root / "gone").symlink_to("nowhere")
    os.mkfifo(repository.root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        place = Path.cwd()
        try:
            os.chdir(repository.root)  # names of sockets are short
            server.bind("socket")
        finally:
            os.chdir(place)
        found = scan(repository.root)
    assert list(found.files) == ["plain"]
    reasons = {item.path: item.reason for item in found.skipped}
    assert reasons["link"] == reasons["gone"] == "a symbolic link"
    assert reasons["pipe"] == reasons["socket"] == "not a regular file"
    assert {path for path, reason in reasons.items() if "a pickle" in reason} == {
        "a.pt", "b.PTH", "sub/c.bin", "d.ckpt", "e.pkl",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["a\x1bb", "a\nb", "a\u202eb", "a..b", "\udcff", "sub/a\u200bb", ".MLGIT", "a\\b"])
def test_a_name_that_cannot_be_tracked_is_refused_with_a_way_out(repository: Repository, name: str) -> None:
    touch(repository.root, name)
    with pytest.raises(InvalidInputError) as refused:
        scan(repository.root)
    assert refused.value.hint == "rename it, or write a pattern that fits it into .mlgitignore"
    (repository.root / ".mlgitignore").write_bytes(b"sub/\n" if "/" in name else b"[!.]*\n.MLGIT\n")
    assert list(scan(repository.root).files) == [".mlgitignore"]


def test_a_repository_inside_is_refused(repository: Repository) -> None:
    Repository.create(repository.root.parent / "other").root.rename(repository.root / "inner")
    with pytest.raises(InvalidInputError) as refused:
        scan(repository.root)
    assert refused.value.kind == "nested-repository"


def test_a_file_that_goes_while_one_looks_is_no_error(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(repository.root, "stays", "goes")
    look = module._why_not

    def disturb(entry: os.DirEntry[str], path: str) -> str | None:
        (repository.root / "goes").unlink(missing_ok=True)
        return look(entry, path)

    monkeypatch.setattr(module, "_why_not", disturb)
    assert list(scan(repository.root).files) == ["stays"]


def test_directories_that_are_links_are_not_entered(repository: Repository, tmp_path: Path) -> None:
    touch(tmp_path / "outside", "secret")
    (repository.root / "link").symlink_to(tmp_path / "outside")
    assert scan(repository.root).files == {}


def test_bad_ignore_files_are_named(repository: Repository) -> None:
    (repository.root / ".mlgitignore").write_bytes(b"\xff")
    with pytest.raises(InvalidInputError, match=r"\.mlgitignore' is not UTF-8"):
        scan(repository.root)
