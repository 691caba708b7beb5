"""What the verbs of version control promise beyond what their command lines and random histories show."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlgit.errors import (
    AlreadyExistsError,
    ConflictError,
    CorruptObjectError,
    FileSystemError,
    InvalidInputError,
    MlgitError,
    NotFoundError,
)
from mlgit.objects import CommitId, Stage, Timestamp
from mlgit.porcelain import clone as clone_module
from mlgit.porcelain.actor import Actor
from mlgit.porcelain.branch import branches, create_branch, delete_branch, rename_branch
from mlgit.porcelain.clone import clone
from mlgit.porcelain.commit import commit
from mlgit.porcelain.config import get_setting, set_setting, settings_path, unset_setting
from mlgit.porcelain.diff import diff
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.inspect import cat_file, ls_tree
from mlgit.porcelain.log import log
from mlgit.porcelain.restore import restore
from mlgit.porcelain.show import show
from mlgit.porcelain.status import status
from mlgit.porcelain.switch import switch
from mlgit.porcelain.tag import create_tag, tags
from mlgit.repository import Repository
from mlgit.storage.refs import RefStore

Shop = Any  # the workshop of conftest.py, which cannot be imported


@pytest.fixture
def shop(workshop: Shop) -> Shop:
    """A workshop with two commits on main and one more on other."""
    workshop.commit(1, 1, message="one")
    workshop.commit(1, 2, message="two")
    switch(workshop.repository, "other", create=True, actor=workshop.actor)
    workshop.commit(2, 2, message="three")
    switch(workshop.repository, "main", actor=workshop.actor)
    return workshop


# --- commit


def test_the_stage_is_pretrain_first_and_snapshot_then(shop: Shop) -> None:
    assert [entry.commit.stage for entry in log(shop.repository).entries] == [Stage.SNAPSHOT, Stage.PRETRAIN]


def test_a_commit_stands_though_the_index_cannot_be_written(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise FileSystemError("cannot write: no space left on device")

    shop.write(5, 5)
    with monkeypatch.context() as patch:
        patch.setattr("mlgit.worktree.index.write_file", full)
        made = commit(shop.repository, "x", actor=shop.actor)
    assert shop.repository.head == made.id
    assert status(shop.repository).clean


def test_a_commit_of_a_branch_that_moved_meanwhile_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, before = shop.repository, shop.repository.head
    shop.write(5, 5)
    real = Repository.advance

    def late(self: Repository, new: CommitId, **options: Any) -> None:
        moved = {key: options[key] for key in ("who", "when", "reason")}
        self.refs.update("refs/heads/main", repository.resolve("other"), expected=before, **moved)
        real(self, new, **options)

    monkeypatch.setattr(Repository, "advance", late)
    with pytest.raises(ConflictError) as refused:
        commit(repository, "x", actor=shop.actor)
    assert refused.value.kind == "ref-moved"
    assert repository.head == repository.resolve("other")


def test_two_writers_do_not_work_at_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    held = shop.repository.folder / "worktree.lock"
    held.write_text("elsewhere - - 1 1\n")  # a process of another host, which cannot be judged from here
    monkeypatch.setattr("time.monotonic", iter(float(second) for second in range(10**6)).__next__)
    for attempt in (
        lambda: commit(shop.repository, "x", allow_empty=True, actor=shop.actor),
        lambda: switch(shop.repository, "other", actor=shop.actor),
        lambda: restore(shop.repository, ["."]),
    ):
        with pytest.raises(ConflictError) as refused:
            attempt()
        assert refused.value.kind == "locked"
        assert "process 1 on elsewhere" in refused.value.message


# --- switch and restore


def test_a_branch_that_cannot_become_the_current_one_is_not_created(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shop.files()

    def fail(*arguments: object, **options: object) -> None:
        raise FileSystemError("cannot write: no space left on device")

    for start in (None, "other"):
        with monkeypatch.context() as patch:
            patch.setattr(RefStore, "set_head", fail)
            with pytest.raises(FileSystemError):
                switch(shop.repository, "new", create=True, start=start, actor=shop.actor)
        assert "new" not in shop.repository.branches()
        assert shop.files() == before
        assert status(shop.repository).branch == "refs/heads/main"


def test_a_branch_of_another_repository_is_created_like_it(shop: Shop, tmp_path: Path) -> None:
    copy = clone(shop.repository.root, tmp_path / "copy", actor=shop.actor).repository
    found = switch(copy, "other", actor=shop.actor)
    assert (found.created, found.commit) == (True, shop.repository.resolve("other"))


@pytest.mark.parametrize("damage", [b"", b"\xff" * 100])
def test_restore_mends_a_file_that_cannot_be_read(shop: Shop, damage: bytes) -> None:
    before = shop.files()
    (shop.repository.root / "model.safetensors").write_bytes(damage)
    with pytest.raises(InvalidInputError):
        status(shop.repository)
    assert restore(shop.repository, ["."]).paths == ("model.safetensors",)
    assert shop.files() == before
    assert status(shop.repository).clean


def test_restore_leaves_other_files_alone(shop: Shop) -> None:
    (shop.repository.root / "mine.txt").write_text("mine")
    restore(shop.repository, ["."], source="other")
    assert (shop.repository.root / "mine.txt").read_text() == "mine"
    with pytest.raises(NotFoundError):
        restore(shop.repository, ["mine.txt"])


# --- branches and tags


def test_a_rename_that_fails_half_way_leaves_the_old_name(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    real = RefStore.update

    def fail(self: RefStore, name: str, new: object, **options: Any) -> None:
        if name == "refs/heads/main" and new is None:
            raise FileSystemError("cannot remove: no space left on device")
        real(self, name, new, **options)  # type: ignore[arg-type]  # passed on as it came

    with monkeypatch.context() as patch:
        patch.setattr(RefStore, "update", fail)
        with pytest.raises(FileSystemError):
            rename_branch(shop.repository, "main", "trunk", actor=shop.actor)
    assert {branch.name: branch.current for branch in branches(shop.repository)} == {"main": True, "other": False}


def test_a_deleted_branch_is_still_verified_through_its_log(shop: Shop) -> None:
    before = fsck(shop.repository)
    delete_branch(shop.repository, "other", force=True, actor=shop.actor)
    assert fsck(shop.repository).commits == before.commits == 3


def test_an_annotated_tag_names_its_commit_everywhere(shop: Shop) -> None:
    create_tag(shop.repository, "v1", "other", message="first", actor=shop.actor)
    assert [tag.commit for tag in tags(shop.repository)] == [shop.repository.resolve("other")]
    assert show(shop.repository, "v1").entry.names == ("other", "tag: v1")
    with pytest.raises(AlreadyExistsError):
        create_tag(shop.repository, "v1", actor=shop.actor)


def test_a_branch_starts_where_it_is_told(shop: Shop) -> None:
    assert create_branch(shop.repository, "old", "main~1", actor=shop.actor).commit.message == "one"


# --- clone


def test_a_clone_taken_while_somebody_commits_is_whole(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shop.repository.head
    real = clone_module._copy_packs

    def busy(*arguments: Any) -> None:
        shop.commit(7, 7)
        real(*arguments)
        shop.commit(8, 8)

    monkeypatch.setattr(clone_module, "_copy_packs", busy)
    copy = clone(shop.repository.root, tmp_path / "copy", actor=shop.actor).repository
    assert copy.head == before
    assert fsck(copy).sound


@pytest.mark.parametrize("existing", [False, True])
def test_a_damaged_source_gives_no_clone(shop: Shop, tmp_path: Path, existing: bool) -> None:
    for pack in (shop.repository.folder / "objects").glob("*.pack"):
        data = bytearray(pack.read_bytes())
        data[40:80] = bytes(40)
        pack.write_bytes(data)
    if existing:
        (tmp_path / "copy").mkdir()
    with pytest.raises(CorruptObjectError):
        clone(shop.repository.root, tmp_path / "copy" if existing else tmp_path / "a" / "copy", actor=shop.actor)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"] * existing + ["model"]
    assert not existing or list((tmp_path / "copy").iterdir()) == []


def test_a_clone_of_a_clone_is_the_same(shop: Shop, tmp_path: Path) -> None:
    first = clone(shop.repository.root, tmp_path / "first", actor=shop.actor).repository
    second = clone(first.root, tmp_path / "second", actor=shop.actor).repository
    assert second.head == shop.repository.head
    assert (second.root / "model.safetensors").read_bytes() == (shop.repository.root / "model.safetensors").read_bytes()


# --- fsck


def test_fsck_says_which_commits_need_what_is_missing(shop: Shop) -> None:
    last = shop.repository.resolve("other")
    pack = next((shop.repository.folder / "objects").glob(f"pack-{last[:16]}*"))
    pack.unlink()
    found = fsck(Repository(shop.repository.root))
    assert not found.sound
    assert last in {item.id for item in found.hurt}


def test_fsck_finds_every_flipped_byte_of_a_tensor(shop: Shop, tmp_path: Path) -> None:
    packs = sorted((shop.repository.folder / "objects").glob("*.pack"))
    for pack in packs:
        data = pack.read_bytes()
        for place in range(0, len(data), max(1, len(data) // 9)):
            pack.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            assert not fsck(Repository(shop.repository.root)).sound, (pack.name, place)
        pack.write_bytes(data)
    assert fsck(Repository(shop.repository.root)).sound


# --- looking


def test_objects_are_found_by_any_unique_prefix(shop: Shop) -> None:
    for object_id in shop.repository.objects.ids():
        found = cat_file(shop.repository, object_id[:12])
        assert (found.id, len(found.content)) == (object_id, found.size_bytes)
    manifest = shop.repository.commit_of(shop.repository.head).manifest
    assert ls_tree(shop.repository, manifest[:10]) == ls_tree(shop.repository) == shop.repository.manifest(manifest)
    with pytest.raises(MlgitError):
        cat_file(shop.repository, "ffffffff")


def test_a_branch_named_like_an_id_goes_first(shop: Shop) -> None:
    name = shop.repository.resolve("other")[:8]
    create_branch(shop.repository, name, "main", actor=shop.actor)
    assert cat_file(shop.repository, name).id == shop.repository.head


def test_diff_sees_the_same_in_files_and_in_commits(shop: Shop) -> None:
    between = diff(shop.repository, "main", "other")
    restore(shop.repository, ["."], source="other")
    with_files = diff(shop.repository)
    assert (with_files.files, with_files.tensors, with_files.unchanged) == (
        between.files,
        between.tensors,
        between.unchanged,
    )
    assert between.tensors


# --- settings


def test_settings_keep_comments_and_come_back(shop: Shop) -> None:
    path = settings_path(shop.repository)
    path.write_text("# mine\n[user]\nname = 'Ada' # here\n")
    set_setting(path, "user.email", 'a"b\\c\x1b')
    assert get_setting(shop.repository.settings, "user.email") == 'a"b\\c\x1b'
    unset_setting(path, "user.email")
    assert path.read_text() == "# mine\n[user]\nname = 'Ada' # here\n"


def test_a_setting_below_a_value_is_refused(shop: Shop) -> None:
    path = settings_path(shop.repository)
    set_setting(path, "a.b", "1")
    before = path.read_text()
    with pytest.raises(InvalidInputError):
        set_setting(path, "a.b.c", "1")
    assert path.read_text() == before


def test_user_settings_that_cannot_be_written_leave_no_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> bool:
        raise FileSystemError("cannot write: no space left on device")

    monkeypatch.setattr("mlgit.porcelain.config.set_value", full)
    with pytest.raises(FileSystemError):
        set_setting(tmp_path / "new" / "mlgit" / "config.toml", "a.b", "1")
    assert list(tmp_path.iterdir()) == []


def test_the_oldest_and_the_newest_moment_are_shown(shop: Shop) -> None:
    for seconds in (-62_135_510_400, 253_402_214_399):
        made = commit(
            shop.repository, "x", allow_empty=True, actor=Actor(shop.actor.identity, Timestamp(seconds, 1439))
        )
        assert made.commit.time.isoformat()
    with pytest.raises(InvalidInputError):
        Timestamp(-62_135_510_401)


def test_a_copy_made_by_other_tools_is_a_repository_too(shop: Shop, tmp_path: Path) -> None:
    copy: Callable[..., Any] = shutil.copytree
    copy(shop.repository.root, tmp_path / "copied")
    assert status(Repository(tmp_path / "copied")).clean
    assert fsck(Repository(tmp_path / "copied")).sound
