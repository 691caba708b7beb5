"""The files that ``benchmarks/peers.py`` works on: whether one came back, and tiny ones for trials.

As a program it compares two safetensors files: ``python peer_files.py WANTED FOUND``.
"""

from __future__ import annotations

import json
import shutil
import struct
import sys
from pathlib import Path

from peer_tools import quietly

HERE = Path(__file__).resolve()


def returned(wanted: Path, found: Path) -> str:
    """Return in a few words whether a file came back; in a process of its own, whose memory is not inherited."""
    if not found.exists():
        return "no file"
    return quietly([sys.executable, str(HERE), str(wanted), str(found)]).strip()


def compare(wanted: Path, found: Path) -> str:
    first, second = wanted.read_bytes(), found.read_bytes()
    if first == second:
        return "bytes"
    try:
        differences, values, count = tensors_differ(first, second)
    except (ValueError, KeyError, struct.error) as error:
        return f"unreadable: {error}"
    if not differences:
        return "tensors, another file"
    return f"LOST: {differences} of {count} tensors differ ({values} values)"


def tensors_differ(wanted: bytes, found: bytes) -> tuple[int, int, int]:
    """Return how many tensors of two safetensors files differ, in how many values, and of how many tensors."""
    import numpy as np  # noqa: PLC0415 - what measures stays small, since children inherit the peak of its memory

    old, new = tensors_of(wanted), tensors_of(found)
    differences = len(new.keys() - old.keys())
    values = 0
    for name, (dtype, shape, data) in old.items():
        given = new.get(name)
        if given is None or given[:2] != (dtype, shape):
            differences += 1
        elif given[2] != data:
            differences += 1
            width = len(data) // max(1, int(np.prod(shape)))
            rows = [np.frombuffer(part, np.uint8).reshape(-1, width) for part in (data, given[2])]
            values += int((rows[0] != rows[1]).any(axis=1).sum())
    return differences, values, len(old)


def tensors_of(data: bytes) -> dict[str, tuple[str, list[int], memoryview]]:
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    body = memoryview(data)[8 + size :]
    return {
        name: (entry["dtype"], entry["shape"], body[slice(*entry["data_offsets"])])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def tiny_model(path: Path, later: bool) -> None:
    """Write a model of a small matrix and a vector; ``later``, every value is the next number above."""
    entries = {"bias": ([64], 0, 256), "weight": ([64, 64], 256, 16640)}
    described = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
        for name, (shape, start, end) in entries.items()
    }
    header = json.dumps(described).encode()
    bits = struct.unpack("<4160I", struct.pack("<4160f", *(1 / (1 + number) for number in range(4160))))
    data = struct.pack("<4160I", *(number + later for number in bits))
    path.unlink(missing_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def read_through(path: Path) -> None:
    with path.open("rb", buffering=0) as stream:
        while stream.read(1 << 20):
            pass


def put(source: Path, target: Path) -> None:
    """Put a state into the working directory, as a training that saves does: as a new file."""
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)


if __name__ == "__main__":
    print(compare(Path(sys.argv[1]), Path(sys.argv[2])))
