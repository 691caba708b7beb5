from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlgit.errors import CorruptObjectError
from mlgit.objects import TensorId
from mlgit.storage import ObjectDatabase, base_cache
from mlgit.storage.base_cache import BaseCache
from mlgit.storage.chunk_reader import ChunkReader

COUNT = 1 << 19


@pytest.fixture
def family(tmp_path: Path) -> tuple[ObjectDatabase, dict[TensorId, bytes]]:
    """A base of two chunks and four differences to it."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=COUNT).astype("<f4")
    database = ObjectDatabase.create(tmp_path / "objects")
    contents: dict[TensorId, bytes] = {}
    with database.transaction() as transaction:
        first = transaction.put_tensor("F32", [COUNT], [base.tobytes()])
        contents[first] = base.tobytes()
        for _ in range(4):
            other = (base * rng.normal(1, 1e-4, COUNT)).astype("<f4").tobytes()
            contents[transaction.put_tensor("F32", [COUNT], [other], base=first)] = other
    return database, contents


def decodings(database: ObjectDatabase, contents: dict[TensorId, bytes], monkeypatch: pytest.MonkeyPatch) -> int:
    """Read everything; return how many chunks were decoded."""
    count = 0
    plain = ChunkReader.decode

    def counted(self: ChunkReader, *arguments: object, **options: object) -> None:
        nonlocal count
        count += 1
        plain(self, *arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(ChunkReader, "decode", counted)
        for found, data in contents.items():
            target = bytearray(len(data))
            database.read_into(found, memoryview(target))
            assert target == data
    return count


def test_a_shared_base_is_decoded_once(
    family: tuple[ObjectDatabase, dict[TensorId, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, contents = family
    assert decodings(database, contents, monkeypatch) == 2 + 4 * 2 * 2
    with database.sharing_bases(), database.sharing_bases():
        assert decodings(database, contents, monkeypatch) == 2 + 4 * 2 + 2
        assert decodings(database, contents, monkeypatch) == 2 + 4 * 2
    assert decodings(database, contents, monkeypatch) == 2 + 4 * 2 * 2


def test_no_more_is_kept_than_allowed(
    family: tuple[ObjectDatabase, dict[TensorId, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, contents = family
    monkeypatch.setattr(base_cache, "_BUDGET_BYTES", (1 << 20) - 1)
    with database.sharing_bases():
        assert decodings(database, contents, monkeypatch) == 2 + 4 * 2 * 2


def test_a_base_that_was_kept_wrong_is_read_again(family: tuple[ObjectDatabase, dict[TensorId, bytes]]) -> None:
    database, contents = family
    base, *others = contents
    with database.sharing_bases():
        database._chunks.bases.put((base.digest, 0, False), memoryview(bytearray(1 << 20)))
        for found in others:
            assert database.read(found) == contents[found]


def test_damage_is_found_with_and_without_it(family: tuple[ObjectDatabase, dict[TensorId, bytes]]) -> None:
    database, contents = family
    (pack,) = database.pack_paths()
    data = bytearray(pack.read_bytes())
    data[1000] ^= 1  # in the first chunk of the base
    pack.write_bytes(data)
    reader = ObjectDatabase(database.root)
    with reader.sharing_bases():
        for found in contents:
            with pytest.raises(CorruptObjectError, match=pack.name):
                reader.read(found)


def test_nothing_is_kept_for_nobody() -> None:
    cache = BaseCache()
    cache.put((b"a", 0, False), memoryview(bytearray(4)))
    assert cache.get((b"a", 0, False), 4) is None
    with cache.sharing():
        cache.put((b"a", 0, False), memoryview(bytearray(4)))
        assert cache.get((b"a", 0, False), 4) is not None
        assert cache.get((b"a", 0, False), 5) is None
    assert cache.get((b"a", 0, False), 4) is None
