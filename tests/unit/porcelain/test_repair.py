from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.errors import ConflictError, InvalidInputError, NotFoundError
from mlgit.objects import CommitId, ObjectId
from mlgit.porcelain import fsck as checking
from mlgit.porcelain import repair as mending
from mlgit.porcelain.branch import create_branch
from mlgit.porcelain.clone import clone
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.gc import gc
from mlgit.porcelain.switch import switch
from mlgit.porcelain.tag import create_tag
from mlgit.repository import Repository
from mlgit.storage import ObjectDatabase

DAMAGE = ("flip", "cut", "more", "empty", "delete")


class Pair:
    """A repository of three commits, two of them differences, and a clone of it."""

    def __init__(self, place: Path, make_workshop: Callable[[Path], object]) -> None:
        shop = make_workshop(place / "model")
        shop.commit(1, 2, 3)
        shop.commit(1, 4, 3)
        create_branch(shop.repository, "side", actor=shop.actor)
        switch(shop.repository, "side", actor=shop.actor)
        (shop.repository.root / "notes").mkdir()
        (shop.repository.root / "notes" / "readme.txt").write_text("about\n" * 50)
        shop.commit(5, 4, 3)
        create_tag(shop.repository, "v1", message="first", actor=shop.actor)
        switch(shop.repository, "main", actor=shop.actor)
        self.place = place
        self.root: Path = shop.repository.root
        self.clone = clone(self.root, place / "clone").repository.root
        self.states: dict[CommitId, dict[str, str]] = shop.states
        self.good = place / "good"
        shutil.copytree(self.root, self.good)

    def renew(self) -> None:
        """Undo everything that was done to the repository."""
        shutil.rmtree(self.root)
        shutil.copytree(self.good, self.root)

    @property
    def packs(self) -> list[Path]:
        return sorted((self.root / ".mlgit/objects").glob("*.pack"))

    def check(self, **options: object) -> checking.FsckResult:
        return fsck(Repository(self.root), **options)

    def repair(self) -> checking.FsckResult:
        return self.check(repair_from=self.clone)

    def assert_whole(self, fingerprint: Callable[[Path], dict[str, str]]) -> None:
        """Every commit reads back byte for byte, and nothing is hurt any more."""
        again = self.check()
        assert again.sound, again.hurt
        assert (again.commits, again.objects) == (3, fsck(Repository(self.clone)).objects)
        place = self.place / "out"
        shutil.rmtree(place, ignore_errors=True)
        copy = clone(self.root, place).repository
        for commit, state in self.states.items():
            switch(copy, commit, detach=True)
            found = fingerprint(place)
            assert {path: value for path, value in found.items() if not path.startswith(".mlgit")} == state


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, make_workshop: Callable[[Path], object]) -> Pair:
    return Pair(tmp_path_factory.mktemp("pair"), make_workshop)


@pytest.fixture
def fresh(pair: Pair) -> Iterator[Pair]:
    pair.renew()
    yield pair
    pair.renew()


def hurt(path: Path, how: str, place: float, bit: int = 0) -> None:
    """Damage a file at a place between 0, its start, and 1, its end."""
    data = bytearray(path.read_bytes())
    at = min(int(place * len(data)), len(data) - 1)
    if how == "flip":
        data[at] ^= 1 << bit
        path.write_bytes(data)
    elif how == "cut":
        os.truncate(path, at)
    elif how == "more":
        path.write_bytes(bytes(data) + data[:at])
    elif how == "empty":
        os.truncate(path, 0)
    else:
        path.unlink()


def test_every_pack_that_was_deleted_comes_back(fresh: Pair, fingerprint: Callable[[Path], dict[str, str]]) -> None:
    for path in fresh.packs:
        path.unlink()
    assert not fresh.check().sound
    found = fresh.repair()
    assert found.sound, found.hurt
    assert found.repaired
    assert found.set_aside == ()
    fresh.assert_whole(fingerprint)


@settings(max_examples=settings().max_examples * 2 // 5)
@given(which=st.integers(0, 3), how=st.sampled_from(DAMAGE), place=st.floats(0, 1), bit=st.integers(0, 7))
def test_any_damage_of_any_pack_is_repaired(
    pair: Pair,
    fingerprint: Callable[[Path], dict[str, str]],
    which: int,
    how: str,
    place: float,
    bit: int,
) -> None:
    pair.renew()
    other = fingerprint(pair.clone)
    path = pair.packs[which % len(pair.packs)]
    data = path.read_bytes()
    hurt(path, how, place, bit)
    if path.exists() and path.read_bytes() == data:
        return  # nothing was added
    before = pair.check()
    assert not before.sound
    found = pair.repair()
    assert found.sound, found.hurt
    assert found.repaired or found.set_aside
    pair.assert_whole(fingerprint)
    assert fingerprint(pair.clone) == other


def test_every_byte_of_a_pack_may_be_flipped(
    fresh: Pair, fingerprint: Callable[[Path], dict[str, str]], count: Callable[[int, int], int]
) -> None:
    for path in fresh.packs:
        size = path.stat().st_size
        for at in range(0, size, max(1, size // count(6, 300))):
            hurt(path, "flip", at / size, at % 8)
            assert not fresh.check().sound, (path.name, at)
            assert fresh.repair().sound, (path.name, at)
            assert fresh.check().sound, (path.name, at)
            fresh.renew()


def files(pair: Pair) -> list[Path]:
    folder = pair.root / ".mlgit"
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_damage_of_any_other_file_is_named_and_never_made_worse(
    fresh: Pair, fingerprint: Callable[[Path], dict[str, str]]
) -> None:
    others = [path for path in files(fresh) if path.suffix != ".pack"]
    assert {path.name for path in others} >= {"HEAD", "main", "side", "v1", "index.json"}
    for path in others:
        if path.name in ("format", "config.toml"):  # without these it is no repository of this version
            continue
        for place in (0.0, 0.3, 0.6, 0.95):
            hurt(path, "flip", place)
            before = fresh.check()
            after = fresh.repair()
            assert [item.problem for item in after.hurt] == [item.problem for item in before.hurt]
            if "/refs/" in str(path) or path.name == "HEAD":
                assert any(path.name in item.problem + str(item.names) for item in before.hurt), (path, place)
            assert (after.repaired, after.set_aside) == ((), ())
            fresh.renew()


def test_a_name_that_is_hurt_does_not_hide_what_its_log_knows(fresh: Pair) -> None:
    head = Repository(fresh.root).head
    (fresh.root / ".mlgit/refs/heads/main").write_text("nonsense")
    for path in fresh.packs:
        path.unlink()
    found = fresh.repair()
    assert not found.sound
    assert {item.kind for item in found.hurt} == {"ref"}
    assert any(str(head) in item.problem for item in found.hurt)
    (fresh.root / ".mlgit/refs/heads/main").write_text(f"commit {head}\n")
    assert fresh.check().sound


def test_what_the_other_repository_lacks_is_left_and_said(fresh: Pair, tmp_path: Path) -> None:
    poor = clone(fresh.root, tmp_path / "poor").repository
    side = Repository(fresh.root).resolve("side")
    for path in (poor.folder / "objects").glob(f"pack-{side[:16]}*"):
        path.unlink()
    for path in fresh.packs:
        path.unlink()
    found = fresh.check(repair_from=poor.root)
    assert not found.sound
    assert found.repaired
    assert found.set_aside == ()
    left = {item.id: item for item in found.hurt}
    assert "refs/heads/side" in left[side].names
    assert len(list(Repository(fresh.root).branches())) == 2
    again = fresh.check()
    assert {item.id for item in again.hurt} == set(left)
    assert fresh.repair().sound


def test_a_damaged_pack_stays_while_something_in_it_is_not_repaired(fresh: Pair, tmp_path: Path) -> None:
    poor = clone(fresh.root, tmp_path / "poor").repository
    for path in poor.folder.glob("objects/*.pack"):
        path.unlink()
    packs = fresh.packs
    for path in packs:
        hurt(path, "cut", 0.9)
    found = fresh.check(repair_from=poor.folder / "objects")
    assert not found.sound
    assert (found.repaired, found.set_aside) == ((), ())
    assert fresh.packs == packs
    assert fresh.repair().sound


def test_damaged_objects_of_the_other_repository_are_refused(fresh: Pair) -> None:
    place = 0.2
    for root in (fresh.root, fresh.clone):
        for path in sorted((root / ".mlgit/objects").glob("*.pack")):
            hurt(path, "flip", place)
    try:
        found = fresh.repair()
        assert not found.sound
        assert not fresh.check().sound
        assert found.repaired == ()
    finally:
        for path in (fresh.good / ".mlgit/objects").glob("*.pack"):
            shutil.copy(path, fresh.clone / ".mlgit/objects")


def test_two_repositories_with_damage_in_different_places_mend_each_other(fresh: Pair) -> None:
    packs = fresh.packs
    for path in packs[::2]:
        hurt(path, "cut", 0.5)
    for path in packs[1::2]:
        hurt(fresh.clone / ".mlgit/objects" / path.name, "empty", 0)
    try:
        assert fresh.repair().sound
        assert fsck(Repository(fresh.clone), repair_from=fresh.root).sound
        assert fsck(Repository(fresh.clone)).sound
    finally:
        shutil.rmtree(fresh.clone / ".mlgit/objects")
        shutil.copytree(fresh.good / ".mlgit/objects", fresh.clone / ".mlgit/objects")


def test_damaged_packs_are_set_aside_and_what_was_sound_in_them_stays(fresh: Pair) -> None:
    objects = ObjectDatabase(fresh.root / ".mlgit/objects")
    with objects.transaction() as transaction:
        lost = transaction.put_blob([b"nobody leads here"])
        kept = transaction.put_blob([b"nor here " * 500])
    (path,) = (path for path in fresh.packs if path.name not in {item.name for item in good_packs(fresh)})
    hurt(path, "flip", 20 / path.stat().st_size)  # the first of the two begins at 16
    before = fresh.check()
    assert [item.kind for item in before.hurt] == ["pack"]
    damaged = path.read_bytes()
    found = fresh.repair()
    assert found.sound, found.hurt
    assert found.set_aside == (fresh.root / ".mlgit/objects/damaged" / path.name,)
    assert found.set_aside[0].read_bytes() == damaged
    again = ObjectDatabase(fresh.root / ".mlgit/objects")
    assert again.problems(kept) is None
    assert lost not in again
    assert gc(Repository(fresh.root), grace_days=0).damaged == ()
    assert found.set_aside[0].exists()


def good_packs(pair: Pair) -> list[Path]:
    return list((pair.good / ".mlgit/objects").glob("*.pack"))


def test_a_second_damaged_pack_of_the_same_name_does_not_take_the_place_of_the_first(fresh: Pair) -> None:
    path = fresh.packs[0]
    for _ in range(2):
        shutil.copy(fresh.good / ".mlgit/objects" / path.name, path)
        hurt(path, "cut", 0.5)
        assert fresh.repair().sound
        if path.exists():  # what was written anew has the same name and took its place
            path.unlink()
    kept = list((fresh.root / ".mlgit/objects").glob("damaged/*"))
    assert len({item.name for item in kept}) == len(kept)


def test_differences_stay_differences(fresh: Pair) -> None:
    objects = Repository(fresh.root).objects
    before = {found: objects.bases(found) for found in objects.ids("tensor")}
    assert any(before.values())
    for path in fresh.packs:
        path.unlink()
    assert fresh.repair().sound
    after = Repository(fresh.root).objects
    assert {found: after.bases(found) for found in after.ids("tensor")} == before


def test_a_difference_whose_base_is_lost_is_repaired(fresh: Pair, tmp_path: Path) -> None:
    objects = Repository(fresh.root).objects
    changed = next(found for found in objects.ids("tensor") if objects.bases(found))
    (base,) = objects.bases(changed)
    (path,) = (item for item in fresh.packs if base in set(ObjectDatabase_of(item, tmp_path).ids()))
    path.unlink()
    before = fresh.check()
    assert changed in {item.id for item in before.hurt}
    found = fresh.repair()
    assert found.sound
    assert base in found.repaired
    assert changed not in found.repaired  # it was whole itself
    assert found.set_aside == ()
    assert fresh.check().sound


def ObjectDatabase_of(path: Path, place: Path) -> ObjectDatabase:  # noqa: N802 - a constructor
    """Return a database of one pack alone."""
    root = place / path.stem / "objects"
    root.mkdir(parents=True)
    shutil.copy(path, root)
    return ObjectDatabase(root)


@pytest.mark.parametrize("step", ["_fetch", "_salvage", "_check_new", "_set_aside"])
def test_a_repair_that_is_interrupted_loses_nothing_and_can_be_run_again(
    fresh: Pair, monkeypatch: pytest.MonkeyPatch, fingerprint: Callable[[Path], dict[str, str]], step: str
) -> None:
    for number, path in enumerate(fresh.packs):
        hurt(path, "flip" if number % 2 else "cut", 0.4)
    held = {path.name: path.read_bytes() for path in fresh.packs}

    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mending, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            fresh.repair()
    everything = {path.name: path.read_bytes() for path in (fresh.root / ".mlgit/objects").rglob("*.pack")}
    for name, data in held.items():
        assert everything[name] in (data, (fresh.good / ".mlgit/objects" / name).read_bytes())
    assert fresh.repair().sound
    fresh.assert_whole(fingerprint)


def test_packs_are_not_set_aside_from_under_a_writer(fresh: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mending, "_WAIT_S", 0.05)
    path = fresh.packs[0]
    damaged = path.with_name(path.name.replace(path.name[5:21], "0" * 16))
    path.rename(damaged)
    hurt(damaged, "cut", 0.5)
    with Repository(fresh.root).keeping():
        with pytest.raises(ConflictError):
            fresh.repair()
        assert damaged.exists()
        assert {item.kind for item in fresh.check().hurt} == {"pack"}  # what was fetched is stored
    found = fresh.repair()
    assert found.sound
    assert found.repaired == ()
    assert len(found.set_aside) == 1


def test_a_repaired_repository_is_collected_cloned_and_measured_without_what_was_set_aside(
    fresh: Pair, tmp_path: Path
) -> None:
    path = fresh.packs[0]
    damaged = path.with_name(path.name.replace(path.name[5:21], "0" * 16))
    path.rename(damaged)
    hurt(damaged, "flip", 0.9)
    (moved,) = fresh.repair().set_aside
    repository = Repository(fresh.root)
    assert moved not in repository.objects.pack_paths()
    gc(repository, grace_days=0, reflog_days=0)
    assert moved.exists()
    copy = clone(fresh.root, tmp_path / "copy").repository
    assert not (copy.folder / "objects" / mending.DAMAGED).exists()
    assert fsck(copy).sound


def test_the_other_repository_is_only_read(fresh: Pair, fingerprint: Callable[[Path], dict[str, str]]) -> None:
    before = fingerprint(fresh.clone)
    folders = sorted(str(path) for path in fresh.clone.rglob("*"))
    for path in fresh.packs:
        path.unlink()
    assert fresh.repair().sound
    assert fingerprint(fresh.clone) == before
    assert sorted(str(path) for path in fresh.clone.rglob("*")) == folders


@pytest.mark.parametrize("place", [".", ".mlgit", ".mlgit/objects"])
def test_another_repository_is_found_by_its_directory_or_its_objects(fresh: Pair, place: str) -> None:
    fresh.packs[0].unlink()
    assert fresh.check(repair_from=fresh.clone / place).sound


def test_a_folder_of_objects_that_is_gone_altogether_comes_back(
    fresh: Pair, fingerprint: Callable[[Path], dict[str, str]]
) -> None:
    shutil.rmtree(fresh.root / ".mlgit/objects")
    assert fresh.repair().sound
    fresh.assert_whole(fingerprint)


def test_nothing_is_repaired_from_nowhere_or_from_itself(fresh: Pair, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(NotFoundError):
            fresh.check(repair_from=place)
    for place in (fresh.root, fresh.root / ".mlgit/objects"):
        with pytest.raises(InvalidInputError):
            fresh.check(repair_from=place)


def test_a_sound_repository_is_left_alone(fresh: Pair) -> None:
    before = {path: path.stat().st_mtime_ns for path in fresh.packs}
    found = fresh.repair()
    assert found.sound
    assert (found.repaired, found.set_aside) == ((), ())
    assert {path: path.stat().st_mtime_ns for path in fresh.packs} == before


def test_names_and_commits_of_what_is_hurt_are_said(fresh: Pair) -> None:
    repository = Repository(fresh.root)
    tip, first = repository.resolve("main"), repository.resolve("main~1")
    for path in fresh.packs:
        if path.name.startswith(f"pack-{first[:16]}"):
            path.unlink()
    found = {item.id: item for item in fresh.check().hurt}
    assert found[first].commits == (tip,)
    assert found[first].names
    shared: ObjectId = repository.manifest_of(tip).tensors["layer0"].id
    assert set(found[shared].commits) == {tip}  # the other commits cannot be read any more
