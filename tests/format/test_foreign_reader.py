"""A reader written from ``docs/format.md`` and ``docs/format-pack.md`` alone reads everything mlgit writes.

``Reader`` knows nothing of mlgit: struct, json, blake3, zstd and numpy are all it uses. It checks what the documents
tell a reader to check, so it also says whether mlgit writes what they promise.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backports import zstd
from blake3 import blake3

KINDS = {1: "tensor", 2: "blob", 3: "manifest", 4: "commit", 5: "tag", 6: "certificate"}


@dataclass
class Chunk:
    offset: int
    stored: int
    raw: int
    base: str | None
    codec: int
    width: int
    depth: int
    checksum: bytes


@dataclass
class Entry:
    pack: Pack
    id: str
    kind: str
    size: int
    chunks: list[Chunk]
    exponent: int
    metadata: bytes


class Pack:
    """One file: header, chunks, index, footer."""

    def __init__(self, path: Path) -> None:
        self.data = data = path.read_bytes()
        assert struct.unpack_from("<8sII", data) == (b"\x89MLGPK\r\n", 1, 0)
        offset, length, digest, zero, magic = struct.unpack("<QQ32s8s8s", data[-64:])
        assert (zero, magic, offset + length + 64) == (bytes(8), b"MLGPKEND", len(data))
        index = data[offset : offset + length]
        assert blake3(index).digest() == digest
        assert path.name[21:37] == digest.hex()[:16]
        objects, chunks, bases, metadata_bytes = struct.unpack_from("<IIII", index)
        chunk_start = 16 + 64 * objects
        base_start = chunk_start + 32 * chunks
        text_start = base_start + 32 * bases
        assert text_start + metadata_bytes == length
        ids = [index[at : at + 32].hex() for at in range(base_start, text_start, 32)]
        assert ids == sorted(set(ids))
        rows = [struct.unpack_from("<QIIIBBBB8s", index, chunk_start + 32 * number) for number in range(chunks)]
        end = 16
        self.chunks = []
        for at, stored, raw, base, codec, width, depth, zero_byte, checksum in rows:
            assert (at, zero_byte) == (end, 0)
            assert stored <= raw
            assert (depth > 0) == (base > 0)
            end += stored
            self.chunks.append(Chunk(at, stored, raw, ids[base - 1] if base else None, codec, width, depth, checksum))
        assert end == offset
        self.entries = [self._entry(index, 16 + 64 * number, text_start) for number in range(objects)]
        assert [entry.id for entry in self.entries] == sorted({entry.id for entry in self.entries})

    def _entry(self, index: bytes, at: int, text_start: int) -> Entry:
        digest, size, first, count, text, text_bytes, kind, exponent, zero = struct.unpack_from(
            "<32sQIIIHBB8s", index, at
        )
        assert zero == bytes(8)
        assert 16 <= exponent <= 22
        assert count == -(-size // 2**exponent)
        chunks = self.chunks[first : first + count]
        assert [chunk.raw for chunk in chunks] == [min(2**exponent, size - k * 2**exponent) for k in range(count)]
        metadata = index[text_start + text : text_start + text + text_bytes]
        return Entry(self, digest.hex(), KINDS[kind], size, chunks, exponent, metadata)


def unzstd(data: bytes, size: int) -> bytes:
    decompressor = zstd.ZstdDecompressor()
    content = decompressor.decompress(data, max_length=size + 1)
    assert decompressor.eof
    assert not decompressor.unused_data
    assert len(content) == size
    return content


def join_planes(stored: bytes, width: int, size: int) -> np.ndarray[Any, Any]:
    count = size // width
    lengths = struct.unpack_from(f"<{width}I", stored)
    at, planes = 4 * width, []
    for length in lengths:
        part = stored[at : at + length]
        planes.append(part if length == count else unzstd(part, count))
        at += length
    assert at == len(stored)
    return np.frombuffer(b"".join(planes), np.uint8).reshape(width, count).T.copy().view(f"<u{width}").ravel()


def order(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Flip all bits but the sign bit of negative numbers."""
    return np.where(values < 0, values ^ np.iinfo(values.dtype).max, values)


def decode(codec: int, stored: bytes, raw: int, width: int, base: bytes | None) -> bytes:
    if codec == 0:
        return stored
    if codec == 1:
        return unzstd(stored, raw)
    if codec == 5:
        assert not stored
        assert base is not None
        return base
    elements = join_planes(stored, width, raw)
    if codec == 2:
        return elements.tobytes()
    assert base is not None
    if codec == 4:
        return (elements ^ np.frombuffer(base, f"<u{width}")).tobytes()
    assert codec == 3, f"unknown codec {codec}"
    difference = (elements >> 1).view(f"<i{width}") ^ -(elements & 1).view(f"<i{width}")
    return order(order(np.frombuffer(base, f"<i{width}")) + difference).tobytes()


class Reader:
    """A repository, read with the documents alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        assert (folder / "format").read_bytes() == b"mlgit repository 1\n"
        packs = [Pack(path) for path in (folder / "objects").glob("pack-*.pack")]
        self.objects = {entry.id: entry for pack in packs for entry in pack.entries}
        self.codecs: set[int] = set()

    def chunk(self, entry: Entry, number: int, left: int = 8) -> bytes:
        assert left >= 0
        chunk = entry.chunks[number]
        stored = entry.pack.data[chunk.offset : chunk.offset + chunk.stored]
        assert blake3(stored).digest()[:8] == chunk.checksum
        base = None
        if chunk.base is not None:
            other = self.objects[chunk.base]
            assert (other.size, other.exponent, other.kind) == (entry.size, entry.exponent, "tensor")
            base = self.chunk(other, number, left - 1)
        self.codecs.add(chunk.codec)
        content = decode(chunk.codec, stored, chunk.raw, chunk.width, base)
        assert len(content) == chunk.raw
        return content

    def read(self, name: str) -> bytes:
        entry = self.objects[name]
        payload = b"".join(self.chunk(entry, number) for number in range(len(entry.chunks)))
        between = entry.metadata + b"\n" if entry.kind == "tensor" else b""
        assert blake3(f"mlgit {entry.kind} 1\n".encode() + between + payload).hexdigest() == name
        return payload

    def record(self, name: str) -> dict[str, Any]:
        value = json.loads(self.read(name))
        assert (value["type"], value["version"]) == (self.objects[name].kind, 1)
        return dict(value)

    def file(self, manifest: dict[str, Any], path: str) -> bytes:
        (file,) = [file for file in manifest["files"] if file["path"] == path]
        if "blob" in file:
            content = self.read(file["blob"])
            assert len(content) == file["size"]
            return content
        header = self.read(file["header"])
        described = {name: row for name, row in json.loads(header).items() if name != "__metadata__"}
        names = sorted(described, key=lambda name: described[name]["data_offsets"])
        tensors = [self.read(manifest["tensors"][name]["id"]) for name in names]
        return b"".join([struct.pack("<Q", len(header)), header, *tensors])

    def refs(self) -> Iterator[tuple[str, str, str]]:
        for path in (self.folder / "refs").rglob("*"):
            if path.is_file() and not path.name.endswith(".lock") and not path.name.startswith("."):
                kind, name = path.read_text("ascii").removesuffix("\n").split(" ")
                yield path.relative_to(self.folder).as_posix(), kind, name

    def head(self) -> str:
        text = (self.folder / "HEAD").read_text("utf-8")
        target = re.fullmatch(r"ref: (.+)\n|commit ([0-9a-f]{64})\n", text)
        assert target is not None
        return target[2] or (self.folder / target[1]).read_text("ascii").split()[1]

    def reflog(self, name: str) -> list[tuple[str, str, int, int, str, str, str]]:
        lines = (self.folder / "logs" / f"{name}..log").read_text("utf-8").split("\n")
        pattern = r"([0-9a-f]{8}) (\d+) ((\S+) (\S+) (-?\d+) (-?\d+) ([^<>\t]*) <([^<>\t]*)>\t(.*))"
        found = [match for line in lines if (match := re.fullmatch(pattern, line))]
        for match in found:
            rest = match[3].encode("utf-8")
            assert (match[1], int(match[2])) == (blake3(rest).hexdigest()[:8], len(rest))

        def plain(text: str) -> str:
            return re.sub(r"\\u([0-9a-f]{4})|\\U([0-9a-f]{8})", lambda m: chr(int(m[1] or m[2], 16)), text)

        return [(m[4], m[5], int(m[6]), int(m[7]), plain(m[8]), plain(m[9]), plain(m[10])) for m in found]


# What follows writes repositories with mlgit and reads them with the reader above.

from mlgit import Repository, clone  # noqa: E402 - everything above must not need it
from mlgit.objects import BITS, Identity, TensorId, Timestamp, tensor_id  # noqa: E402
from mlgit.porcelain.actor import Actor  # noqa: E402
from mlgit.porcelain.tag import create_tag  # noqa: E402
from mlgit.storage import ObjectDatabase  # noqa: E402
from mlgit.weights.header import build_header  # noqa: E402

MIB = 1 << 20


def write_checkpoint(path: Path, tensors: dict[str, tuple[str, tuple[int, ...], bytes]]) -> None:
    header = build_header({name: (dtype, shape) for name, (dtype, shape, _) in tensors.items()}, {"format": "pt"})
    payloads = [tensors[entry.name][2] for entry in header.entries]
    path.write_bytes(b"".join([len(header.raw).to_bytes(8, "little"), header.raw, *payloads]))


def floats(seed: int, count: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(0, 0.05, count).astype("<f4")


def states() -> list[dict[str, tuple[str, tuple[int, ...], bytes]]]:
    """Return two states: the second a fine-tuning of the first, one tensor of each made by every codec."""
    count = 3 * MIB // 8  # one and a half chunks of float32
    random = np.random.default_rng(0)
    base, noise = floats(1, count), floats(2, count)
    partly = base.copy()
    partly[MIB // 4 :] += 0.01 * noise[MIB // 4 :]
    integers = random.integers(-1000, 1000, 50_000).astype("<i4")
    static = random.integers(0, 256, 5000).astype(np.uint8).tobytes()
    half = floats(3, 40_000).view("<u4") >> 16
    odd = np.array([0x7FC00001, 0xFFC12345, 0x80000000, 0, 0x7F800000, 1], "<u4").tobytes()
    first = {
        "all.changed": ("F32", (count // 2, 2), base.tobytes()),
        "partly.changed": ("F32", (count,), base.tobytes()),
        "integers": ("I32", (50_000,), integers.tobytes()),
        "half": ("BF16", (200, 200), half.astype("<u2").tobytes()),
        "kept": ("U8", (5000,), static),
        "zeros": ("F64", (1000,), bytes(8000)),
        "odd": ("F32", (6,), odd),
        "empty": ("F16", (0, 7), b""),
        "scalar": ("I64", (), struct.pack("<q", -5)),
    }
    moved = half + random.integers(0, 2, half.size)
    second = first | {
        "all.changed": ("F32", (count // 2, 2), (base + 0.001 * noise).astype("<f4").tobytes()),
        "partly.changed": ("F32", (count,), partly.tobytes()),
        "integers": ("I32", (50_000,), (integers ^ (random.random(50_000) < 0.01)).astype("<i4").tobytes()),
        "half": ("BF16", (200, 200), moved.astype("<u2").tobytes()),
        "odd": ("F32", (6,), odd[::-1]),
    }
    return [first, second]


def read_everything(folder: Path) -> None:
    reader = Reader(folder)
    for name in reader.objects:
        reader.read(name)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository with two commits, a branch, a plain and an annotated tag."""
    root = tmp_path / "repository"
    repository = Repository.init(root)
    actor = Actor(identity=Identity("Ada <\\> Ж\t", "ada@example.org"), time=Timestamp(1_700_000_000, -90))
    first, second = states()
    (root / "config.json").write_text('{"hidden_size": 2}')
    write_checkpoint(root / "model.safetensors", first)
    repository.commit(message="first\nwith more", actor=actor)
    repository.branch("old")
    write_checkpoint(root / "model.safetensors", second)
    repository.commit(message="second \U0001f600", metrics=None, actor=actor)
    create_tag(repository, "plain", actor=actor)
    create_tag(repository, "v1", message="the first", actor=actor)
    return repository


def test_the_reader_verifies_every_object_and_finds_all_mlgit_finds(repository: Repository) -> None:
    reader = Reader(repository.folder)
    assert set(reader.objects) == set(repository.objects.ids())
    for object_id in repository.objects.ids():
        assert reader.read(object_id) == repository.objects.read(object_id)
        assert reader.objects[object_id].kind == repository.objects.kind(object_id)


def test_differences_to_a_base_are_among_what_it_reads(repository: Repository) -> None:
    reader = Reader(repository.folder)
    for object_id in reader.objects:
        reader.read(object_id)
    assert reader.codecs == {0, 1, 2, 3, 4, 5}


def test_it_rebuilds_every_committed_file_byte_for_byte(repository: Repository) -> None:
    reader = Reader(repository.folder)
    commit = reader.record(reader.head())
    manifest = reader.record(commit["manifest"])
    assert [file["path"] for file in manifest["files"]] == ["config.json", "model.safetensors"]
    for path in ("config.json", "model.safetensors"):
        assert reader.file(manifest, path) == (repository.root / path).read_bytes()
    first = reader.record(reader.record(commit["parents"][0]["id"])["manifest"])
    written = {name: reader.read(entry["id"]) for name, entry in first["tensors"].items()}
    assert written == {name: payload for name, (_, _, payload) in states()[0].items()}


def test_it_reads_refs_and_tags(repository: Repository) -> None:
    reader = Reader(repository.folder)
    found = {name: (kind, value) for name, kind, value in reader.refs()}
    head = repository.resolve("main")
    assert reader.head() == head
    assert found["refs/heads/old"] == ("commit", repository.resolve("main~1"))
    assert found["refs/heads/main"] == found["refs/tags/plain"] == ("commit", head)
    kind, tag = found["refs/tags/v1"]
    record = reader.record(tag)
    assert (kind, record["commit"], record["name"], record["message"]) == ("tag", head, "v1", "the first")
    assert set(found) == {"refs/heads/main", "refs/heads/old", "refs/tags/plain", "refs/tags/v1"}


def test_it_reads_reflogs(repository: Repository) -> None:
    reader = Reader(repository.folder)
    for name in ("HEAD", "refs/heads/main", "refs/tags/v1"):
        expected = [
            (
                "-" if entry.old is None else f"{entry.old.kind}:{entry.old}",
                "-" if entry.new is None else f"{entry.new.kind}:{entry.new}",
                entry.when.seconds,
                entry.when.offset_minutes,
                entry.who.name,
                entry.who.email,
                entry.reason,
            )
            for entry in repository.refs.reflog(name)
        ]
        assert reader.reflog(name)[::-1] == expected
    assert reader.reflog("HEAD")[0][4:] == ("Ada <\\> Ж\t", "ada@example.org", "commit: first")


def test_it_reads_a_clone(repository: Repository, tmp_path: Path) -> None:
    copy = clone(repository.root, tmp_path / "copy")
    reader = Reader(copy.folder)
    assert reader.head() == repository.resolve("main")
    assert {name for name, _, _ in reader.refs()} >= {"refs/remotes/origin/main", "refs/remotes/origin/old"}
    assert all(reader.read(name) is not None for name in reader.objects)


@pytest.mark.parametrize("dtype", BITS)
def test_it_reads_every_dtype_with_and_without_a_base(dtype: str, tmp_path: Path) -> None:
    """Bytes are random, so NaN payloads and negative zeros are among them; one in a hundred changes."""
    count = 128 * 128
    size = count * BITS[dtype] // 8
    random = np.random.default_rng(BITS[dtype])
    old = random.integers(0, 256, size).astype(np.uint8)
    new = np.where(random.random(size) < 0.01, random.integers(0, 256, size), old).astype(np.uint8)
    database = ObjectDatabase.create(tmp_path / "objects")
    (tmp_path / "format").write_bytes(b"mlgit repository 1\n")
    with database.transaction() as transaction:
        base = transaction.put_tensor(dtype, [128, 128], [old.tobytes()])
        transaction.put_tensor(dtype, [128, 128], [new.tobytes()], base=base)
    reader = Reader(tmp_path)
    for content in (old, new):
        name = tensor_id(dtype, [128, 128], [content.tobytes()])
        assert reader.read(name) == content.tobytes()
    assert any(chunk.base for entry in reader.objects.values() for chunk in entry.chunks)


def test_chains_of_differences_are_followed(tmp_path: Path) -> None:
    database = ObjectDatabase.create(tmp_path / "objects")
    (tmp_path / "format").write_bytes(b"mlgit repository 1\n")
    values, ids = floats(1, 20_000), list[TensorId]()
    for step in range(5):
        with database.transaction(depth=8) as transaction:
            values = (values + 1e-4 * floats(step + 2, 20_000)).astype("<f4")
            ids.append(transaction.put_tensor("F32", [20_000], [values.tobytes()], base=ids[-1] if ids else None))
    reader = Reader(tmp_path)
    assert max(chunk.depth for entry in reader.objects.values() for chunk in entry.chunks) == 4
    assert reader.read(ids[-1]) == values.tobytes()


def test_a_flipped_byte_anywhere_in_a_pack_is_noticed(repository: Repository, tmp_path: Path) -> None:
    """The documents promise that damage shows; a reader that never complains would prove nothing."""
    source = max((repository.folder / "objects").glob("*.pack"), key=lambda path: path.stat().st_size)
    content = source.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(content), 25).tolist():
        damaged = bytearray(content)
        damaged[place] ^= 1 + place % 255
        source.write_bytes(damaged)
        with pytest.raises((AssertionError, zstd.ZstdError, KeyError, struct.error)):
            read_everything(repository.folder)
    source.write_bytes(content)
    read_everything(repository.folder)
