"""Several processes, and several threads, at one database."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mlgit.objects import blob_id, tensor_id
from mlgit.storage import ObjectDatabase

Start = Callable[..., "subprocess.Popen[bytes]"]

APPEND = """
import sys
from pathlib import Path
from mlgit.storage import ObjectDatabase
database = ObjectDatabase(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    with database.transaction() as transaction:
        transaction.put_blob([b"shared", bytes([number])])
        transaction.put_blob([sys.argv[2].encode(), bytes([number])])
        transaction.put_tensor("U8", [300_000], iter([bytes([number]) * 300_000]))
"""


def test_processes_that_write_at_once_lose_nothing(fast_path: Path, run_python: Start) -> None:
    database = ObjectDatabase.create(fast_path / "objects")
    early = blob_id([b"a", bytes([0])])
    assert early not in database
    processes = [run_python(APPEND, database.root, name, 15) for name in "abc"]
    assert [process.communicate(timeout=100)[1] for process in processes] == [b""] * 3
    expected = {blob_id([word, bytes([n])]) for word in (b"shared", b"a", b"b", b"c") for n in range(15)}
    expected |= {tensor_id("U8", [300_000], [bytes([n]) * 300_000]) for n in range(15)}
    assert early in database  # it was opened before any of them wrote
    assert set(database.ids()) == expected
    assert [database.problems(found) for found in expected] == [None] * len(expected)
    assert list(database.check_packs()) == []
    assert [path.suffix for path in database.root.iterdir() if path.suffix == ".tmp"] == []


def test_a_pack_that_goes_away_is_forgotten_and_its_objects_found_elsewhere(database: ObjectDatabase) -> None:
    with database.transaction() as transaction:
        found = transaction.put_blob([b"content"])
    (first,) = database.pack_paths()
    reader = ObjectDatabase(database.root)
    assert found in reader
    other = ObjectDatabase(database.root)
    assert other.pack_paths() == [first]
    with database.transaction(again={found}) as transaction:
        transaction.put_blob([b"content"])
        transaction.put_blob([b"more"])
    first.unlink()
    assert reader.read(found) == b"content"
    assert other.read(found) == b"content"
    assert reader.read(blob_id([b"more"])) == b"more"


def test_a_removed_pack_is_missed_at_the_next_listing(database: ObjectDatabase) -> None:
    with database.transaction() as transaction:
        found = transaction.put_blob([b"content"])
    reader = ObjectDatabase(database.root)
    assert reader.pack_paths() == database.pack_paths()
    (path,) = database.pack_paths()
    path.unlink()
    assert found not in reader
    assert list(reader.ids()) == []


def test_threads_share_one_database(database: ObjectDatabase, small_chunks: int) -> None:
    rng = np.random.default_rng(0)
    contents = [rng.integers(0, 50, 250_000, dtype=np.uint8).tobytes() for _ in range(8)]
    with database.transaction() as transaction:
        ids = [transaction.put_blob([content]) for content in contents]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(3):
            assert list(pool.map(database.read, ids)) == contents


def test_a_database_works_on_in_a_forked_child(database: ObjectDatabase, small_chunks: int) -> None:
    content = np.random.default_rng(0).integers(0, 50, 1_000_000, dtype=np.uint8).tobytes()
    with database.transaction() as transaction:
        found = transaction.put_blob([content])
    assert database.read(found) == content  # the threads of this process run now
    child = os.fork()
    if child == 0:
        os._exit(0 if database.read(found) == content else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_many_packs_do_not_use_up_the_file_descriptors(fast_path: Path) -> None:
    database = ObjectDatabase.create(fast_path / "objects")
    ids = []
    for number in range(400):
        with database.transaction() as transaction:
            ids.append(transaction.put_blob([number.to_bytes(2, "big")]))
    reader = ObjectDatabase(database.root)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number, found in enumerate(ids):
        assert reader.read(found) == number.to_bytes(2, "big")
    assert blob_id([b"not there"]) not in reader
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 260
    del reader
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
