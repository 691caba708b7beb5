"""Packs read by a second reader, written from ``docs/format-pack.md`` alone, without any code of mlgit or numpy."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from backports import zstd
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.objects import Commit, Identity, Manifest, ObjectId, Stage, TensorId, Timestamp
from mlgit.storage import ObjectDatabase

DOCUMENT = Path(__file__).parents[3] / "docs" / "format-pack.md"
KINDS = {1: "tensor", 2: "blob", 3: "manifest", 4: "commit", 5: "tag", 6: "certificate"}


class ForeignReader:
    """All packs of a folder, read the slow and obvious way."""

    def __init__(self, folder: Path) -> None:
        self.objects: dict[bytes, Callable[[], list[bytes]]] = {}
        self.starts: dict[bytes, bytes] = {}
        for path in folder.glob("pack-*.pack"):
            self.open(path.read_bytes(), path.name)

    def open(self, data: bytes, name: str) -> None:
        assert data[:16] == b"\x89MLGPK\r\n" + bytes([1, 0, 0, 0, 0, 0, 0, 0])
        offset, length, digest, zero, magic = struct.unpack("<QQ32s8s8s", data[-64:])
        assert (zero, magic) == (bytes(8), b"MLGPKEND")
        assert offset + length + 64 == len(data)
        index = data[offset : offset + length]
        assert blake3(index).digest() == digest
        assert name[21:37] == digest.hex()[:16]
        objects, chunks, bases, metadata = struct.unpack("<IIII", index[:16])
        chunks_at = 16 + 64 * objects
        bases_at = chunks_at + 32 * chunks
        metadata_at = bases_at + 32 * bases
        assert metadata_at + metadata == length
        ids = [index[16 + 64 * n : 48 + 64 * n] for n in range(objects)]
        assert ids == sorted(set(ids))
        table = [self.chunk(data, index, chunks_at + 32 * n, bases_at) for n in range(chunks)]
        end = 16
        for chunk in table:
            assert chunk["offset"] == end
            end += chunk["stored"]
        assert end == offset
        for number, object_id in enumerate(ids):
            values = struct.unpack("<QIIIHBB8s", index[48 + 64 * number : 80 + 64 * number])
            size, first, count, at, size_of_metadata, kind, exponent, zero = values
            assert zero == bytes(8)
            own = table[first : first + count]
            assert sum(chunk["raw"] for chunk in own) == size
            assert all(chunk["raw"] == 1 << exponent for chunk in own[:-1])
            about = index[metadata_at + at : metadata_at + at + size_of_metadata]
            start = f"mlgit {KINDS[kind]} 1\n".encode() + (about + b"\n" if kind == 1 else b"")
            self.starts[object_id] = start
            self.objects[object_id] = lambda own=own: [self.decode(c, place) for place, c in enumerate(own)]

    def chunk(self, data: bytes, index: bytes, at: int, bases_at: int) -> dict[str, object]:
        names = ("offset", "stored", "raw", "base", "codec", "width", "depth", "zero", "checksum")
        chunk: dict[str, object] = dict(zip(names, struct.unpack("<QIIIBBBB8s", index[at : at + 32]), strict=True))
        stored = data[chunk["offset"] : chunk["offset"] + chunk["stored"]]
        assert blake3(stored).digest()[:8] == chunk["checksum"]
        assert chunk["zero"] == 0
        assert chunk["stored"] <= chunk["raw"]
        assert (chunk["base"] > 0) == (chunk["depth"] > 0)
        base_at = bases_at + 32 * (chunk["base"] - 1)
        return chunk | {"bytes": stored, "base_id": index[base_at : base_at + 32]}

    def decode(self, chunk: Mapping[str, object], place: int) -> bytes:
        stored, width = chunk["bytes"], chunk["width"]
        base = self.objects[chunk["base_id"]]()[place] if chunk["base"] else b""
        if chunk["codec"] == 0:
            return stored
        if chunk["codec"] == 1:
            return zstd.decompress(stored)
        if chunk["codec"] == 5:
            return base
        count = chunk["raw"] // width
        at, planes = 4 * width, []
        for length in struct.unpack(f"<{width}I", stored[:at]):
            part = stored[at : at + length]
            planes.append(part if length == count else zstd.decompress(part))
            at += length
        assert at == len(stored)
        elements = [int.from_bytes(bytes(plane[n] for plane in planes), "little") for n in range(count)]
        if chunk["codec"] == 2:
            values = elements
        else:
            old = [int.from_bytes(base[n : n + width], "little") for n in range(0, len(base), width)]
            step = {3: self.add, 4: lambda z, b, _: z ^ b}[chunk["codec"]]
            values = [step(z, b, 8 * width) for z, b in zip(elements, old, strict=True)]
        return b"".join(value.to_bytes(width, "little") for value in values)

    @staticmethod
    def add(z: int, base: int, bits: int) -> int:
        modulus, sign = 1 << bits, 1 << (bits - 1)

        def order(value: int) -> int:
            return value ^ (sign - 1) if value & sign else value

        difference = (z >> 1) if not z & 1 else -(z >> 1) - 1
        return order((order(base) + difference) % modulus)

    def read(self, object_id: bytes) -> bytes:
        payload = b"".join(self.objects[object_id]())
        assert blake3(self.starts[object_id] + payload).digest() == object_id
        return payload


def same(database: ObjectDatabase) -> set[int]:
    """Check that both readers agree on everything; return the codecs met."""
    foreign = ForeignReader(database.root)
    ids = {object_id.digest: object_id for object_id in database.ids()}
    assert set(foreign.objects) == set(ids)
    for digest, object_id in ids.items():
        assert foreign.read(digest) == database.read(object_id)
    return {
        database._find(object_id).chunk(place).codec
        for object_id in ids.values()
        for place in range(database._find(object_id).entry.chunk_count)
    }


def test_a_reader_written_from_the_document_reads_every_codec(database: ObjectDatabase, small_chunks: int) -> None:
    rng = np.random.default_rng(0)
    old = (rng.standard_normal(20_000) * 0.02).astype(np.float32)
    new = old.copy()
    new[:5000] *= np.float32(1.0001)
    half = (old.view(np.uint32) >> 16).astype(np.uint16)
    numbers = np.arange(3000)
    other = numbers ^ rng.integers(0, 2, 3000)
    with database.transaction() as transaction:
        base = transaction.put_tensor("F32", [20_000], [old])
        half_base = transaction.put_tensor("BF16", [20_000], [half])
        number_base = transaction.put_tensor("I64", [3000], [numbers])
        transaction.put_tensor("U8", [64], [rng.bytes(64)])
    with database.transaction() as transaction:
        transaction.put_tensor("F32", [20_000], [new], base=base)
        transaction.put_tensor("BF16", [20_000], [half + 3], base=half_base)
        transaction.put_tensor("I64", [3000], [other], base=number_base)
        transaction.put_tensor("C64", [10_000], [new], base=base)
        transaction.put_blob([b"word " * 50_000])
        transaction.put_record(Manifest(tensors={}))
        transaction.put_record(
            Commit(
                manifest=Manifest(tensors={}).id,
                stage=Stage.SNAPSHOT,
                author=Identity("Ada", "ada@example.org"),
                time=Timestamp(0),
                message="first",
            )
        )
    assert same(database) == {0, 1, 2, 3, 4, 5}


@settings(max_examples=30)
@given(
    values=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40),
    changes=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40),
    shift=st.integers(0, 31),
)
def test_both_readers_agree_on_any_bits_of_floats_and_their_differences(
    tmp_path_factory: pytest.TempPathFactory, values: list[int], changes: list[int], shift: int
) -> None:
    database = ObjectDatabase.create(tmp_path_factory.mktemp("database") / "objects")
    old = np.array(values * 20, np.uint32)
    new = old ^ (np.resize(np.array(changes, np.uint32), old.size) >> np.uint32(shift))
    with database.transaction() as transaction:
        base = transaction.put_tensor("F32", old.shape, [old])
        transaction.put_tensor("F32", old.shape, [new], base=base)
    same(database)


def test_the_worked_example_of_the_document_is_what_mlgit_writes(database: ObjectDatabase) -> None:
    with database.transaction() as transaction:
        found = transaction.put_tensor("F32", [2], [struct.pack("<2f", 1.0, -2.0)])
    (path,) = database.pack_paths()
    dump = "\n".join(line for line in hexdump(path.read_bytes()))
    text = DOCUMENT.read_text("utf-8")
    shown = re.search(r"```text\n(.*?)\n```", text, re.DOTALL)
    assert shown is not None
    assert shown[1] == f"{path.name}\n\n{dump}"
    assert json.loads(json.dumps(found)) in text
    assert isinstance(found, ObjectId)
    assert isinstance(found, TensorId)


def hexdump(data: bytes) -> list[str]:
    return [f"{at:04x}  {data[at : at + 16].hex(' ')}" for at in range(0, len(data), 16)]
