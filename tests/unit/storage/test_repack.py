from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.errors import ConflictError, CorruptObjectError
from mlgit.objects import BITS, Commit, Identity, Manifest, ObjectId, Stage, TensorEntry, TensorId, Timestamp, tensor_id
from mlgit.storage import ObjectDatabase
from mlgit.storage.chunk_reader import ChunkReader
from mlgit.storage.located import Located
from mlgit.storage.pack import Pack
from mlgit.storage.pack_folder import PackFolder
from mlgit.storage.pack_format import MAX_DEPTH, build_footer, build_index
from mlgit.storage.repack import Family, NewPacks, Plan, Repacker, UnsoundPackError
from mlgit.storage.repack import output as repack_output
from mlgit.storage.repack import plan as repack_plan

Models = list[dict[str, TensorId]]


def families(models: Models) -> list[Family]:
    """Return the models in a row, each made from the one before."""
    plain = [{name: found.digest for name, found in model.items()} for model in models]
    return [Family(model, plain[number - 1 : number] if number else []) for number, model in enumerate(plain)]


def plan_of(
    root: Path, models: Models, needed: Sequence[ObjectId] | None = None, depth: int = 1
) -> tuple[Repacker, Plan]:
    repacker = Repacker(root)
    everything = list(ObjectDatabase(root).ids()) if needed is None else needed
    return repacker, repacker.plan(lambda: families(models), everything, depth=depth)


def repack(root: Path, models: Models, needed: Sequence[ObjectId] | None = None, depth: int = 1) -> NewPacks | None:
    repacker, plan = plan_of(root, models, needed, depth)
    new = repacker.write(plan) if plan.rewritten else None
    if new is not None:
        repacker.replace(plan, new, wait_s=1)
    return new


def contents(database: ObjectDatabase) -> dict[ObjectId, bytes]:
    """Read everything, each of three ways, after checking every pack."""
    assert list(database.check_packs()) == []
    found = {object_id: database.read(object_id) for object_id in database.ids()}
    for object_id, data in found.items():
        assert database.problems(object_id) is None
        assert b"".join(map(bytes, database.stream(object_id))) == data
        target = memoryview(bytearray(len(data)))
        database.read_into(object_id, target)
        assert target == data
    return found


def depth_of(database: ObjectDatabase, object_id: ObjectId) -> int:
    return max((depth_of(database, base) + 1 for base in database.bases(object_id)), default=0)


def put(database: ObjectDatabase, tensors: dict[str, np.ndarray], before: dict[str, TensorId] | None = None,
        dtype: str = "F32", depth: int = 1) -> dict[str, TensorId]:  # fmt: skip
    with database.transaction(depth=depth) as transaction:
        return {
            name: transaction.put_tensor(dtype, list(data.shape), [data.tobytes()], base=(before or {}).get(name))
            for name, data in tensors.items()
        }


def walk(count: int, size: int = 20_000, seed: int = 0) -> list[np.ndarray]:
    """Return models of which each differs from the third one in a tenth of its values."""
    random = np.random.default_rng(seed)
    centre = random.standard_normal(size, np.float32)
    rows = [np.where(random.random(size) < 0.1, random.standard_normal(size, np.float32), centre) for _ in range(count)]
    rows[2 % count] = centre
    return rows


@pytest.fixture
def history(database: ObjectDatabase) -> Models:
    """Five models of two layers, one pack each."""
    models: Models = []
    for row in walk(5):
        models.append(put(database, {"a": row, "b": row[:9000]}, models[0] if models else None))
    return models


def test_packs_become_one_with_the_records_first_and_the_middle_stored_whole(
    database: ObjectDatabase, history: Models
) -> None:
    entries = {
        name: TensorEntry(found, "F32", (20_000 if name == "a" else 9000,)) for name, found in history[0].items()
    }
    with database.transaction() as transaction:
        manifest = transaction.put_record(Manifest(entries))
        commit = transaction.put_record(
            Commit(
                manifest=manifest, stage=Stage.SNAPSHOT, author=Identity("A", "a@b.c"), time=Timestamp(0), message=""
            )
        )
    before, size = contents(database), database.stored_bytes()
    assert [database.bases(model["a"]) for model in history] == [set()] + [{history[0]["a"]}] * 4
    new = repack(database.root, history)
    assert new is not None
    assert new.rebased > 0
    again = ObjectDatabase(database.root)
    assert len(again.pack_paths()) == 1
    assert again.stored_bytes() < 0.9 * size
    assert contents(again) == before
    assert [again.bases(model["a"]) for model in history] == [{history[2]["a"]}] * 2 + [set()] + [{history[2]["a"]}] * 2
    offsets = {kind: [chunk.offset for one in again.ids(kind) for chunk in again.chunks(one)] for kind in
               ("commit", "manifest", "tensor")}  # fmt: skip
    assert max(offsets["commit"]) < min(offsets["manifest"]) < min(offsets["tensor"])
    assert again.pack_paths()[0].name.startswith(f"pack-{commit[:16]}")


def test_a_second_time_there_is_nothing_to_do(database: ObjectDatabase, history: Models) -> None:
    repack(database.root, history)
    (pack,) = ObjectDatabase(database.root).pack_paths()
    status = pack.stat()
    assert plan_of(database.root, history)[1].rewritten == frozenset()
    assert repack(database.root, history) is None
    assert pack.stat().st_ino == status.st_ino


def test_chunks_that_do_not_change_are_not_encoded_again(
    database: ObjectDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [put(database, {"a": row}) for row in np.random.default_rng(0).standard_normal((4, 5000), np.float32)]
    before = contents(database)
    monkeypatch.setattr(repack_output, "encode_chunk", None)
    assert repack(database.root, models) is not None
    assert contents(ObjectDatabase(database.root)) == before


def test_the_age_of_what_is_in_a_pack_stays(database: ObjectDatabase, history: Models) -> None:
    for number, path in enumerate(database.pack_paths()):
        os.utime(path, ns=(10**18, 10**18 + number))
    repack(database.root, history)
    (pack,) = ObjectDatabase(database.root).pack_paths()
    assert pack.stat().st_mtime_ns == 10**18 + 4


def test_what_nothing_needs_stays_apart_so_that_it_can_be_collected(database: ObjectDatabase, history: Models) -> None:
    with database.transaction() as transaction:
        spare = transaction.put_blob([b"spare" * 100])
        needed = transaction.put_blob([b"needed" * 100])
    with database.transaction() as transaction:
        dead = transaction.put_blob([b"nobody needs anything here"])
    dead_pack = next(path for path in database.pack_paths() if holds(path, dead))
    keep = [one for one in database.ids() if one not in (spare, dead)]
    before = contents(database)
    assert repack(database.root, history, keep) is not None
    again = ObjectDatabase(database.root)
    assert contents(again) == before
    assert dead_pack in again.pack_paths()
    collector = again.collector()
    collector.need(keep)
    plan = collector.plan(grace_s=0)
    kept = {path.name for path in again.pack_paths() if holds(path, needed)}
    assert {pack.name for pack in plan.dead} == {path.name for path in again.pack_paths()} - kept
    collector.remove(dict.fromkeys(plan.dead))
    last = ObjectDatabase(database.root)
    assert contents(last) == {one: data for one, data in before.items() if one in keep}


def holds(path: Path, object_id: ObjectId) -> bool:
    return Pack(path).find(object_id.digest) is not None


def test_bases_of_packs_that_stay_do_not_get_deeper(database: ObjectDatabase) -> None:
    rows = walk(4)
    first = put(database, {"a": rows[0]})
    lost = put(database, {"a": rows[1]}, first)
    models = [first, *(put(database, {"a": row}, first) for row in rows[2:])]
    keep = [one for one in database.ids() if one != lost["a"]]
    before = contents(database)
    repack(database.root, models, keep)
    again = ObjectDatabase(database.root)
    assert again.bases(first["a"]) == set()
    assert contents(again) == before


def test_damage_leaves_a_pack_alone_and_the_others_are_repacked(database: ObjectDatabase, history: Models) -> None:
    hurt = next(path for path in database.pack_paths() if holds(path, history[3]["a"]))
    before = contents(database)
    data = bytearray(hurt.read_bytes())
    data[100] ^= 1
    hurt.write_bytes(data)
    repacker, plan = plan_of(database.root, history)
    with pytest.raises(UnsoundPackError) as caught:
        repacker.write(plan)
    assert caught.value.name == hurt.name
    assert [path.suffix for path in database.root.iterdir() if path.is_file()] == [".pack"] * 5
    everything = list(ObjectDatabase(database.root).ids())
    plan = repacker.plan(lambda: families(history), everything, depth=1, avoided=[hurt.name])
    new = repacker.write(plan)
    assert new is not None
    repacker.replace(plan, new, wait_s=1)
    again = ObjectDatabase(database.root)
    assert len(again.pack_paths()) == 2
    sound = {one: again.read(one) for one in before if again.problems(one) is None}
    assert {one: before[one] for one in sound} == sound
    assert set(before) - set(sound) <= set(history[3].values())


def test_a_base_with_the_wrong_bytes_is_never_built_upon(database: ObjectDatabase) -> None:
    """A pack can be right by all its checksums and still hold the wrong bytes: only the id tells."""
    models: Models = []
    for row in walk(5):
        models.append(put(database, {"a": row}, models[0] if models else None))
    right, wrong = models[2]["a"], TensorId("5" * 64)
    path = next(path for path in database.pack_paths() if holds(path, right))
    rename(path, {right.digest: wrong.digest})
    models[2] = {"a": wrong}
    repacker, plan = plan_of(database.root, models)
    assert wrong.digest in {base for change in plan.changes for base in change.bases.values()}
    with pytest.raises(UnsoundPackError) as caught:
        repacker.write(plan)
    assert caught.value.name == path.name


def rename(path: Path, new: dict[bytes, bytes]) -> None:
    """Give objects in a pack other ids, with an index that is right otherwise."""
    pack = Pack(path)
    entries = [pack.entry(number) for number in range(pack.object_count)]
    chunks = sorted((chunk for entry in entries for chunk in pack.chunks(entry)), key=lambda chunk: chunk.offset)
    index = build_index([entry._replace(digest=new.get(entry.digest, entry.digest)) for entry in entries], chunks)
    data = path.read_bytes()[: pack.index_offset]
    path.write_bytes(data + index + build_footer(len(data), index))


def test_large_packs_are_left_as_they_are_unless_bases_change(
    database: ObjectDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repack_plan, "LARGE_BYTES", 30_000)
    with database.transaction() as transaction:
        transaction.put_blob([os.urandom(40_000)])
    large = set(database.pack_paths())
    for _ in range(3):
        with database.transaction() as transaction:
            transaction.put_blob([os.urandom(1000)])
    before = contents(database)
    assert repack(database.root, []) is not None
    again = ObjectDatabase(database.root)
    assert large < set(again.pack_paths())
    assert len(again.pack_paths()) == 2
    assert contents(again) == before


def test_groups_are_not_parted_when_packs_are_full(
    database: ObjectDatabase, history: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repack_output, "PACK_BYTES", 20_000)
    before = contents(database)
    repack(database.root, history)
    again = ObjectDatabase(database.root)
    assert len(again.pack_paths()) == 2
    assert contents(again) == before
    for path in again.pack_paths():
        assert all(holds(path, TensorId.from_digest(base)) for base in _bases(path))


def _bases(path: Path) -> list[bytes]:
    return Pack(path).base_digests()


def test_old_and_new_differences_side_by_side_can_be_read(database: ObjectDatabase, history: Models) -> None:
    """In between, A is a difference to B in one pack, and B one to A in another; any old packs may be left."""
    old = {path: path.read_bytes() for path in database.pack_paths()}
    late = put(database, {"a": walk(6)[5]}, history[0])["a"]
    (extra,) = set(database.pack_paths()) - set(old)
    before, rests = contents(database), extra.read_bytes()
    extra.unlink()
    reader = ObjectDatabase(database.root)
    del before[late]
    opened = {one: reader.stream(one) for one in before}
    firsts = {one: bytes(next(opened[one])) for one in opened}
    assert repack(database.root, history) is not None
    assert {one: firsts[one] + b"".join(map(bytes, opened[one])) for one in opened} == before
    assert {one: reader.read(one) for one in before} == before
    extra.write_bytes(rests)  # a difference to what was whole, is one itself now, and may be here again in between
    for left in range(1 << len(old)):
        for number, (path, data) in enumerate(old.items()):
            if left >> number & 1:
                path.write_bytes(data)
            else:
                path.unlink(missing_ok=True)
        found = ObjectDatabase(database.root)
        assert {one: found.read(one) for one in before} == before
        assert all(found.problems(one) is None for one in [*before, late])
        for sign in (1, -1):
            check_reading(database.root, [*before, late], sign)


def check_reading(root: Path, ids: Sequence[ObjectId], sign: int) -> None:
    """Read by a reader that meets copies in the order of their depths, or in the opposite order."""
    folder = PackFolder(root)
    folder.refresh()

    def copies(digest: bytes) -> Iterator[Located]:
        return iter(sorted(folder.copies(digest), key=lambda found: sign * found.chunk(0).depth))

    for object_id in ids:
        located = next(copies(object_id.digest))
        target = memoryview(bytearray(located.entry.size))
        ChunkReader(copies).decode_any(located, 0, target)
        assert tensor_id("F32", [len(target) // 4], [target]) == object_id


def test_a_commit_made_meanwhile_keeps_what_it_rests_on(database: ObjectDatabase, history: Models) -> None:
    repacker, plan = plan_of(database.root, history)
    new = repacker.write(plan)
    assert new is not None
    writer = ObjectDatabase(database.root)
    for path in new.paths:
        path.rename(path.with_suffix(".hidden"))
    late = put(writer, {"a": walk(6)[5]}, history[0])["a"]
    assert writer.bases(late) == {history[0]["a"]}
    for path in new.paths:
        path.with_suffix(".hidden").rename(path)
    removed = repacker.replace(plan, new, wait_s=1)
    assert len(removed) == 4
    again = ObjectDatabase(database.root)
    assert again.problems(late) is None
    history.append({"a": late})
    before = contents(again)
    assert repack(database.root, history) is not None
    last = ObjectDatabase(database.root)
    assert len(last.pack_paths()) == 1
    assert contents(last) == before
    assert max(depth_of(last, one) for one in before) == 1


def test_a_writer_that_does_not_end_leaves_everything_as_it_was(database: ObjectDatabase, history: Models) -> None:
    old = database.pack_paths()
    repacker, plan = plan_of(database.root, history)
    new = repacker.write(plan)
    assert new is not None
    with database.keeping(), pytest.raises(ConflictError):
        repacker.replace(plan, new, wait_s=0.05)
    assert database.pack_paths() == old


def test_new_packs_that_vanish_save_the_old_ones(database: ObjectDatabase, history: Models) -> None:
    old = database.pack_paths()
    repacker, plan = plan_of(database.root, history)
    new = repacker.write(plan)
    assert new is not None
    new.paths[0].unlink()
    with pytest.raises(CorruptObjectError):
        repacker.replace(plan, new, wait_s=1)
    assert database.pack_paths() == old


DTYPES = sorted(BITS)


@st.composite
def stories(draw: st.DrawFn) -> list[tuple[str, int, int, int, int]]:
    """Return steps: dtype, elements, number of the model to begin with, how much changes, how deep."""
    step = st.tuples(st.sampled_from(DTYPES), st.sampled_from([0, 8, 1024, 40_000]), st.integers(0, 9),
                     st.integers(0, 4), st.integers(0, MAX_DEPTH))  # fmt: skip
    same = draw(st.tuples(st.sampled_from(DTYPES), st.sampled_from([1024, 40_000])))
    steps = draw(st.lists(step, min_size=1, max_size=8))
    return [(*same, *item[2:]) if draw(st.booleans()) else item for item in steps]


@settings(max_examples=40)
@given(stories(), st.lists(st.integers(1, MAX_DEPTH), min_size=1, max_size=3), st.integers(0, 1000))
def test_any_tensors_come_back_bit_for_bit_however_often_they_are_repacked(
    story: list[tuple[str, int, int, int, int]], depths: list[int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    with TemporaryDirectory() as folder:
        database = ObjectDatabase.create(Path(folder) / "objects")
        models: Models = []
        values: list[tuple[str, int, bytes]] = []
        for dtype, elements, start, change, depth in story:
            size = elements * BITS[dtype] // 8
            data, before = random.bytes(size), None
            if values and values[start % len(values)][:2] == (dtype, elements):
                before = models[start % len(values)]
                raw = np.frombuffer(values[start % len(values)][2], np.uint8)
                noise = random.integers(0, 256, len(raw), np.uint8) & (random.random(len(raw)) < change / 8)
                data = (
                    (raw ^ np.where(np.arange(len(raw)) % max(1, BITS[dtype] // 8) == 0, noise, 0))
                    .astype(np.uint8)
                    .tobytes()
                )
            row = np.frombuffer(data, np.uint8)
            with database.transaction(depth=depth) as transaction:
                found = transaction.put_tensor(dtype, [elements], [row], base=None if before is None else before["w"])
            models.append({"w": found})
            values.append((dtype, elements, data))
        everything = contents(database)
        for depth in depths:
            check_repacking(database.root, models, everything, depth)


def check_repacking(root: Path, models: Models, everything: dict[ObjectId, bytes], depth: int) -> None:
    before = ObjectDatabase(root)
    size, deepest = before.stored_bytes(), max((depth_of(before, one) for one in everything), default=0)
    repack(root, models, depth=depth)
    after = ObjectDatabase(root)
    assert contents(after) == everything
    assert after.stored_bytes() <= size
    assert max((depth_of(after, one) for one in everything), default=0) <= max(depth, deepest)
    assert len(after.pack_paths()) <= 1
    for one in everything:
        for place, chunk in enumerate(after.chunks(one)):
            base = None if chunk.base is None else after.chunks(TensorId.from_digest(chunk.base))[place]
            assert chunk.depth == (0 if base is None else base.depth + 1), "the recorded depths are the real ones"
    assert [path.name for path in root.iterdir() if path.suffix == ".tmp"] == []
