from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from mlgit.errors import ConflictError, CorruptObjectError, FileSystemError
from mlgit.objects import Manifest
from mlgit.repository import Repository
from mlgit.worktree import checkout as module
from mlgit.worktree.checkout import checkout, remove_empty_directories
from mlgit.worktree.status import committed_contents

Contents = Callable[[], dict[str, bytes]]


class Stop(Exception):  # noqa: N818 - not an error of the program
    pass


@pytest.fixture
def two(repository: Repository, record: Callable[[], Manifest]) -> tuple[Manifest, Manifest]:
    """Return two recorded states; the working files are those of the first one."""
    root = repository.root
    (root / "same").write_text("same")
    (root / "changes").write_text("two")
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "new").write_text("new")
    (root / "becomes").mkdir()
    (root / "becomes" / "directory").write_text("d")
    second = record()
    for path in ("deep/er/new", "becomes/directory"):
        (root / path).unlink()
    remove_empty_directories(root, ["deep/er/new", "becomes/directory"])
    (root / "changes").write_text("one")
    (root / "becomes").write_text("file")
    (root / "old").mkdir()
    (root / "old" / "goes").write_text("goes")
    return record(), second


PATHS = ["changes", "deep/er/new", "becomes/directory"]
REMOVED = ["becomes", "old/goes"]


def test_checkout_writes_removes_and_cleans_up(
    repository: Repository, two: tuple[Manifest, Manifest], contents: Contents
) -> None:
    checkout(repository, two[1], paths=PATHS, remove=REMOVED)
    assert contents() == {"same": b"same", "changes": b"two", "deep/er/new": b"new", "becomes/directory": b"d"}
    assert not (repository.root / "old").exists()
    assert list(repository.folder.glob("staging-*")) == []


def test_a_directory_gives_way_to_a_file(
    repository: Repository, two: tuple[Manifest, Manifest], contents: Contents
) -> None:
    checkout(repository, two[1], paths=PATHS, remove=REMOVED)
    checkout(repository, two[0], paths=["changes", "becomes", "old/goes"], remove=["deep/er/new", "becomes/directory"])
    assert contents() == {"same": b"same", "changes": b"one", "becomes": b"file", "old/goes": b"goes"}
    assert not (repository.root / "deep").exists()


def test_an_error_at_the_end_undoes_everything(
    repository: Repository, two: tuple[Manifest, Manifest], contents: Contents
) -> None:
    before = contents()

    def fail() -> None:
        assert contents() != before
        raise Stop

    with pytest.raises(Stop):
        checkout(repository, two[1], paths=PATHS, remove=REMOVED, then=fail)
    assert contents() == before
    assert sorted(path.name for path in repository.root.iterdir()) == [".mlgit", "becomes", "changes", "old", "same"]
    assert list(repository.folder.glob("staging-*")) == []


@pytest.mark.parametrize("at", range(1, 14))
def test_a_refusal_of_any_step_undoes_everything(
    repository: Repository,
    two: tuple[Manifest, Manifest],
    contents: Contents,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
) -> None:
    before, count = contents(), 0

    def refused(real: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object, **options: object) -> object:
            nonlocal count
            count += 1
            if count == at:
                raise OSError(28, "No space left on device")
            return real(*arguments, **options)

        return step

    with monkeypatch.context() as patch:
        for name in ("rename", "mkdir"):
            patch.setattr(Path, name, refused(getattr(Path, name)))
        patch.setattr(module, "sync_directory", refused(module.sync_directory))
        with suppress(FileSystemError):
            done = False
            checkout(repository, two[1], paths=PATHS, remove=REMOVED)
            done = True
    assert done == (count < at)
    assert done or contents() == before


def test_nothing_is_written_when_an_object_is_damaged(
    repository: Repository, two: tuple[Manifest, Manifest], contents: Contents
) -> None:
    before = contents()
    for pack in (repository.folder / "objects").glob("*.pack"):
        data = bytearray(pack.read_bytes())
        for place in range(20, len(data) - 200, 7):
            data[place] ^= 255
        pack.write_bytes(data)
    with pytest.raises(CorruptObjectError):
        checkout(Repository(repository.root), two[1], paths=PATHS, remove=REMOVED)
    assert contents() == before


@pytest.mark.parametrize("obstacle", ["file", "directory", "link", "link-on-the-way"])
def test_what_is_in_the_way_stays(
    repository: Repository, two: tuple[Manifest, Manifest], contents: Contents, tmp_path: Path, obstacle: str
) -> None:
    root = repository.root
    if obstacle == "file":
        (root / "deep").write_text("mine")
    elif obstacle == "directory":
        (root / "deep" / "er" / "new").mkdir(parents=True)
        (root / "deep" / "er" / "new" / "mine").write_text("mine")
    elif obstacle == "link":
        (root / "deep").symlink_to(tmp_path)
    else:
        (root / "deep").mkdir()
        (root / "deep" / "er").symlink_to(tmp_path)
    before = contents()
    with pytest.raises(ConflictError) as refused:
        checkout(repository, two[1], paths=PATHS, remove=REMOVED)
    assert refused.value.kind == "path-in-the-way"
    assert contents() == before
    assert not (tmp_path / "new").exists()


def test_a_link_at_the_place_of_a_file_is_replaced_not_followed(
    repository: Repository, two: tuple[Manifest, Manifest], tmp_path: Path
) -> None:
    (tmp_path / "outside").write_text("mine")
    (repository.root / "changes").unlink()
    (repository.root / "changes").symlink_to(tmp_path / "outside")
    checkout(repository, two[1], paths=["changes"])
    assert (repository.root / "changes").read_text() == "two"
    assert not (repository.root / "changes").is_symlink()
    assert (tmp_path / "outside").read_text() == "mine"


def test_what_a_killed_checkout_left_is_removed_by_the_next(
    repository: Repository, two: tuple[Manifest, Manifest]
) -> None:
    leftover = repository.folder / "staging-0123456789ab"
    leftover.mkdir()
    (leftover / "new-0").write_bytes(b"1")
    checkout(repository, two[1], paths=["changes"])
    assert list(repository.folder.glob("staging-*")) == []


def test_the_mode_of_a_new_file_follows_the_umask(repository: Repository, two: tuple[Manifest, Manifest]) -> None:
    before = os.umask(0o027)
    try:
        checkout(repository, two[1], paths=["changes"])
    finally:
        os.umask(before)
    assert (repository.root / "changes").stat().st_mode & 0o777 == 0o640


def test_a_manifest_without_a_tensor_of_its_header_is_refused(
    repository: Repository, write_tensors: Callable[..., None], record: Callable[[], Manifest]
) -> None:
    write_tensors(repository.root / "model.safetensors", {"a": b"1", "b": b"22"})
    manifest = record()
    lacking = replace(manifest, tensors={"b": manifest.tensors["b"]})
    with pytest.raises(CorruptObjectError, match="does not have tensor 'a'"):
        checkout(repository, lacking, paths=["model.safetensors"])
    with pytest.raises(CorruptObjectError, match="does not have tensor 'a'"):
        committed_contents(repository, lacking)
