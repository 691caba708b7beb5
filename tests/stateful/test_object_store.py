"""Random transactions, several open databases, lost catalogues and damaged packs against a dictionary."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mlgit.errors import CorruptObjectError
from mlgit.objects import ObjectId, TensorId, blob_id, tensor_id
from mlgit.storage import ObjectDatabase, pack_folder, pack_format
from mlgit.storage.incoming import TensorSource

SIZES = st.sampled_from([0, 1, 50, 1 << 16, (1 << 16) + 4, 3 << 16])
FILLS = st.integers(0, 3)


class Stop(Exception):  # noqa: N818 - not an error, the end of a transaction
    """Ends a transaction without publishing it."""


class ObjectMachine(RuleBasedStateMachine):
    """Two handles on one database and what it should hold."""

    @initialize()
    def start(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(pack_folder, "_UNCOVERED", 3)
        self.patch.setattr(pack_format, "DEFAULT_EXPONENT", 16)
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)  # noqa: S108 - a random name below it is made
        root = Path(self.folder.name) / "objects"
        self.handles = [ObjectDatabase.create(root), ObjectDatabase(root)]
        self.model: dict[ObjectId, bytes] = {}

    def teardown(self) -> None:
        self.patch.undo()
        self.folder.cleanup()

    @rule(
        handle=st.integers(0, 1),
        items=st.lists(st.tuples(SIZES, FILLS, st.sampled_from(["F32", "U8", "blob"])), max_size=4),
        change=st.booleans(),
        stop=st.booleans(),
        stream=st.booleans(),
    )
    def write(self, handle: int, items: list[tuple[int, int, str]], change: bool, stop: bool, stream: bool) -> None:
        added: dict[ObjectId, bytes] = {}
        try:
            with self.handles[handle].transaction() as writer:
                for size, fill, kind in items:
                    data = (bytes([fill, 7, 1]) * size)[: size // 4 * 4] + b"\1" * (4 * change)
                    parts = iter([data[:5], data[5:]]) if stream else [data]
                    if kind == "blob":
                        found: ObjectId = writer.put_blob(parts)
                        assert found == blob_id([data])
                    else:
                        shape = [len(data) // (4 if kind == "F32" else 1)]
                        bases = [known for known in (*self.model, *added) if isinstance(known, TensorId)]
                        base = bases[fill % len(bases)] if bases else None
                        found = writer.put_tensor(kind, shape, parts, base=base)
                        assert found == tensor_id(kind, shape, [data])
                    assert found in writer
                    added[found] = data
                if stop:
                    raise Stop
        except Stop:
            return
        self.model |= added

    @rule(
        handle=st.integers(0, 1),
        items=st.lists(st.tuples(SIZES, FILLS, st.booleans()), max_size=6),
        together=st.booleans(),
        stop=st.booleans(),
    )
    def write_many(self, handle: int, items: list[tuple[int, int, bool]], together: bool, stop: bool) -> None:
        contents = [(bytes([fill, 9, large]) * size * (1 + 99 * large))[: size // 4 * 4] for size, fill, large in items]
        contents = [data * (1 + 20 * large) for data, (_, _, large) in zip(contents, items, strict=True)]
        file = b"".join(contents)

        def fill_from(source: bytes, start: int, target: memoryview) -> None:
            target[:] = source[start : start + len(target)]

        whole = partial(fill_from, file)
        sources, start = [], 0
        known = [known for known in self.model if isinstance(known, TensorId)]
        for data, (_, fill, _) in zip(contents, items, strict=True):
            base = known[fill % len(known)] if known else None
            fill_one, at = (whole, start) if together else (partial(fill_from, data), 0)
            sources.append(TensorSource("F32", [len(data) // 4], fill_one, at, base))
            start += len(data)
        try:
            with self.handles[handle].transaction() as writer:
                found = writer.put_tensors(iter(sources))
                assert found == [tensor_id("F32", [len(data) // 4], [data]) for data in contents]
                if stop:
                    raise Stop
        except Stop:
            return
        self.model |= dict(zip(found, contents, strict=True))

    @rule()
    def read_many(self) -> None:
        targets = {found: bytearray(len(data)) for found, data in self.model.items()}
        self.handles[0].read_all_into((found, memoryview(target)) for found, target in targets.items())
        assert targets == self.model
        with tempfile.TemporaryFile() as stream:
            places, end = [], 3
            for found, data in self.model.items():
                places.append((found, end, len(data)))
                end += len(data)
            self.handles[1].write_all(stream.fileno(), iter(places))
            stream.seek(3)
            assert stream.read() == b"".join(self.model.values())

    @rule()
    def reopen(self) -> None:
        self.handles = [ObjectDatabase(self.handles[0].root), self.handles[0]]

    @rule()
    def lose_the_catalogue(self) -> None:
        shutil.rmtree(self.handles[0].root / "catalogues", ignore_errors=True)

    @rule(which=st.integers(0, 100), place=st.integers(0, 10**6))
    def damage_and_mend(self, which: int, place: int) -> None:
        paths = self.handles[0].pack_paths()
        if not paths:
            return
        path = paths[which % len(paths)]
        good = path.read_bytes()
        bad = bytearray(good)
        bad[place % len(bad)] ^= 0x10
        path.write_bytes(bad)
        reader = ObjectDatabase(self.handles[0].root)
        assert list(reader.check_packs())
        for found, data in self.model.items():
            try:
                assert reader.read(found) == data
            except CorruptObjectError as error:
                assert path.name in error.message  # noqa: PT017 - an error is allowed, not needed
        path.write_bytes(good)

    @invariant()
    def everything_is_as_in_the_model(self) -> None:
        for handle in self.handles:
            assert set(handle.ids()) == set(self.model)
            for found, data in self.model.items():
                assert found in handle
                assert handle.size(found) == len(data)
        database = self.handles[-1]
        for found, data in self.model.items():
            assert database.read(found) == data
        assert list(database.check_packs()) == []
        assert {path.suffix for path in database.root.iterdir()} <= {".pack", ""}


TestObjectStore = ObjectMachine.TestCase
TestObjectStore.settings = settings(
    max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
