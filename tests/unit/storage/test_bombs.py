"""Small hostile packs that stand for much: refused within bounded memory, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import cycle, islice
from pathlib import Path

import pytest
from blake3 import blake3

from mlgit.errors import CorruptObjectError, InvalidInputError
from mlgit.objects import Commit, Identity, Manifest, Stage, Timestamp
from mlgit.objects.encoding import MAX_VALUES
from mlgit.storage import pack_format as layout
from mlgit.storage.codecs import COPY, ZSTD
from mlgit.storage.codecs.plain import compress
from mlgit.storage.pack_format import MAX_RECORD_BYTES, ChunkEntry, ObjectEntry

MIB = 1 << 20
READ = """
import json, sys
from pathlib import Path
from mlgit.errors import MlgitError
from mlgit.objects.ids import ID_TYPES
from mlgit.storage import ObjectDatabase
database = ObjectDatabase(Path(sys.argv[1]))
found = ID_TYPES[sys.argv[2]](sys.argv[3])
errors = []
for ask in (database.read_record, database.problems, lambda _: list(database.check_packs())):
    try:
        errors.append(str(ask(found)))
    except MlgitError as error:
        errors.append(type(error).__name__ + ": " + error.message)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([errors, int(peak.split()[1]) // 1024]))
"""


def write_bomb(root: Path, kind: str, parts: list[bytes]) -> str:
    """Write a pack with one object of these parts, of 1 MiB each; equal ones share their stored bytes."""
    state = blake3(f"mlgit {kind} 1\n".encode())
    chunks, payload, places = [], bytearray(), dict[bytes, int]()
    for part in parts:
        state.update(part)
        stored = compress(part)
        if part not in places:
            places[part] = layout.HEADER.size + len(payload)
            payload += stored
        check = layout.checksum(stored)
        chunks.append(ChunkEntry(places[part], len(stored), len(part), ZSTD, 1, 0, None, check))
    size = sum(map(len, parts))
    index = layout.build_index([ObjectEntry(state.digest(), kind, size, 0, len(parts), 20, b"")], chunks)
    header = layout.HEADER.pack(layout.MAGIC, layout.VERSION, 0)
    root.mkdir(exist_ok=True)
    footer = layout.build_footer(len(header) + len(payload), index)
    (root / f"pack-{'0' * 32}.pack").write_bytes(header + payload + index + footer)
    return state.hexdigest()


def ask(root: Path, kind: str, digits: str) -> tuple[list[str], int]:
    command = [sys.executable, "-c", READ, root, kind, digits]
    done = subprocess.run(command, capture_output=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    errors, peak = json.loads(done.stdout)
    return errors, peak


START = b'{"type":"manifest","version":1,"tensors":{},"files":['.ljust(64)
BOMBS = {
    "zeros as many as a record may have": ("manifest", [bytes(MIB)] * (MAX_RECORD_BYTES // MIB)),
    "more than a record may have": ("manifest", [bytes(MIB)] * (MAX_RECORD_BYTES // MIB + 1)),
    "lists": ("manifest", [START + b"[], " * ((MIB - 64) // 4), *[b"[], " * (MIB // 4)] * 60]),
    "lists in lists": ("commit", [b"[" * MIB] * 60),
    "texts": ("manifest", [START + b'"", ' * ((MIB - 64) // 4), *[b'"", ' * (MIB // 4)] * 60]),
    "one number": ("tag", [b'{"version":'.ljust(64) + b"9" * (MIB - 64), *[b"9" * MIB] * 30]),
    "one text": ("commit", [b'{"type":"'.ljust(64) + b"x" * (MIB - 64), *[b"x" * MIB] * 50]),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_record_that_stands_for_much_is_refused_in_bounded_memory(tmp_path: Path, name: str) -> None:
    kind, parts = BOMBS[name]
    digits = write_bomb(tmp_path / "objects", kind, parts)
    assert sum(path.stat().st_size for path in (tmp_path / "objects").iterdir()) < MIB
    errors, peak_mib = ask(tmp_path / "objects", kind, digits)
    assert errors[0].startswith("CorruptObjectError"), errors
    assert errors[2] != "[]"
    assert peak_mib < 256, (peak_mib, errors)


def test_a_chain_of_copies_of_copies_costs_no_more_than_its_depth(tmp_path: Path) -> None:
    """Each of many objects is a copy of the next, eight chunks each: refused, not followed to the end."""
    names = [blake3(bytes([number])).digest() for number in range(200)]
    chunks = [
        ChunkEntry(layout.HEADER.size, 0, MIB, COPY, 1, 1, base, layout.checksum(b""))
        for base in islice(cycle([*names[1:], names[0]]), len(names))
        for _ in range(8)
    ]
    objects = [ObjectEntry(name, "blob", 8 * MIB, 8 * place, 8, 20, b"") for place, name in enumerate(names)]
    index = layout.build_index(objects, chunks)
    root = tmp_path / "objects"
    root.mkdir()
    header = layout.HEADER.pack(layout.MAGIC, layout.VERSION, 0)
    (root / f"pack-{'0' * 32}.pack").write_bytes(header + index + layout.build_footer(len(header), index))
    errors, peak_mib = ask(root, "blob", names[0].hex())
    assert "more than 8 differences in a row" in errors[1], errors
    assert peak_mib < 256


def test_what_is_too_large_to_be_read_is_not_written() -> None:
    values = list(range(MAX_VALUES + 1))
    record = Commit(
        manifest=Manifest({}).id, parents=(), stage=Stage.PRETRAIN, author=Identity("Ada", "a@b"), time=Timestamp(0),
        message="much", made={"values": values},
    )  # fmt: skip
    with pytest.raises(InvalidInputError, match="more than 2097152 values"):
        record.encode()
    data = b'{"type":"commit","version":1,"made":{"values":' + json.dumps(values).encode() + b"}}"
    with pytest.raises(CorruptObjectError, match="more than 2097152 values"):
        Commit.decode(data)
