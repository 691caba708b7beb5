"""What is fuzzed: each reader of bytes that a stranger may have written, with what must hold whatever they are.

A target takes any bytes. It may end quietly, or raise ``BrokenReaderError``; anything else it raises is a defect too.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
from blake3 import blake3
from safetensors import SafetensorError, deserialize

from mlgit.errors import MlgitError
from mlgit.objects import Commit, CommitId, Identity, Manifest, ObjectId, Stage, Tag, Timestamp, blob_id
from mlgit.objects.ids import ID_TYPES, preamble
from mlgit.objects.record import RECORDS, decode_record
from mlgit.storage import ObjectDatabase, commit_graph, reflog
from mlgit.storage import pack_format as layout
from mlgit.storage.catalogue import BUCKET, ENTRY, NAME_BYTES, Catalogue, DamagedCatalogueError, bucket_checksum
from mlgit.storage.catalogue import HEADER as CATALOGUE_HEADER
from mlgit.storage.catalogue import MAGIC as CATALOGUE_MAGIC
from mlgit.storage.catalogue import VERSION as CATALOGUE_VERSION
from mlgit.storage.commit_graph import CommitGraph
from mlgit.storage.owner import Owner
from mlgit.storage.pack import Pack
from mlgit.storage.ref_values import parse_symbolic, parse_value
from mlgit.storage.reflog import ReflogEntry
from mlgit.storage.sealed import seal, unseal
from mlgit.weights.header import build_header, parse_header

SMALL = 1 << 16
SIGNED, AS_IS = b"\x01", b"\x00"
NAME = "pack-" + "0" * 32 + ".pack"
ADA = Identity("Ada", "ada@example.org")


class BrokenReaderError(AssertionError):
    """A reader accepted what it should not, or gave out something else."""


def demand(holds: bool, *what: object) -> None:
    """Raise BrokenReaderError unless something holds; works without assertions too."""
    if not holds:
        raise BrokenReaderError(*what)


@cache
def _folder() -> Path:
    fast = Path("/dev/shm")  # noqa: S108 - a random name below it is made
    made = Path(tempfile.mkdtemp(prefix="fuzz-", dir=fast if os.access(fast, os.W_OK) else None))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


# --- packs


def pack(data: bytes) -> None:
    """A pack as it is, or one whose header, footer and digest of the index are made to fit what is fuzzed."""
    root = _folder() / "objects"
    root.mkdir(exist_ok=True)
    path = root / NAME
    path.unlink(missing_ok=True)
    content = signed_pack(data[1:]) if data[:1] == SIGNED else data[1:]
    path.write_bytes(content)
    database = ObjectDatabase(root)
    complaints = [problem for problem in database.check_packs() if "the name of another pack" not in problem]
    with suppress(MlgitError):
        ids = list(database.ids())[:20]
        for found in ids:
            _read_object(database, found, sound=not complaints)
    if not complaints:
        _write_again(path)


def signed_pack(data: bytes) -> bytes:
    """Return a pack: two bytes say how long the payload is, then come payload and index."""
    length = int.from_bytes(data[:2], "little")
    payload, index = data[2 : 2 + length], data[2 + length :]
    header = layout.HEADER.pack(layout.MAGIC, layout.VERSION, 0)
    return header + payload + index + layout.build_footer(len(header + payload), index)


def _read_object(database: ObjectDatabase, found: ObjectId, *, sound: bool) -> None:
    try:
        if database.size(found) > 1 << 24:
            return  # as many bytes as it says are made room for; a caller who minds asks first
        data = database.read(found)
    except MlgitError:
        return
    start = preamble(found.kind)
    if found.kind == "tensor":
        located = database._folder.find(found.digest)
        start += located.entry.metadata + b"\n" if located else b""
    demand(blake3(start + data).digest() == found.digest, "an object has other bytes than its id")
    demand(b"".join(database.stream(found)) == data, "a stream has other bytes")
    if sound:
        demand(database.problems(found) is None, "an object of a sound pack has problems")


def _write_again(path: Path) -> None:
    """Write a sound pack anew from what was read of it; only where texts without bytes begin may differ."""
    read, content = Pack(path), path.read_bytes()
    entries, chunks = _contents(read)
    index = layout.build_index(entries, chunks)
    end = read.index_offset
    again = path.with_name("again")
    again.write_bytes(content[:end] + index + layout.build_footer(end, index))
    demand(_contents(Pack(again)) == (entries, chunks), "a pack that is sound is another one when it is written again")
    demand(len(index) <= len(content) - end - layout.FOOTER.size, "it needs more room then")
    again.unlink()


def _contents(read: Pack) -> tuple[list[layout.ObjectEntry], list[layout.ChunkEntry]]:
    entries = [read.entry(number) for number in range(read.object_count)]
    by_first = sorted(entries, key=lambda entry: (entry.first_chunk, entry.chunk_count))
    return entries, [chunk for entry in by_first for chunk in read.chunks(entry)]


# --- records


def record(data: bytes) -> None:
    """A manifest, commit, tag or certificate result, by the first byte."""
    kinds = sorted(RECORDS)
    kind, text = kinds[data[0] % len(kinds)] if data else "commit", data[1:]
    try:
        read = decode_record(kind, text)
    except MlgitError:
        return
    again = read.encode()
    demand(decode_record(kind, again) == read, "a record is another one when it was written and read")
    demand(_is_within(json.loads(again), json.loads(text)), "a record says what its bytes do not")
    demand(isinstance(read.id, ID_TYPES[kind]))


def _is_within(part: object, whole: object) -> bool:
    """Whether ``whole`` says all that ``part`` says; missing fields may be null, and lists of files be sorted."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(value is None or key in whole for key, value in part.items()) and all(
            _is_within(value, whole[key]) for key, value in part.items() if key in whole
        )
    if isinstance(part, list) and isinstance(whole, list) and len(part) == len(whole):
        return all(any(_is_within(one, other) for other in whole) for one in part)
    return (type(part) is type(whole) and part == whole) or (_number(part) and _number(whole) and part == whole)


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# --- safetensors headers


def header(data: bytes) -> None:
    """The header of a safetensors file; the format's own library must agree with what is accepted."""
    try:
        read = parse_header(data, "fuzzed")
    except MlgitError:
        return
    demand(read.raw == data, "a header keeps other bytes")
    demand(read.data_size == max((entry.end for entry in read.entries), default=0))
    written = build_header({entry.name: (entry.dtype, entry.shape) for entry in read.entries}, read.metadata)
    again = parse_header(written.raw, "written")
    forms = {(entry.name, entry.dtype, entry.shape) for entry in read.entries}
    demand({(entry.name, entry.dtype, entry.shape) for entry in again.entries} == forms, "a header is another one")
    demand(dict(again.metadata) == dict(read.metadata), "its metadata are others")
    if read.data_size < SMALL:
        _ask_the_library(read.prefix + bytes(read.data_size), forms)


def _ask_the_library(file: bytes, forms: set[tuple[str, str, tuple[int, ...]]]) -> None:
    try:
        theirs = {(name, found["dtype"], tuple(found["shape"])) for name, found in deserialize(file)}
    except SafetensorError as error:
        known = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}
        demand(not {dtype for _, dtype, _ in forms} <= known, f"the format's own library refuses it: {error}")
    else:
        demand(theirs == forms, "the format's own library reads something else")


# --- refs


def refs(data: bytes) -> None:
    """Values of refs and HEAD, lines and files of logs, owners of locks, sealed files: by the first byte."""
    readers = [_value, _symbolic, _line, _log, _owner, _sealed]
    if data:
        readers[data[0] % len(readers)](data[1:])


def _value(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        value = parse_value("refs/heads/main", text)
    except MlgitError:
        return
    demand(f"{value.kind} {value}\n".encode() == data, "a ref is read that is written otherwise")


def _symbolic(data: bytes) -> None:
    try:
        branch = parse_symbolic(data.decode("utf-8", "surrogateescape"))
    except MlgitError:
        return
    demand(branch is None or f"ref: {branch}\n".encode() == data, "HEAD is written otherwise")


def _line(data: bytes) -> None:
    entry = ReflogEntry.decode(data)
    if entry is not None:
        again = ReflogEntry.decode(entry.encode()[:-1])
        demand(again == entry, "a line of a log is another one when it was written and read")


def _log(data: bytes) -> None:
    path = _folder() / "log"
    path.write_bytes(data)
    told = reflog.read(path, CommitId("a" * 64))
    damaged = reflog.damaged_lines(path)
    demand(len(told) + len(damaged) <= data.count(b"\n") + 1, "more lines than there are")
    reflog.append(path, ReflogEntry(None, CommitId("a" * 64), ADA, Timestamp(0), "last"))
    demand(reflog.read(path, CommitId("a" * 64))[-1].reason == "last", "a log cannot be gone on with")


def _owner(data: bytes) -> None:
    with suppress(MlgitError):
        owner = Owner.decode(data.decode("utf-8", "replace"))
        str(owner)
        demand(owner.is_dead in (True, False))


def _sealed(data: bytes) -> None:
    demand(unseal(seal(data)) == data)
    with suppress(MlgitError):
        demand(seal(unseal(data)) == data, "a sealed file is written otherwise")


# --- files that make things faster


def catalogue(data: bytes) -> None:
    """A file that says which pack holds what, as it is or with digest and checksums that fit."""
    path = _folder() / "catalogue"
    path.unlink(missing_ok=True)
    path.write_bytes(signed_catalogue(data[1:]) if data[:1] == SIGNED else data[1:])
    read = Catalogue.load(path)
    if read is None:
        return
    with suppress(DamagedCatalogueError):
        demand(len(read.packs) == read.pack_count)
        known = [found for found, _ in read.from_prefix(bytes(32))]
        for digest in (bytes(32), b"\xff" * 32, *known[:5]):
            demand(not read.find(digest) or digest in known, "an object is found that is not listed")
            if known == sorted(known) and all(found in read.bucket(found[0] >> 7) for found in known):
                demand(bool(read.find(digest)) == (digest in known), "an object is not found that is listed")


def signed_catalogue(data: bytes) -> bytes:
    """Return a file of two buckets: a byte says how many packs, one where the second begins; names, entries."""
    packs, second, rest = data[0] % 8 if data else 0, data[1] if len(data) > 1 else 0, data[2:]
    names, entries = rest[: packs * NAME_BYTES].ljust(packs * NAME_BYTES, b"\0"), rest[packs * NAME_BYTES :]
    count = len(entries) // ENTRY.size
    head = CATALOGUE_HEADER.pack(CATALOGUE_MAGIC, CATALOGUE_VERSION, 1, packs, count) + names
    buckets, seed = b"", blake3(names).digest()
    for number, (first, end) in enumerate(((0, second), (second, count))):
        here = entries[first * ENTRY.size : min(end, count) * ENTRY.size]
        buckets += BUCKET.pack(first, bucket_checksum(seed, number, first, end, here))
    return head + blake3(head).digest() + buckets + entries[: count * ENTRY.size]


def graph(data: bytes) -> None:
    """A commit-graph, as it is or with a digest that fits."""
    content = data[1:] + blake3(data[1:]).digest() if data[:1] == SIGNED else data[1:]
    path = _folder() / "graph"
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    read = CommitGraph.load(path)
    if read is None:
        return
    with suppress(IndexError):  # what is said of a forged file that names commits it does not have
        for number in range(min(len(read), 50)):
            read.shape(number)
            demand(read.find(read.id(number)) is None or read.id(read.find(read.id(number)) or 0) == read.id(number))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "pack": pack,
    "record": record,
    "header": header,
    "refs": refs,
    "catalogue": catalogue,
    "graph": graph,
}


# --- where fuzzing starts


def seeds(name: str) -> Iterator[bytes]:
    """Yield small inputs of a target that are read without complaint."""
    yield from {
        "pack": _packs,
        "record": _records,
        "header": _headers,
        "refs": _refs,
        "catalogue": _catalogues,
        "graph": _graphs,
    }[name]()


def _packs() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as name:
        database = ObjectDatabase.create(Path(name) / "objects")
        rng = np.random.default_rng(0)
        old = (rng.standard_normal(60) * 0.02).astype(np.float32)
        with database.transaction() as transaction:
            base = transaction.put_tensor("F32", [60], [old])
            transaction.put_tensor("F32", [60], [old * np.float32(1.0001)], base=base)
            transaction.put_tensor("I64", [3, 5], [np.arange(15)])
        with database.transaction() as transaction:
            transaction.put_blob([b"a model card, " * 9])
            transaction.put_record(Manifest({}))
        with database.transaction() as transaction:
            transaction.put_tensor("BOOL", [], [b"\1"])
            transaction.put_blob([b""])
        for path in database.pack_paths():
            content = path.read_bytes()
            yield AS_IS + content
            index_offset = Pack(path).index_offset
            payload = content[layout.HEADER.size : index_offset]
            yield SIGNED + len(payload).to_bytes(2, "little") + payload + content[index_offset : -layout.FOOTER.size]


def _records() -> Iterator[bytes]:
    commit = Commit(
        manifest=Manifest({}).id, parents=(), stage=Stage.PRETRAIN, author=ADA, time=Timestamp(1, 60), message="one"
    )
    tag = Tag(commit=commit.id, name="v1", tagger=ADA, time=Timestamp(2), message="")
    tensors = {
        "w": {"id": "ab" * 32, "dtype": "F32", "shape": [2, 3]},
        "b": {"id": "cd" * 32, "dtype": "BF16", "shape": []},
    }
    files = [{"path": "model.safetensors", "header": "ef" * 32}, {"path": "a/b", "blob": "12" * 32, "size": 3}]
    full = {"type": "manifest", "version": 1, "tensors": tensors, "files": files, "factory": "mlgit:x", "head": "fc"}
    certificate = {
        "type": "certificate", "version": 1, "commit": "ab" * 32, "manifest": "cd" * 32, "certificate": "c",
        "definition": "ef" * 32, "issuer": "i", "task": {"name": "t", "digest": "ab" * 32}, "split": "test",
        "judge": "point", "confidence": 0.95, "checks": [], "passed": True, "code_version": "0.1.0",
        "examiner": {"name": "Ada", "email": "a@b"}, "time": {"seconds": 1, "offset": 0},
    }  # fmt: skip
    kinds = sorted(RECORDS)
    yield bytes([kinds.index("commit")]) + commit.encode()
    yield bytes([kinds.index("tag")]) + tag.encode()
    yield bytes([kinds.index("manifest")]) + Manifest({}).encode()
    yield bytes([kinds.index("manifest")]) + json.dumps(full).encode()
    yield bytes([kinds.index("certificate")]) + json.dumps(certificate).encode()


def _headers() -> Iterator[bytes]:
    yield build_header({}).raw
    yield build_header({"w": ("F32", (2, 3)), "b": ("BF16", ()), "e": ("U8", (0, 4))}, {"format": "pt"}).raw
    yield build_header({"a.b.c": ("F64", (1,)), "ü": ("I8", (7,))}).raw
    yield b'{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}   '
    yield json.dumps({"x": {"shape": [1], "data_offsets": [0, 1], "dtype": "F8_E4M3"}}, indent=1).encode()


def _refs() -> Iterator[bytes]:
    commit, tag = CommitId("ab" * 32), ID_TYPES["tag"]("cd" * 32)
    lines = ReflogEntry(None, commit, ADA, Timestamp(1), "one").encode()
    lines += ReflogEntry(commit, tag, Identity("A<\\>", ""), Timestamp(-5, -60), "two\n").encode()
    yield b"\x00" + f"commit {commit}\n".encode()
    yield b"\x00" + f"tag {tag}\n".encode()
    yield b"\x01" + b"ref: refs/heads/main\n"
    yield b"\x02" + lines.splitlines()[1]
    yield b"\x03" + lines
    yield b"\x03" + lines[:-30]
    yield b"\x04" + Owner.current().encode().encode()
    yield b"\x05" + seal(b"{}")


def _catalogues() -> Iterator[bytes]:
    digests = sorted(blob_id([bytes([number])]).digest for number in range(5))
    entries = b"".join(ENTRY.pack(digest, number % 2) for number, digest in enumerate(digests))
    second = sum(digest[0] < 128 for digest in digests)
    signed = bytes([2, second]) + bytes(range(32)) + entries
    yield SIGNED + signed
    yield SIGNED + bytes([1, 0])
    yield AS_IS + signed_catalogue(signed)


def _graphs() -> Iterator[bytes]:
    ids = [blob_id([bytes([number])]).digest for number in range(4)]
    shapes = {
        ids[0]: commit_graph.Shape(5, ()),
        ids[1]: commit_graph.Shape(4, (ids[0],)),
        ids[2]: commit_graph.Shape(9, (ids[0],)),
        ids[3]: commit_graph.Shape(10, (ids[2], ids[1])),
    }
    for built in (commit_graph.build({}), commit_graph.build(shapes)):
        yield AS_IS + built
        yield SIGNED + built[:-32]


def mutated(data: bytes, random: object) -> bytes:
    """Return an input near another one: bits, bytes and numbers changed, parts moved, cut or repeated."""
    draw = random.randrange  # type: ignore[attr-defined] - random.Random, which ruff would call unsafe here
    content = bytearray(data)
    for _ in range(draw(1, 5)):
        place, what = draw(len(content) + 1), draw(7)
        if what == 0 and place < len(content):
            content[place] ^= 1 << draw(8)
        elif what == 1 and place < len(content):
            content[place] = (0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x22)[draw(7)]
        elif what == 2:
            del content[place : place + draw(1, 9)]
        elif what == 3:
            content[place:place] = content[place : place + draw(1, 40)]
        elif what == 4 and place + 8 <= len(content):
            struct.pack_into("<Q", content, place, (0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)[draw(6)])
        elif what == 5:
            content[place:place] = bytes(draw(256) for _ in range(draw(1, 5)))
        else:
            other = draw(len(content) + 1)
            content[place:place] = content[other : other + draw(1, 20)]
    return bytes(content)
