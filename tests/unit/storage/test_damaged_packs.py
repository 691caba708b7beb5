from __future__ import annotations

import os
import random
import resource
import time
from pathlib import Path
from struct import Struct

import numpy as np
import pytest
from blake3 import blake3

from mlgit.errors import CorruptObjectError, MlgitError
from mlgit.objects import BlobId, Manifest, ObjectId, TensorId, blob_id, tensor_id, tensor_preamble
from mlgit.storage import ObjectDatabase, pack
from mlgit.storage import pack_format as layout
from mlgit.storage.codecs import COPY, DIFFERENCE, RAW, SHUFFLE, ZSTD
from mlgit.storage.codecs.plain import compress
from mlgit.storage.pack_format import ChunkEntry, ObjectEntry


def fill(database: ObjectDatabase) -> dict[ObjectId, bytes]:
    """Write one pack with every kind of codec in it."""
    rng = np.random.default_rng(0)
    old = (rng.standard_normal(60) * 0.02).astype(np.float32)
    new = old * (1 + rng.standard_normal(60).astype(np.float32) * 1e-5)
    text = b"a model card, " * 20
    with database.transaction() as transaction:
        base = transaction.put_tensor("F32", [60], [old])
        changed = transaction.put_tensor("F32", [60], [new], base=base)
        noise = transaction.put_tensor("U8", [9], [b"\x01\x99\x12\x00\xff1234"])
        blob = transaction.put_blob([text])
        manifest = transaction.put_record(Manifest(tensors={}))
    found: list[ObjectId] = [base, changed, noise, blob, manifest]
    return {object_id: database.read(object_id) for object_id in found}


def outcome(root: Path, contents: dict[ObjectId, bytes], *, honest: bool = True) -> tuple[bool, bool]:
    """Return whether any object fails to be read, and whether a check of the packs complains.

    An object that can be read must come back right.
    """
    database = ObjectDatabase(root)
    hurt = False
    for object_id, content in contents.items():
        try:
            assert database.read(object_id) == content
            assert not honest or database.problems(object_id) is None
        except MlgitError:
            hurt = True
            assert database.problems(object_id)
    return hurt, bool(complaints(database))


def complaints(database: ObjectDatabase) -> list[str]:
    """Return what the check says of the content of packs, whatever they are called."""
    return [problem for problem in database.check_packs() if "the name of another pack" not in problem]


def test_a_pack_that_is_called_otherwise_is_noticed(database: ObjectDatabase) -> None:
    contents = fill(database)
    (path,) = database.pack_paths()
    assert list(database.check_packs()) == []
    path.rename(path.with_name(f"pack-{'0' * 32}.pack"))
    assert outcome(database.root, contents) == (False, False)  # its objects are found all the same
    assert ["name of another pack" in problem for problem in database.check_packs()] == [True]


def patch(path: Path, place: int, value: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(place)
        stream.write(bytes([value]))


def test_a_flipped_bit_in_a_large_index_is_detected_where_it_counts(
    database: ObjectDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "_VERIFY_LATER", 0)  # indexes of any size are compared with their digests when they fail
    contents = fill(database)
    (path,) = database.pack_paths()
    good = path.read_bytes()
    for place in range(len(good)):
        patch(path, place, good[place] ^ (1 << place % 8))
        _, complained = outcome(database.root, contents, honest=False)  # and what is read is right, or an error
        assert complained, f"byte {place} of {len(good)}"
        for missing in (bytes(32), b"\xff" * 32):
            assert TensorId.from_digest(missing) not in ObjectDatabase(database.root)
        assert {found for found in ObjectDatabase(database.root).ids() if found not in contents} == set()
        patch(path, place, good[place])


def test_a_flipped_bit_in_any_byte_is_detected_by_reading_and_by_the_check(database: ObjectDatabase) -> None:
    contents = fill(database)
    (path,) = database.pack_paths()
    good = path.read_bytes()
    used = {layout.chunk_count(len(content), 16) for content in contents.values()}
    assert used == {1}  # so that every byte of the pack belongs to one of the objects
    for place in range(len(good)):
        patch(path, place, good[place] ^ (1 << place % 8))
        assert outcome(database.root, contents) == (True, True), f"byte {place} of {len(good)}"
        patch(path, place, good[place])
    assert outcome(database.root, contents) == (False, False)


def test_a_pack_cut_short_anywhere_or_with_more_at_its_end_is_detected(database: ObjectDatabase) -> None:
    contents = fill(database)
    (path,) = database.pack_paths()
    good = path.read_bytes()
    for length in reversed(range(len(good))):
        os.truncate(path, length)
        assert outcome(database.root, contents) == (True, True), f"cut to {length} of {len(good)}"
    for more in (b"\0", good, layout.END_MAGIC):
        path.write_bytes(good + more)
        assert outcome(database.root, contents) == (True, True)


def test_a_pack_inside_a_cut_pack_is_not_mistaken_for_it(database: ObjectDatabase) -> None:
    inner = fill(database)
    (path,) = database.pack_paths()
    embedded = path.read_bytes()
    content = b"before" + embedded
    outer = hostile(
        database.root.parent / "outer",
        [entry(blob_id([content]), len(content))],
        [chunk(content, len(content))],
        content,
    )
    assert outer.read(blob_id([content])) == content
    (path,) = outer.pack_paths()
    data = path.read_bytes()
    path.write_bytes(data[: data.index(embedded) + len(embedded)])
    assert outcome(outer.root, inner) == (True, True)


def test_the_error_names_object_pack_and_offset(database: ObjectDatabase, small_chunks: int) -> None:
    noise = np.random.default_rng(0).bytes(5 * small_chunks)
    with database.transaction() as transaction:
        found = transaction.put_tensor("U8", [len(noise)], [noise])
    (path,) = database.pack_paths()
    data = bytearray(path.read_bytes())
    data[16 + 3 * small_chunks + 77] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptObjectError) as caught:
        ObjectDatabase(database.root).read(found)
    offset = 16 + 3 * small_chunks
    for word in (f"tensor {found.short}", str(path), f"offset {offset}", "chunk 3"):
        assert word in caught.value.message
    assert caught.value.hint
    with pytest.raises(CorruptObjectError, match=f"offset {offset}"):
        list(ObjectDatabase(database.root).stream(found))


def test_a_damaged_base_is_named_by_what_needs_it_and_no_longer_used(database: ObjectDatabase) -> None:
    old = (np.random.default_rng(0).standard_normal(2000) * 0.02).astype(np.float32)
    with database.transaction() as transaction:
        base = transaction.put_tensor("F32", [2000], [old])
    with database.transaction() as transaction:
        changed = transaction.put_tensor("F32", [2000], [old * np.float32(1.00001)], base=base)
    (path,) = (path for path in database.pack_paths() if base.short in path.name)
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    again = ObjectDatabase(database.root)
    with pytest.raises(CorruptObjectError, match=f"{changed.short} is a difference to {base.short}.*{path.name}"):
        again.read(changed)
    with again.transaction() as transaction:
        later = transaction.put_tensor("F32", [2000], [old * np.float32(1.00002)], base=base)
    assert again.bases(later) == set()
    assert again.read(later) == (old * np.float32(1.00002)).tobytes()


def test_damage_is_mended_by_storing_the_object_again(database: ObjectDatabase, small_chunks: int) -> None:
    old = (np.random.default_rng(0).standard_normal(4 * small_chunks // 4) * 0.02).astype(np.float32)
    with database.transaction() as transaction:
        base = transaction.put_tensor("F32", old.shape, [old])
    with database.transaction() as transaction:
        changed = transaction.put_tensor("F32", old.shape, [old * np.float32(1.00001)], base=base)
    (path,) = (path for path in database.pack_paths() if base.short in path.name)
    data = bytearray(path.read_bytes())
    data[20_000] ^= 1
    path.write_bytes(data)
    again = ObjectDatabase(database.root)
    with again.transaction() as transaction:
        transaction.put_tensor("F32", old.shape, [old])
    assert again.problems(base)
    with again.transaction(again={base}) as transaction:
        transaction.put_tensor("F32", old.shape, [old])
    for reader in (again, ObjectDatabase(database.root)):
        assert reader.read(base) == old.tobytes()
        assert reader.read(changed) == (old * np.float32(1.00001)).tobytes()
        assert reader.problems(changed) is None
        assert list(reader.check_packs()) == []  # equal content has an equal name: the damaged pack was replaced


def test_a_sound_copy_in_another_pack_is_read_instead(database: ObjectDatabase, small_chunks: int) -> None:
    noise = np.random.default_rng(0).bytes(4 * small_chunks)
    with database.transaction() as transaction:
        found = transaction.put_blob([noise])
    with database.transaction(again={found}) as transaction:
        transaction.put_blob([noise])
        transaction.put_blob([b"so that the second pack is another one"])
    for place, path in zip((100, 3 * small_chunks), database.pack_paths(), strict=True):
        data = bytearray(path.read_bytes())
        data[16 + place] ^= 1
        path.write_bytes(data)
    again = ObjectDatabase(database.root)
    assert again.read(found) == noise
    assert b"".join(again.stream(found)) == noise
    assert len(list(again.check_packs())) == 2


def test_a_damaged_pack_does_not_hide_the_objects_of_the_others(database: ObjectDatabase) -> None:
    ids: list[BlobId] = []
    for word in (b"one", b"two", b"three"):
        with database.transaction() as transaction:
            ids.append(transaction.put_blob([word]))
    for found, junk in zip(ids[:2], (b"", b"not a pack at all, but long enough to be one" * 9), strict=True):
        (path,) = (path for path in database.pack_paths() if path.name[5:21] == found[:16])
        path.write_bytes(junk)
    again = ObjectDatabase(database.root)
    assert again.read(ids[2]) == b"three"
    assert set(again.ids()) == {ids[2]}
    with pytest.raises(CorruptObjectError, match="is not in a sound pack; pack"):
        again.read(ids[0])
    assert ids[0] not in again
    with again.transaction() as transaction:
        transaction.put_blob([b"one"])
    assert again.read(ids[0]) == b"one"
    assert len(list(again.check_packs())) == 1


def test_a_pack_of_a_newer_version_is_refused_by_name(database: ObjectDatabase) -> None:
    contents = fill(database)
    (path,) = database.pack_paths()
    data = bytearray(path.read_bytes())
    data[8] = 2
    path.write_bytes(data)
    with pytest.raises(CorruptObjectError, match="has version 2, this mlgit reads version 1"):
        ObjectDatabase(database.root).read(next(iter(contents)))


def hostile(
    root: Path, objects: list[ObjectEntry], chunks: list[ChunkEntry], payload: bytes, name: str = "0" * 32
) -> ObjectDatabase:
    """Write a pack whose digests are all right, whatever it says."""
    root.mkdir(exist_ok=True)
    index = layout.build_index(objects, chunks)
    header = layout.HEADER.pack(layout.MAGIC, layout.VERSION, 0)
    data = header + payload + index + layout.build_footer(len(header + payload), index)
    (root / f"pack-{name}.pack").write_bytes(data)
    return ObjectDatabase(root)


def chunk(stored: bytes, raw: int, codec: int = RAW, offset: int = 16, **fields: object) -> ChunkEntry:
    values = {"width": 1, "depth": 0, "base": None, "checksum": layout.checksum(stored)} | fields
    return ChunkEntry(offset, len(stored), raw, codec, **values)  # type: ignore[arg-type] - values by name


def entry(object_id: ObjectId, size: int, count: int = 1, exponent: int = 16, first: int = 0) -> ObjectEntry:
    metadata = b""
    if isinstance(object_id, TensorId):
        metadata = tensor_preamble("U8", [size]).split(b"\n")[1]
    return ObjectEntry(object_id.digest, object_id.kind, size, first, count, exponent, metadata)


CONTENT = b"x" * 100
BLOB = blob_id([CONTENT])
ZEROS = bytes(1 << 22)
LIES = {
    "a bomb that claims a small size": ([entry(BLOB, 100)], [chunk(compress(ZEROS), 100, ZSTD)], compress(ZEROS)),
    "a bomb that claims a chunk's size": (
        [entry(BLOB, 1 << 16)],
        [chunk(compress(ZEROS), 1 << 16, ZSTD)],
        compress(ZEROS),
    ),
    "a frame shorter than claimed": ([entry(BLOB, 100)], [chunk(compress(b"y" * 99), 100, ZSTD)], compress(b"y" * 99)),
    "bytes after the frame": (
        [entry(BLOB, 100)],
        [chunk(compress(CONTENT) + b"!", 100, ZSTD)],
        compress(CONTENT) + b"!",
    ),
    "a frame that is none": ([entry(BLOB, 100)], [chunk(b"junk", 100, ZSTD)], b"junk"),
    "planes that are none": ([entry(BLOB, 100)], [chunk(b"\xff" * 50, 100, SHUFFLE, width=4)], b"\xff" * 50),
    "planes too short": ([entry(BLOB, 100)], [chunk(b"\1", 100, SHUFFLE, width=4)], b"\1"),
    "planes of three bytes": ([entry(BLOB, 99)], [chunk(b"\0" * 99, 99, SHUFFLE, width=3)], b"\0" * 99),
    "elements of no bytes": ([entry(BLOB, 100)], [chunk(CONTENT, 100, width=0)], CONTENT),
    "elements that do not fit": ([entry(BLOB, 100)], [chunk(CONTENT, 100, width=8)], CONTENT),
    "an unknown codec": ([entry(BLOB, 100)], [chunk(CONTENT, 100, 200)], CONTENT),
    "more stored than decoded": ([entry(BLOB, 100)], [chunk(CONTENT * 2, 100)], CONTENT * 2),
    "a chunk outside the file": ([entry(BLOB, 100)], [chunk(CONTENT, 100, offset=2**60)], CONTENT),
    "a chunk in the index": ([entry(BLOB, 100)], [chunk(CONTENT, 100, offset=60)], CONTENT),
    "a chunk in the header": ([entry(BLOB, 100)], [chunk(CONTENT, 100, offset=0)], CONTENT),
    "an object of 2^60 bytes": ([entry(BLOB, 2**60)], [chunk(CONTENT, 100)], CONTENT),
    "too many chunks": ([entry(BLOB, 100, count=2)], [chunk(CONTENT, 100)], CONTENT),
    "no chunks": ([entry(BLOB, 100, count=0)], [chunk(CONTENT, 100)], CONTENT),
    "a first chunk beyond the table": ([entry(BLOB, 100, first=7)], [chunk(CONTENT, 100)], CONTENT),
    "a chunk of another size": ([entry(BLOB, 100)], [chunk(CONTENT[:50], 50)], CONTENT[:50]),
    "chunks of 2^63 bytes": ([entry(BLOB, 100, exponent=63)], [chunk(CONTENT, 100)], CONTENT),
    "chunks of one byte": ([entry(BLOB, 100, exponent=0)], [chunk(CONTENT, 100)], CONTENT),
    "an id that stands twice": ([entry(BLOB, 100)] * 2, [chunk(CONTENT, 100)], CONTENT),
    "other bytes than the id's": ([entry(BLOB, 100)], [chunk(b"y" * 100, 100)], b"y" * 100),
    "itself as base": (
        [entry(BLOB, 100)],
        [chunk(b"", 100, COPY, base=BLOB.digest, depth=1)],
        b"",
    ),
    "a base that is not here": ([entry(BLOB, 100)], [chunk(b"", 100, COPY, base=bytes(32), depth=1)], b""),
    "a base without depth": ([entry(BLOB, 100)], [chunk(b"", 100, COPY, base=BLOB.digest, depth=0)], b""),
    "a depth without base": ([entry(BLOB, 100)], [chunk(CONTENT, 100, depth=1)], CONTENT),
    "a depth of 200": ([entry(BLOB, 100)], [chunk(b"", 100, COPY, base=BLOB.digest, depth=200)], b""),
    "a base for a codec without": ([entry(BLOB, 100)], [chunk(CONTENT, 100, base=BLOB.digest, depth=1)], CONTENT),
    "no base for a codec with one": (
        [entry(BLOB, 100)],
        [chunk(CONTENT, 100, DIFFERENCE, width=4)],
        CONTENT,
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_hostile_pack_is_refused_in_little_time_and_memory(tmp_path: Path, lie: str) -> None:
    database = hostile(tmp_path / "objects", *LIES[lie])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CorruptObjectError, match=r"pack '.*' at offset \d+: "):
        database.read(BLOB)
    assert database.problems(BLOB)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # in KiB


@pytest.mark.parametrize(
    ("lie", "metadata"),
    [
        ("no JSON", b"{"),
        ("another order", b'{"shape":[100],"dtype":"U8"}'),
        ("a shape of another size", b'{"dtype":"U8","shape":[99]}'),
        ("an unknown dtype", b'{"dtype":"U7","shape":[100]}'),
        ("a negative extent", b'{"dtype":"U8","shape":[-100]}'),
        ("an extent that is true", b'{"dtype":"U8","shape":[true]}'),
        ("a shape that is text", b'{"dtype":"U8","shape":"100"}'),
        ("nothing", b""),
        ("a bomb of brackets", b"[" * 60_000),
    ],
)
def test_a_tensor_whose_description_is_wrong_is_refused(tmp_path: Path, lie: str, metadata: bytes) -> None:
    found = TensorId(blake3(b"mlgit tensor 1\n" + metadata + b"\n" + CONTENT).hexdigest())
    wrong = ObjectEntry(found.digest, "tensor", 100, 0, 1, 16, metadata)
    database = hostile(tmp_path / "objects", [wrong], [chunk(CONTENT, 100)], CONTENT)
    with pytest.raises(CorruptObjectError):
        database.read(found)
    assert complaints(database)


def ring(tmp_path: Path, length: int) -> tuple[ObjectDatabase, list[BlobId]]:
    """Write packs in which each of ``length`` blobs is a copy of the next, the last one of the first."""
    ids = [BlobId(blake3(bytes([number])).hexdigest()) for number in range(length)]
    for number, found in enumerate(ids):
        base = ids[(number + 1) % length].digest
        hostile(
            tmp_path / "objects",
            [entry(found, 1 << 16)],
            [chunk(b"", 1 << 16, COPY, base=base, depth=1)],
            b"",
            name=f"{number:032x}",
        )
    return ObjectDatabase(tmp_path / "objects"), ids


@pytest.mark.parametrize("length", [2, 3, 20])
def test_bases_that_go_round_in_a_ring_are_refused(tmp_path: Path, length: int) -> None:
    database, ids = ring(tmp_path, length)
    with pytest.raises(CorruptObjectError, match="more than 8 differences in a row"):
        database.read(ids[0])


def test_many_copies_of_a_ring_do_not_multiply_the_work(tmp_path: Path) -> None:
    found = [BlobId(blake3(bytes([number])).hexdigest()) for number in range(2)]
    for number in range(40):
        hostile(
            tmp_path / "objects",
            [entry(object_id, 1 << 16, first=place) for place, object_id in enumerate(found)],
            [
                chunk(b"", 1 << 16, COPY, base=found[1].digest, depth=1),
                chunk(b"", 1 << 16, COPY, base=found[0].digest, depth=1),
            ],
            b"",
            name=f"{number:032x}",
        )
    start = time.process_time()
    with pytest.raises(CorruptObjectError):
        ObjectDatabase(tmp_path / "objects").read(found[0])
    assert time.process_time() - start < 5


@pytest.mark.parametrize("share", ["chunk nobody owns", "chunk owned twice", "bytes nobody owns", "ids out of order"])
def test_the_check_finds_what_reading_cannot(tmp_path: Path, share: str) -> None:
    other = blob_id([b"z" * 100])
    first, second = chunk(CONTENT, 100), chunk(b"z" * 100, 100, offset=116)
    payload = CONTENT + b"z" * 100
    cases = {
        "chunk nobody owns": ([entry(BLOB, 100)], [first, second], payload),
        "chunk owned twice": ([entry(BLOB, 100), entry(other, 100)], [first], CONTENT),
        "bytes nobody owns": ([entry(BLOB, 100)], [first], payload),
        "ids out of order": ([entry(BLOB, 100), entry(other, 100, first=1)], [first, second], payload),
    }
    database = hostile(tmp_path / "objects", *cases[share])
    if share == "ids out of order":
        (path,) = database.pack_paths()
        swap_entries(path, len(payload) + 16)
    assert complaints(ObjectDatabase(database.root))


def swap_entries(path: Path, index_offset: int) -> None:
    data = path.read_bytes()
    index = bytearray(data[index_offset : -layout.FOOTER.size])
    start, step = layout.COUNTS.size, layout.OBJECT.size
    index[start : start + 2 * step] = index[start + step : start + 2 * step] + index[start : start + step]
    path.write_bytes(data[:index_offset] + index + layout.build_footer(index_offset, bytes(index)))


def test_counts_that_do_not_fit_the_index_are_refused(tmp_path: Path) -> None:
    database = hostile(tmp_path / "objects", [entry(BLOB, 100)], [chunk(CONTENT, 100)], CONTENT)
    (path,) = database.pack_paths()
    data = path.read_bytes()
    index = bytearray(data[116 : -layout.FOOTER.size])
    for place in range(4):
        for value in (0xFFFFFFFF, 7):
            wrong = bytearray(index)
            Struct("<I").pack_into(wrong, 4 * place, value)
            path.write_bytes(data[:116] + wrong + layout.build_footer(116, bytes(wrong)))
            with pytest.raises(CorruptObjectError, match="counts"):
                ObjectDatabase(database.root).read(BLOB)


def test_random_bytes_with_right_digests_never_cause_anything_but_a_clear_error(tmp_path: Path) -> None:
    """Fuzz the index of a good pack and sign it again, so that every field is reached."""
    good = ObjectDatabase.create(tmp_path / "good")
    contents = fill(good)
    (path,) = good.pack_paths()
    data = path.read_bytes()
    index_offset = layout.FOOTER.unpack(data[-layout.FOOTER.size :])[0]
    index = data[index_offset : -layout.FOOTER.size]
    random_source = random.Random(0)
    root = tmp_path / "fuzzed"
    root.mkdir()
    for _ in range(400):
        wrong = bytearray(index)
        for _ in range(random_source.choice([1, 1, 1, 2, 5])):
            wrong[random_source.randrange(len(wrong))] = random_source.choice([0, 1, 2, 0x7F, 0x80, 0xFF])
        fuzzed = data[:index_offset] + wrong + layout.build_footer(index_offset, bytes(wrong))
        (root / path.name).write_bytes(fuzzed)
        outcome(root, contents, honest=False)  # a wrong checksum beside right bytes is found by the check alone


def test_a_tensor_of_equal_bytes_but_another_type_is_not_confused(database: ObjectDatabase) -> None:
    with database.transaction() as transaction:
        ids = {
            transaction.put_tensor("U8", [4], [b"1234"]),
            transaction.put_tensor("I8", [4], [b"1234"]),
            transaction.put_tensor("U8", [2, 2], [b"1234"]),
        }
    assert len(ids) == 3
    assert {database.read(found) for found in ids} == {b"1234"}
    assert tensor_id("U8", [4], [b"1234"]) in ids
