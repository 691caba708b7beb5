from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.objects import BlobId, blob_id
from mlgit.storage import ObjectDatabase, catalogue, catalogue_writer, commit_graph, pack_folder
from mlgit.storage.pack import Pack
from mlgit.storage.pack_folder import PackFolder
from mlgit.storage.pack_format import ObjectEntry
from mlgit.storage.pack_writer import PackWriter


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the catalogue after every few packs."""
    monkeypatch.setattr(pack_folder, "_UNCOVERED", 5)


def covered(root: Path) -> set[str]:
    """Return the names of the packs in catalogues."""
    return {name for each in catalogue.load_all(root, {}).values() for name in each.packs}


def fill(root: Path, numbers: range) -> None:
    database = ObjectDatabase(root)
    for number in numbers:
        with database.transaction() as transaction:
            transaction.put_blob([b"first of ", str(number).encode()])
            transaction.put_blob([b"second of ", str(number).encode()])


def check(root: Path, count: int) -> None:
    database = ObjectDatabase(root)
    contents = [word + str(number).encode() for word in (b"first of ", b"second of ") for number in range(count)]
    ids = [blob_id([content]) for content in contents]
    assert [database.read(found) for found in ids] == contents
    assert set(database.ids()) == set(ids)
    assert database.with_prefix(ids[0][:1]) == sorted(found for found in ids if found[0] == ids[0][0])
    assert database.with_prefix(ids[-1]) == [ids[-1]]
    assert blob_id([b"not here"]) not in database
    with database.transaction() as transaction:
        for content in contents:
            transaction.put_blob([content])
    assert len(database.pack_paths()) == count


def test_objects_are_found_with_a_catalogue_of_some_packs(fast_path: Path, often: None) -> None:
    root = ObjectDatabase.create(fast_path / "objects").root
    fill(root, range(20))
    assert 10 < len(covered(root)) < 20
    check(root, 20)


@pytest.mark.parametrize("damage", ["removed", "empty", "cut", "rubbish"])
def test_without_a_sound_catalogue_everything_is_found_too(fast_path: Path, often: None, damage: str) -> None:
    root = ObjectDatabase.create(fast_path / "objects").root
    fill(root, range(20))
    for path in (root / catalogue.FOLDER).iterdir():
        data = path.read_bytes()
        changed = {"empty": b"", "cut": data[:-40], "rubbish": b"rubbish" * 99}
        path.unlink()
        if damage != "removed":
            path.write_bytes(changed[damage])
        assert catalogue.Catalogue.load(path) is None
    check(root, 20)


def test_every_changed_byte_of_a_catalogue_is_noticed_where_it_counts(fast_path: Path, often: None) -> None:
    root = ObjectDatabase.create(fast_path / "objects").root
    fill(root, range(6))
    (path,) = (root / catalogue.FOLDER).iterdir()
    sound = catalogue.Catalogue.load(path)
    assert sound is not None
    held = {digest: sound.find(digest) for digest, _ in sound.from_prefix(bytes(32))}
    data = path.read_bytes()
    assert len(held) == 12
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
        broken = catalogue.Catalogue.load(path)
        for digest, names in held.items() if broken is not None else ():
            with suppress(catalogue.DamagedCatalogueError):
                assert broken is not None
                assert broken.find(digest) == names


def test_a_catalogue_that_turns_out_damaged_is_dropped_and_everything_is_found(fast_path: Path, often: None) -> None:
    root = ObjectDatabase.create(fast_path / "objects").root
    fill(root, range(20))
    for path in (root / catalogue.FOLDER).iterdir():
        data = bytearray(path.read_bytes())
        loaded = catalogue.Catalogue.load(path)
        assert loaded is not None
        for number in range(loaded.entry_count):
            data[-36 * number - 20] ^= 1
        path.write_bytes(data)
        assert catalogue.Catalogue.load(path) is not None
    database = ObjectDatabase(root)
    assert database.read(blob_id([b"first of 3"])) == b"first of 3"
    assert len(database.with_prefix("")) == 40
    assert blob_id([b"not here"]) not in database
    fill(root, range(20, 30))
    check(root, 30)


@settings(max_examples=40, deadline=None)
@given(
    rounds=st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=12, unique=True), min_size=1, max_size=5),
    lost=st.sets(st.integers(0, 20)),
    data=st.data(),
)
def test_a_catalogue_says_what_the_indexes_say(rounds: list[list[int]], lost: set[int], data: st.DataObject) -> None:
    """Packs come in rounds and some go again; ids share their first bytes, so that ties are met."""
    with TemporaryDirectory() as folder:
        root, expected, names = Path(folder), set(), []
        known: dict[str, catalogue.Catalogue] = {}
        for number, objects in enumerate(rounds):
            digests = [b"same" * 2 + bytes([each % 3]) * 23 + bytes([each]) for each in objects[:6]]
            digests += [bytes([each * 4]) * 32 for each in objects[6:]]
            entries = [ObjectEntry(digest, "blob", 0, 0, 0, 20, b"") for digest in digests]
            writer = PackWriter(root)
            names.append(writer.publish(entries, main=bytes([number]) * 32).name)
            catalogue_writer.update(root, known.values(), [Pack(root / names[-1])], names)
            expected |= {(digest, names[-1]) for digest in digests}
            known = catalogue.load_all(root, known)
        found = [pair for each in known.values() for pair in each.from_prefix(bytes(32))]
        assert sorted(found) == sorted(expected)
        for each in known.values():
            pairs = list(each.from_prefix(bytes(32)))
            assert pairs == sorted(pairs)
        digest = data.draw(st.sampled_from(sorted(expected)))[0]
        holders = {name for held, name in expected if held == digest}
        assert {name for each in known.values() for name in each.find(digest)} == holders
        alive = [name for place, name in enumerate(names) if place not in lost]
        catalogue_writer.update(root, known.values(), [], alive)
        known = catalogue.load_all(root, known)
        found = [pair for each in known.values() for pair in each.from_prefix(bytes(32)) if pair[1] in alive]
        assert sorted(found) == sorted(pair for pair in expected if pair[1] in alive)


def test_many_entries_are_written_in_parts(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_writer, "_PART_ENTRIES", 100)
    monkeypatch.setattr(catalogue_writer, "_LARGE", 300)
    generator = random.Random(5)
    names, expected = [], []
    for size in (900, 200, 600):
        digests = [generator.randbytes(32) for _ in range(size)]
        writer = PackWriter(fast_path)
        path = writer.publish([ObjectEntry(digest, "blob", 0, 0, 0, 20, b"") for digest in digests], main=digests[0])
        names.append(path.name)
        expected += [(digest, path.name) for digest in digests]
    catalogue_writer.update(fast_path, (), (Pack(fast_path / name) for name in names), names)
    (only,) = catalogue.load_all(fast_path, {}).values()
    assert list(only.from_prefix(bytes(32))) == sorted(expected)
    assert all(only.find(digest) == [name] for digest, name in expected)
    assert only.find(bytes(32)) == []
    assert only.find(b"\xff" * 32) == []


def test_packs_that_went_away_are_dropped_from_the_catalogue(fast_path: Path, often: None) -> None:
    root = ObjectDatabase.create(fast_path / "objects").root
    fill(root, range(20))
    gone = min(covered(root))
    (root / gone).unlink()
    database = ObjectDatabase(root)
    assert len(set(database.ids())) == 38
    assert sum(blob_id([b"first of ", str(number).encode()]) in database for number in range(20)) == 19
    fill(root, range(20))
    check(root, 20)
    fill(root, range(30))
    for path in database.pack_paths()[:25]:
        path.unlink()
    PackFolder(root).prune_catalogue()
    left = {path.name for path in database.pack_paths()}
    assert len(left) == 5
    assert covered(root) == left


def test_an_open_database_uses_the_catalogue_of_another_process(fast_path: Path, often: None) -> None:
    root = ObjectDatabase.create(fast_path / "objects").root
    reader = ObjectDatabase(root)
    assert list(reader.ids()) == []
    fill(root, range(20))
    assert reader.read(blob_id([b"second of 3"])) == b"second of 3"
    assert reader._folder._catalogues


def test_a_catalogue_that_cannot_be_written_is_done_without(
    fast_path: Path, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = ObjectDatabase.create(fast_path / "objects").root
    (root / catalogue.FOLDER).write_bytes(b"")
    fill(root, range(12))
    check(root, 12)


def test_a_lookup_among_many_packs_opens_few_of_them(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    root = ObjectDatabase.create(fast_path / "objects").root
    fill(root, range(300))
    database = ObjectDatabase(root)
    opened: list[str] = []
    monkeypatch.setattr(
        pack_folder, "Pack", lambda path, real=pack_folder.Pack, **how: opened.append(path.name) or real(path, **how)
    )
    database.read(blob_id([b"second of 7"]))
    assert len(opened) == 1
    assert blob_id([b"not here"]) not in database
    assert len(opened) <= 1 + pack_folder._UNCOVERED
    start = time.process_time()
    for number in range(300):
        assert blob_id([b"not here ", str(number).encode()]) not in database
    assert time.process_time() - start < 5


def test_a_large_pack_is_entered_at_once_and_its_index_is_not_read_for_what_it_lacks(
    fast_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_folder, "_LARGE_PACK", 6)
    monkeypatch.setattr("mlgit.storage.pack._VERIFY_LATER", 0)
    verified: list[Path] = []
    verify = Pack.verify
    monkeypatch.setattr(Pack, "verify", lambda pack: verified.append(pack.path) or verify(pack))
    root = ObjectDatabase.create(fast_path / "objects").root
    with ObjectDatabase(root).transaction() as transaction:
        ids = [transaction.put_blob([bytes([number])]) for number in range(6)]
    (pack,) = ObjectDatabase(root).pack_paths()
    assert covered(root) == {pack.name}
    verified.clear()
    database = ObjectDatabase(root)
    assert database.read(ids[3]) == b"\x03"
    assert blob_id([b"not here"]) not in database
    assert database.with_prefix(ids[2][:9]) == [ids[2]]
    assert verified == []
    (catalogue_file,) = (root / catalogue.FOLDER).iterdir()
    catalogue_file.unlink()
    assert blob_id([b"not here"]) not in ObjectDatabase(root)
    assert verified == [pack]


def test_what_a_catalogue_covers_is_found_without_listing_the_folder(
    fast_path: Path, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = ObjectDatabase.create(fast_path / "objects").root
    fill(root, range(20))
    monkeypatch.setattr(PackFolder, "refresh", None)
    digest = next(digest for each in catalogue.load_all(root, {}).values() for digest, _ in each.from_prefix(bytes(32)))
    assert ObjectDatabase(root).kind(BlobId.from_digest(digest)) == "blob"


def test_what_a_writer_killed_in_a_catalogue_or_a_graph_leaves_is_removed_by_the_next_collector(
    fast_path: Path, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = ObjectDatabase.create(fast_path / "objects").root

    def killed(write: Callable[[], object]) -> None:
        child = os.fork()
        if child == 0:
            try:
                monkeypatch.setattr(Path, "replace", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
                write()
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL

    fill(root, range(4))
    folder = PackFolder(root)
    folder.refresh()
    killed(folder.write_catalogue)
    killed(lambda: commit_graph.write(root / commit_graph.NAME, b"half"))
    left = {path.name for path in root.rglob("*.tmp")}
    assert len(left) == 2
    ObjectDatabase(root).collector().tidy()
    assert [path.name for path in root.rglob("*.tmp")] == []
    check(root, 4)
