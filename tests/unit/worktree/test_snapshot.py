from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import ConflictError, InvalidInputError
from mlgit.objects import BlobFile, Manifest, TensorFile, blob_id, tensor_id
from mlgit.repository import Repository
from mlgit.worktree import index
from mlgit.worktree import snapshot as module
from mlgit.worktree.checkout import checkout, remember
from mlgit.worktree.snapshot import Hashing, snapshot
from mlgit.worktree.status import working_changes

Write = Callable[..., None]


def test_a_safetensors_file_becomes_tensors_and_a_header(repository: Repository, write_tensors: Write) -> None:
    place = repository.root / "sub" / "model.safetensors"
    write_tensors(place, {"b": b"12", "a": b"345"}, {"who": "me"})
    found = snapshot(repository, Hashing())
    data = place.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert found.manifest.files == (TensorFile("sub/model.safetensors", blob_id([data[8 : 8 + length]])),)
    assert found.manifest.tensors["a"].id == tensor_id("U8", [3], [b"345"])
    assert found.names == {"sub/model.safetensors": ["b", "a"]}


def test_any_other_file_becomes_a_blob(repository: Repository) -> None:
    (repository.root / "a.txt").write_bytes(b"text")
    (repository.root / "empty").write_bytes(b"")
    assert snapshot(repository, Hashing()).manifest.files == (
        BlobFile("a.txt", blob_id([b"text"]), 4),
        BlobFile("empty", blob_id([b""]), 0),
    )


def test_hashing_and_storing_give_the_same_manifest(
    repository: Repository, write_tensors: Write, record: Callable[[], Manifest]
) -> None:
    write_tensors(repository.root / "model.safetensors", {"a": b"1" * 100_000, "b": b""})
    assert snapshot(repository, Hashing()).manifest == record()


def test_the_model_file_names_factory_and_head(repository: Repository) -> None:
    (repository.root / "mlgit.toml").write_text('[model]\nfactory = "mlgit:digits-cnn"\nhead = "fc"\n')
    manifest = snapshot(repository, Hashing()).manifest
    assert (manifest.factory, manifest.head) == ("mlgit:digits-cnn", "fc")


def test_one_name_with_one_content_may_stand_in_two_files(repository: Repository, write_tensors: Write) -> None:
    write_tensors(repository.root / "a.safetensors", {"w": b"1"})
    write_tensors(repository.root / "b.safetensors", {"w": b"1", "v": b"2"})
    assert set(snapshot(repository, Hashing()).manifest.tensors) == {"v", "w"}


def test_one_name_with_two_contents_is_refused(repository: Repository, write_tensors: Write) -> None:
    write_tensors(repository.root / "a.safetensors", {"w": b"1"})
    write_tensors(repository.root / "b.safetensors", {"w": b"2"})
    with pytest.raises(InvalidInputError, match=r"'w' stands in 'a.safetensors' and in 'b.safetensors'") as refused:
        snapshot(repository, Hashing())
    assert refused.value.kind == "tensor-twice"


def test_a_file_that_changes_while_it_is_read_is_noticed(repository: Repository) -> None:
    place = repository.root / "a"
    place.write_bytes(b"1")

    class Slow(Hashing):
        def put_blob(self, parts: Any) -> Any:
            place.write_bytes(b"22")
            return super().put_blob(parts)

    with pytest.raises(ConflictError) as refused:
        snapshot(repository, Slow())
    assert refused.value.kind == "file-changed"


# --- the index


class Reads:
    """Counts the files that are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[str] = []
        read = module._Reader.read

        def count(reader: Any, path: str, state: Any) -> None:
            self.paths.append(path)
            read(reader, path, state)

        monkeypatch.setattr(module._Reader, "read", count)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the index be written late enough that every file counts as old."""
    monkeypatch.setattr(index, "RACY_NS", -(10**12))


def test_files_that_did_not_change_are_not_read_again(
    repository: Repository,
    write_tensors: Write,
    record: Callable[[], Manifest],
    monkeypatch: pytest.MonkeyPatch,
    settled: None,
) -> None:
    write_tensors(repository.root / "model.safetensors", {"a": b"1", "b": b"2"})
    (repository.root / "notes").write_text("x")
    manifest = record()
    remember(repository, manifest)
    reads = Reads(monkeypatch)
    assert snapshot(repository, Hashing()).manifest == manifest
    assert snapshot(repository, Hashing()).names == {"model.safetensors": ["a", "b"]}
    assert reads.paths == []
    (repository.root / "notes").write_text("y")
    assert snapshot(repository, Hashing()).manifest != manifest
    assert reads.paths == ["notes"]


@pytest.mark.parametrize("disturb", ["content", "size", "time", "replaced"])
def test_every_way_a_file_can_change_is_noticed(
    repository: Repository, record: Callable[[], Manifest], settled: None, disturb: str
) -> None:
    place = repository.root / "a"
    place.write_bytes(b"11")
    manifest = record()
    remember(repository, manifest)
    before = place.stat()
    if disturb == "replaced":
        other = repository.root.parent / "other"
        other.write_bytes(b"22")
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.replace(place)
    else:
        place.write_bytes(b"222" if disturb == "size" else b"22")
        if disturb != "time":
            os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert working_changes(repository, manifest, snapshot(repository, Hashing()))


def test_a_file_written_in_the_same_moment_as_the_index_is_read_again(
    repository: Repository, record: Callable[[], Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository.root / "a").write_bytes(b"1")
    remember(repository, record())
    reads = Reads(monkeypatch)
    snapshot(repository, Hashing())
    assert reads.paths == ["a"]


def test_what_was_seen_counts_not_what_is_there_when_the_index_is_written(
    repository: Repository, record: Callable[[], Manifest], settled: None
) -> None:
    place = repository.root / "a"
    place.write_bytes(b"1")
    manifest = record()
    seen = snapshot(repository, Hashing()).files
    place.write_bytes(b"2")  # meanwhile, while other files are written
    remember(repository, manifest, [], seen=seen)
    assert [change.path for change in working_changes(repository, manifest, snapshot(repository, Hashing()))] == ["a"]


# --- there and back


@given(
    files=st.dictionaries(
        st.sampled_from(["m.safetensors", "d/n.safetensors", "x", "d/y", "d/e/z"]),
        st.dictionaries(st.sampled_from("abcd"), st.binary(max_size=20), max_size=3),
        min_size=1,
    )
)
def test_what_was_recorded_comes_back_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, dict[str, bytes]], write_tensors: Write
) -> None:
    repository = Repository.create(tmp_path_factory.mktemp("model"))
    for path, tensors in files.items():
        if path.endswith(".safetensors"):
            write_tensors(
                repository.root / path, {path[:1] + name: data for name, data in tensors.items()}, {"a": path}
            )
        else:
            (repository.root / path).parent.mkdir(parents=True, exist_ok=True)
            (repository.root / path).write_bytes(b"".join(tensors.values()))
    before = {path: (repository.root / path).read_bytes() for path in files}
    with repository.objects.transaction() as transaction:
        manifest = snapshot(repository, transaction).manifest
        transaction.put_record(manifest)
    for path in files:
        (repository.root / path).unlink()
    with repository.lock():
        checkout(Repository(repository.root), manifest, paths=files)
    assert {path: (repository.root / path).read_bytes() for path in files} == before
    assert Manifest.decode(manifest.encode()) == manifest


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list open files")
def test_reading_does_not_keep_files_open(repository: Repository) -> None:
    (repository.root / "a").write_bytes(b"1" * 10_000)
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    snapshot(repository, Hashing())
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before
