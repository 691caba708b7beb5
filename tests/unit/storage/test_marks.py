from __future__ import annotations

import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.storage import marks
from mlgit.storage.encoder import Encoded
from mlgit.storage.marks import Marks, keys_of
from mlgit.storage.pack import Pack
from mlgit.storage.pack_format import ObjectEntry
from mlgit.storage.pack_table import PackTable
from mlgit.storage.pack_writer import PackWriter


def keys(*ids: bytes) -> np.ndarray:
    return keys_of(np.frombuffer(b"".join(ids), np.uint8).reshape(-1, 32))


IDS = st.integers(0, 40).map(lambda number: bytes([number]) * 8 + bytes(24))


@given(st.lists(st.lists(IDS, max_size=20), max_size=8), st.lists(IDS))
def test_marks_are_a_set_and_tell_what_is_new(rounds: list[list[bytes]], asked: list[bytes]) -> None:
    found, expected = Marks(), set()
    for ids in rounds:
        found.add(b"".join(ids))
        new = found.take_new()
        assert new is not None
        told = [new[at : at + 32] for at in range(0, len(new), 32)]
        assert len(set(told)) == len(told)
        assert set(told) == set(ids) - expected
        expected |= set(ids)
    assert len(found) == len(expected)
    if asked:
        assert found.mask(keys(*asked)).tolist() == [one in expected for one in asked]


def test_too_many_new_marks_are_said_to_be_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "_NEW_BYTES", 320)
    found = Marks()
    found.add(np.arange(4 * 40, dtype=">u8").tobytes())
    assert found.take_new() is None
    assert found.take_new() == b""
    found.add(b"x" * 32)
    assert found.take_new() == b"x" * 32


def test_a_mark_takes_few_bytes() -> None:
    ids = np.random.default_rng(0).bytes(32 * 300_000)
    tracemalloc.start()
    try:
        found = Marks()
        found.add(memoryview(ids))
        assert len(found) == 300_000
        current, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert current < 9 * 300_000
    assert peak < 60 * 300_000


@settings(max_examples=60, deadline=None)
@given(
    objects=st.lists(st.tuples(IDS, st.integers(0, 3), st.booleans()), max_size=9, unique_by=lambda one: one[0]),
    data=st.data(),
)
def test_a_table_says_what_the_entries_of_a_pack_say(
    objects: list[tuple[bytes, int, bool]], data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        writer = PackWriter(Path(folder))
        entries: list[ObjectEntry] = []
        for number, (digest, count, has_base) in enumerate(objects):
            first = len(writer.chunks)
            for _ in range(count):
                base = bytes([number + 100]) * 32 if has_base else None
                stored = memoryview(bytearray(number + 1))
                writer.append(Encoded(stored, 0, 1 << 16, 1, int(has_base), base, bytes(8)))
            entries.append(ObjectEntry(digest, "tensor", count << 16, first, count, 16, b"{}"))
        pack = Pack(writer.publish(entries, main=bytes(32)))
        table = PackTable(pack)
        table.check()
        assert len(table) == pack.object_count
        chosen = np.array(
            data.draw(st.lists(st.booleans(), min_size=len(entries), max_size=len(entries))), dtype=np.bool_
        )
        numbers = [number for number in range(len(entries)) if chosen[number]]
        found = [pack.entry(number) for number in numbers]
        assert b"".join(table.ids(chosen)) == b"".join(entry.digest for entry in found)
        assert table.keys.tolist() == [int.from_bytes(pack.digest(n)[:8], "big") for n in range(len(entries))]
        assert table.stored_bytes(chosen) == sum(
            64 + sum(32 + chunk.stored for chunk in pack.chunks(entry)) for entry in found
        )
        bases = {chunk.base for entry in found for chunk in pack.chunks(entry) if chunk.base}
        assert table.bases(chosen) == b"".join(sorted(bases))
        assert sorted(table.by_place(chosen)) == numbers
        places = [pack.entry(number).first_chunk for number in table.by_place(chosen)]
        assert places == sorted(places)
