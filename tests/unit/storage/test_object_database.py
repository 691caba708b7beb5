from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.errors import AlreadyExistsError, CorruptObjectError, InvalidInputError, NotFoundError
from mlgit.objects import (
    BITS,
    BlobId,
    CertificateId,
    Commit,
    CommitId,
    Identity,
    Manifest,
    ManifestId,
    ObjectId,
    Stage,
    Tag,
    TagId,
    TensorEntry,
    TensorId,
    Timestamp,
    blob_id,
    tensor_id,
    tensor_size_bytes,
)
from mlgit.storage import ObjectDatabase

WHO, WHEN = Identity("Ada", "ada@example.org"), Timestamp(1_700_000_000, 60)
SPECIAL_F32 = [0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00001, 0xFFFFFFFF, 0x00000001, 0x807FFFFF]


@st.composite
def tensors(draw: st.DrawFn) -> tuple[str, tuple[int, ...], bytes]:
    """Any dtype, any shape (none, empty, long), any bytes: NaN payloads, -0.0 and subnormals among them."""
    dtype = draw(st.sampled_from(sorted(BITS)))
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
    if BITS[dtype] < 8:
        shape = (*shape, 4)
    size = tensor_size_bytes(dtype, shape)
    if size and draw(st.booleans()):
        pattern = draw(st.sampled_from(SPECIAL_F32)).to_bytes(4, "little")
        return dtype, shape, (pattern * (size // 4 + 1))[:size]
    return dtype, shape, draw(st.binary(min_size=size, max_size=size))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def floats(count: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(count) * 0.02).astype(np.float32)


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def commit(message: str, manifest: ManifestId | None = None) -> Commit:
    return Commit(
        manifest=manifest or Manifest(tensors={}).id, stage=Stage.SNAPSHOT, author=WHO, time=WHEN, message=message
    )


@given(tensor=tensors(), cuts=st.lists(st.integers(0, 10**6), max_size=4), as_list=st.booleans())
def test_every_tensor_comes_back_byte_for_byte_and_its_id_ignores_how_it_was_cut(
    tmp_path_factory: pytest.TempPathFactory,
    tensor: tuple[str, tuple[int, ...], bytes],
    cuts: list[int],
    as_list: bool,
) -> None:
    dtype, shape, data = tensor
    root = tmp_path_factory.mktemp("database")
    database = ObjectDatabase.create(root / "objects")
    parts = pieces(data, cuts)
    with database.transaction() as transaction:
        found = transaction.put_tensor(dtype, shape, parts if as_list else iter(parts))
        assert found in transaction
    assert found == tensor_id(dtype, shape, [data])
    again = ObjectDatabase(root / "objects")
    target = bytearray(len(data))
    again.read_into(found, memoryview(target))
    assert (again.read(found), bytes(target), b"".join(again.stream(found))) == (data, data, data)
    assert (again.size(found), again.kind(found), again.tensor_type(found)) == (len(data), "tensor", (dtype, shape))
    assert again.stored_size(found) <= len(data)
    assert again.problems(found) is None
    assert list(again.check_packs()) == []


@settings(max_examples=60)
@given(
    dtype=st.sampled_from(sorted(BITS)),
    seed=st.integers(0, 2**32),
    change=st.sampled_from(["nothing", "one byte", "low bits", "everything"]),
    depth=st.integers(0, 3),
)
def test_a_chain_of_differences_comes_back_whatever_changed(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, seed: int, change: str, depth: int
) -> None:
    database = ObjectDatabase.create(tmp_path_factory.mktemp("database") / "objects")
    rng = np.random.default_rng(seed)
    shape = (3, 400)
    data = rng.integers(0, 256, tensor_size_bytes(dtype, shape), dtype=np.uint8)
    versions: dict[TensorId, bytes] = {}
    base = None
    for _ in range(4):
        with database.transaction(depth=depth) as transaction:
            base = transaction.put_tensor(dtype, shape, [data.tobytes()], base=base)
        versions[base] = data.tobytes()
        data = data.copy()
        if change == "one byte":
            data[rng.integers(data.size)] ^= 0x80
        elif change == "low bits":
            data ^= rng.integers(0, 2, data.size, dtype=np.uint8)
        elif change == "everything":
            data = rng.integers(0, 256, data.size, dtype=np.uint8)
    again = ObjectDatabase(database.root)
    assert {found: again.read(found) for found in versions} == versions
    assert len(set(again.ids())) == len(versions)
    assert list(again.check_packs()) == []


def test_a_small_change_of_floats_is_stored_as_a_small_difference(database: ObjectDatabase) -> None:
    old = floats(300_000)
    new = old * (1 + np.float32(0.015) * floats(300_000, 1) * 50)
    with database.transaction() as transaction:
        first = transaction.put_tensor("F32", [300_000], [old])
        second = transaction.put_tensor("F32", [300_000], [new], base=first)
    assert database.read(second) == new.tobytes()
    assert database.stored_size(first) < 0.86 * old.nbytes
    assert database.stored_size(second) < 0.66 * old.nbytes
    assert database.bases(second) == {first}
    assert database.bases(first) == set()


def test_a_chunk_that_did_not_change_takes_no_bytes(database: ObjectDatabase, small_chunks: int) -> None:
    old = floats(4 * small_chunks // 4)
    new = old.copy()
    new[0] += 1
    with database.transaction() as transaction:
        first = transaction.put_tensor("F32", old.shape, [old])
    with database.transaction() as transaction:
        second = transaction.put_tensor("F32", old.shape, [new], base=first)
    assert database.stored_size(second) < small_chunks // 100
    assert database.read(second) == new.tobytes()


def test_noise_is_never_stored_in_more_bytes_than_it_has(database: ObjectDatabase) -> None:
    noise = np.random.default_rng(0).bytes(1_000_001)
    with database.transaction() as transaction:
        tensor = transaction.put_tensor("U8", [1_000_001], [noise])
        blob = transaction.put_blob([noise[:-1]])
    assert database.stored_size(tensor) == 1_000_001
    assert database.stored_size(blob) == 1_000_000


def test_differences_are_at_most_one_deep_unless_asked_otherwise(database: ObjectDatabase) -> None:
    values = floats(50_000)
    ids: list[TensorId] = []
    for step in range(4):
        with database.transaction() as transaction:
            data = values * np.float32(1 + step * 1e-4)
            ids.append(transaction.put_tensor("F32", [50_000], [data], base=ids[-1] if ids else None))
    assert [database.bases(found) for found in ids] == [set(), {ids[0]}, {ids[0]}, {ids[0]}]


def test_a_base_may_be_written_in_the_same_transaction(database: ObjectDatabase, small_chunks: int) -> None:
    values = floats(100_000)
    with database.transaction() as transaction:
        first = transaction.put_tensor("F32", [100_000], [values])
        second = transaction.put_tensor("F32", [100_000], [values * np.float32(1.0001)], base=first)
    assert database.bases(second) == {first}
    assert database.read(second) == (values * np.float32(1.0001)).tobytes()


@pytest.mark.parametrize("shape", [[200], [10, 10]])
def test_a_base_of_another_shape_or_an_unknown_one_is_passed_over(database: ObjectDatabase, shape: list[int]) -> None:
    with database.transaction() as transaction:
        base = transaction.put_tensor("F32", shape, [floats(int(np.prod(shape)))])
        other = transaction.put_tensor("F32", [100], [floats(100, 1)], base=base)
        third = transaction.put_tensor("F32", [100], [floats(100, 2)], base=TensorId("0" * 64))
    assert database.bases(other) == database.bases(third) == set()


def test_equal_content_is_stored_once_however_it_arrives(database: ObjectDatabase, small_chunks: int) -> None:
    data = floats(100_000).tobytes()
    other = floats(100_000, 1).tobytes()
    with database.transaction() as transaction:
        ids = {
            transaction.put_tensor("F32", [100_000], [data]),
            transaction.put_tensor("F32", [100_000], iter([data[:7], data[7:]])),
        }
        transaction.put_tensor("F32", [100_000], iter([other]))
    stored = database.stored_bytes()
    with database.transaction() as transaction:
        ids.add(transaction.put_tensor("F32", [100_000], iter([data])))
    assert len(ids) == 1
    assert database.stored_bytes() == stored
    assert len(database.pack_paths()) == 1
    assert list(database.check_packs()) == []
    assert database.read(tensor_id("F32", [100_000], [other])) == other


def test_a_known_tensor_that_was_expected_is_not_read_at_all(database: ObjectDatabase) -> None:
    with database.transaction() as transaction:
        known = transaction.put_tensor("U8", [3], [b"abc"])

    def never() -> Iterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    with database.transaction() as transaction:
        assert transaction.put_tensor("U8", [3], never(), expected=known) == known


def test_bytes_that_are_not_the_expected_ones_are_refused_and_leave_nothing(database: ObjectDatabase) -> None:
    wrong = tensor_id("U8", [3], [b"abc"])
    with database.transaction() as transaction:
        for parts in ([b"abd"], iter([b"abd"])):
            with pytest.raises(CorruptObjectError, match="expected tensor"):
                transaction.put_tensor("U8", [3], parts, expected=wrong)
    assert list(database.ids()) == []


@pytest.mark.parametrize("parts", [[b"ab"], [b"abcd"], [], iter([b"ab"]), iter([b"abcd"])])
def test_the_wrong_number_of_bytes_is_refused_and_the_transaction_goes_on(
    database: ObjectDatabase, parts: list[bytes]
) -> None:
    with database.transaction() as transaction:
        kept = transaction.put_tensor("U8", [2], [b"ok"])
        with pytest.raises(InvalidInputError, match="has 3 bytes, not"):
            transaction.put_tensor("U8", [3], parts)
        later = transaction.put_tensor("U8", [2], [b"so"])
    assert set(database.ids()) == {kept, later}
    assert list(database.check_packs()) == []


def test_parts_that_fail_half_way_leave_nothing_of_their_tensor(database: ObjectDatabase, small_chunks: int) -> None:
    def failing() -> Iterator[bytes]:
        yield bytes(5 * small_chunks)
        raise AlreadyExistsError("the source broke")

    with database.transaction() as transaction:
        kept = transaction.put_blob([b"before"])
        with pytest.raises(AlreadyExistsError):
            transaction.put_blob(failing())
        later = transaction.put_blob([b"after"])
    assert {found: database.read(found) for found in (kept, later)} == {kept: b"before", later: b"after"}
    assert list(database.check_packs()) == []


def test_a_buffer_may_be_changed_as_soon_as_put_returns(database: ObjectDatabase) -> None:
    data = floats(400_000)
    before = data.tobytes()
    with database.transaction() as transaction:
        found = transaction.put_tensor("F32", [400_000], [data])
        data[:] = 0
    assert database.read(found) == before


def test_parts_may_be_views_of_any_element_type(database: ObjectDatabase) -> None:
    values = floats(1000).reshape(10, 100)
    with database.transaction() as transaction:
        found = transaction.put_tensor("F32", [10, 100], [values.data])
    assert database.read(found) == values.tobytes()


def test_records_come_back_with_their_types(database: ObjectDatabase) -> None:
    with database.transaction() as transaction:
        tensor = transaction.put_tensor("F32", [], [b"\0\0\x80?"])
        manifest = Manifest(tensors={"w": TensorEntry(tensor, "F32", ())})
        first = commit("first", manifest.id)
        tag = Tag(commit=first.id, name="v1", tagger=WHO, time=WHEN, message="one")
        ids = [transaction.put_record(record) for record in (manifest, first, tag)]
    assert [type(found) for found in ids] == [ManifestId, CommitId, TagId]
    again = ObjectDatabase(database.root)
    assert again.read_record(manifest.id) == manifest
    assert again.read_record(first.id) == first
    assert again.read_record(tag.id) == tag
    assert [again.kind(found) for found in ids] == ["manifest", "commit", "tag"]
    assert set(again.ids("commit")) == {first.id}
    assert type(next(again.ids("tag"))) is TagId


def test_large_records_are_compressed_and_small_ones_readable_without_a_codec(database: ObjectDatabase) -> None:
    large = commit("x" * 100_000)
    small = commit("small")
    with database.transaction() as transaction:
        transaction.put_record(large)
        transaction.put_record(small)
    assert database.stored_size(large.id) < 10_000
    assert database.stored_size(small.id) == database.size(small.id) == len(small.encode())
    assert database.read_record(large.id) == large


def test_a_missing_object_is_named(database: ObjectDatabase) -> None:
    missing = CommitId("ab" * 32)
    assert missing not in database
    for ask in (database.read, database.size, database.kind, database.stored_size, database.read_record):
        with pytest.raises(NotFoundError, match="commit ababababab is not in") as caught:
            ask(missing)
        assert caught.value.kind == "missing-object"
    assert "ababababab" in (database.problems(missing) or "")


def test_an_id_of_the_wrong_kind_finds_nothing(database: ObjectDatabase) -> None:
    with database.transaction() as transaction:
        blob = transaction.put_blob([b"blob"])
    assert TensorId(blob) not in database
    assert blob in database
    assert ObjectId(blob) in database


def test_prefixes_find_ids_of_each_kind(database: ObjectDatabase) -> None:
    blobs = [blob_id([bytes([value])]) for value in range(200)]
    for part in (blobs[:100], blobs[100:]):
        with database.transaction() as transaction:
            for found in part:
                transaction.put_blob([bytes([blobs.index(found)])])
    for digits in (0, 1, 2, 3, 63, 64):
        prefix = blobs[0][:digits]
        expected = sorted(found for found in blobs if found.startswith(prefix))
        assert database.with_prefix(prefix) == expected
        assert database.with_prefix(prefix, "blob") == expected
        assert database.with_prefix(prefix, "commit") == []
    assert database.with_prefix("xyz") == database.with_prefix("A") == database.with_prefix("0" * 65) == []
    assert type(database.with_prefix(blobs[0])[0]) is BlobId


def test_a_transaction_without_anything_new_writes_no_file(database: ObjectDatabase) -> None:
    with database.transaction():
        pass
    with database.transaction() as transaction:
        transaction.put_blob([b"once"])
    with database.transaction() as transaction:
        transaction.put_blob([b"once"])
    assert len(files(database.root)) == 1


def test_empty_objects_need_no_chunk(database: ObjectDatabase) -> None:
    with database.transaction() as transaction:
        tensor = transaction.put_tensor("F32", [0, 3], [])
        blob = transaction.put_blob([])
    assert database.read(tensor) == database.read(blob) == b""
    assert list(database.stream(tensor)) == []
    database.read_into(blob, memoryview(bytearray()))
    assert list(database.check_packs()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_an_exception_or_an_interrupt_leaves_no_file(
    database: ObjectDatabase, error: type[BaseException], small_chunks: int
) -> None:
    def interrupted() -> Iterator[bytes]:
        yield floats(50_000).tobytes()
        raise error

    def write() -> None:
        with database.transaction() as transaction:
            transaction.put_blob([b"something"])
            transaction.put_blob(interrupted())

    with pytest.raises(error):
        write()
    assert files(database.root) == []
    assert blob_id([b"something"]) not in database


def test_nothing_is_seen_before_the_transaction_ends(database: ObjectDatabase) -> None:
    reader = ObjectDatabase(database.root)
    with database.transaction() as transaction:
        found = transaction.put_blob([b"soon"])
        assert found in transaction
        assert found not in database
        assert found not in reader
    assert found in database
    assert found in reader


def test_the_same_content_gives_the_same_pack_on_every_run(tmp_path: Path) -> None:
    packs = []
    for name in ("a", "b"):
        database = ObjectDatabase.create(tmp_path / name)
        with database.transaction() as transaction:
            base = transaction.put_tensor("F32", [1_000_000], [floats(1_000_000)])
            transaction.put_tensor("F32", [1_000_000], [floats(1_000_000) * np.float32(1.001)], base=base)
            transaction.put_record(commit("same"))
        packs.append([(path.name, path.read_bytes()) for path in database.pack_paths()])
    assert packs[0] == packs[1]


def test_a_buffer_of_the_wrong_size_is_refused(database: ObjectDatabase) -> None:
    with database.transaction() as transaction:
        found = transaction.put_blob([b"four"])
    with pytest.raises(CorruptObjectError, match="has 4 bytes, but 5 are expected"):
        database.read_into(found, memoryview(bytearray(5)))


def test_streamed_parts_are_bounded_and_read_only(database: ObjectDatabase) -> None:
    data = bytes(range(256)) * 40_000
    with database.transaction() as transaction:
        found = transaction.put_blob([data])
    parts = list(database.stream(found))
    assert b"".join(parts) == data
    assert max(map(len, parts)) <= 4 * 2**20
    assert all(part.readonly for part in parts)


def test_certificates_are_a_kind_too(database: ObjectDatabase) -> None:
    assert list(database.ids("certificate")) == []
    with pytest.raises(NotFoundError):
        database.read_record(CertificateId("0" * 64))
