from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mlgit.objects import Manifest
from mlgit.repository import Repository
from mlgit.worktree.snapshot import snapshot


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(tmp_path / "model")


@pytest.fixture
def write_tensors() -> Callable[..., None]:
    """Write a safetensors file of bytes, in the order given, with metadata and padding of its own."""

    def write(path: Path, tensors: Mapping[str, bytes], metadata: Mapping[str, str] | None = None) -> None:
        header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
        start = 0
        for name, data in tensors.items():
            header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [start, start + len(data)]}
            start += len(data)
        raw = json.dumps(header).encode() + b"   "
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(struct.pack("<Q", len(raw)) + raw + b"".join(tensors.values()))

    return write


@pytest.fixture
def record(repository: Repository) -> Callable[[], Manifest]:
    """Store the working files and return what they are."""

    def take() -> Manifest:
        with repository.objects.transaction() as transaction:
            manifest = snapshot(repository, transaction).manifest
            transaction.put_record(manifest)
        return manifest

    return take


@pytest.fixture
def contents(repository: Repository) -> Callable[[], dict[str, bytes]]:
    """Return the working files, byte for byte; a link as where it leads."""

    def read() -> dict[str, bytes]:
        return {
            path.relative_to(repository.root).as_posix(): (
                str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
            )
            for path in repository.root.rglob("*")
            if (path.is_file() or path.is_symlink()) and repository.folder not in path.parents
        }

    return read
