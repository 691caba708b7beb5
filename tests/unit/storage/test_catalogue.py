from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mlgit.objects import blob_id
from mlgit.storage import ObjectDatabase, catalogue, pack_folder


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the catalogue after every few packs."""
    monkeypatch.setattr(pack_folder, "_UNCOVERED", 5)


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
    found = catalogue.Catalogue.load(root / catalogue.NAME)
    assert found is not None
    assert 10 < len(found.names) < 20
    check(root, 20)


@pytest.mark.parametrize("damage", ["removed", "empty", "cut", "flipped", "rubbish"])
def test_without_a_sound_catalogue_everything_is_found_too(fast_path: Path, often: None, damage: str) -> None:
    root = ObjectDatabase.create(fast_path / "objects").root
    fill(root, range(20))
    path = root / catalogue.NAME
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    changed = {"empty": b"", "cut": data[:-40], "flipped": data, "rubbish": b"rubbish" * 99}
    path.unlink()
    if damage != "removed":
        path.write_bytes(changed[damage])
    assert catalogue.Catalogue.load(path) is None
    check(root, 20)


def test_packs_that_went_away_are_dropped_from_the_catalogue(fast_path: Path, often: None) -> None:
    root = ObjectDatabase.create(fast_path / "objects").root
    fill(root, range(20))
    found = catalogue.Catalogue.load(root / catalogue.NAME)
    assert found is not None
    gone = found.names[0]
    (root / gone).unlink()
    database = ObjectDatabase(root)
    assert len(set(database.ids())) == 38
    assert sum(blob_id([b"first of ", str(number).encode()]) in database for number in range(20)) == 19
    fill(root, range(20))
    check(root, 20)
    fill(root, range(30))
    found = catalogue.Catalogue.load(root / catalogue.NAME)
    assert found is not None
    assert set(found.names) <= {path.name for path in database.pack_paths()}


def test_an_open_database_uses_the_catalogue_of_another_process(fast_path: Path, often: None) -> None:
    root = ObjectDatabase.create(fast_path / "objects").root
    reader = ObjectDatabase(root)
    assert list(reader.ids()) == []
    fill(root, range(20))
    assert reader.read(blob_id([b"second of 3"])) == b"second of 3"
    assert reader._folder._catalogue is not None


def test_a_catalogue_that_cannot_be_written_is_done_without(
    fast_path: Path, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = ObjectDatabase.create(fast_path / "objects").root
    (root / catalogue.NAME).mkdir()
    fill(root, range(12))
    check(root, 12)


def test_a_lookup_among_many_packs_opens_few_of_them(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    root = ObjectDatabase.create(fast_path / "objects").root
    fill(root, range(300))
    database = ObjectDatabase(root)
    opened: list[str] = []
    monkeypatch.setattr(pack_folder, "Pack", lambda path, real=pack_folder.Pack: opened.append(path.name) or real(path))
    database.read(blob_id([b"second of 7"]))
    assert len(opened) == 1
    assert blob_id([b"not here"]) not in database
    assert len(opened) <= 1 + pack_folder._UNCOVERED
    start = time.process_time()
    for number in range(300):
        assert blob_id([b"not here ", str(number).encode()]) not in database
    assert time.process_time() - start < 5
