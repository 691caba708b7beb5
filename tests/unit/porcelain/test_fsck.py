from __future__ import annotations

import errno
import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from mlgit.errors import FileSystemError
from mlgit.objects import ObjectId
from mlgit.porcelain import verification
from mlgit.porcelain.branch import create_branch
from mlgit.porcelain.fsck import FsckResult, fsck
from mlgit.progress import NoProgress
from mlgit.repository import Repository
from mlgit.storage import ObjectDatabase, workers

NOISE = np.random.default_rng(0)


def check(shop: Any, **options: Any) -> FsckResult:
    return fsck(Repository(shop.repository.root), **options)


def packs(shop: Any) -> list[Path]:
    return sorted((shop.repository.folder / "objects").glob("*.pack"))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.fixture
def four_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "thread_count", lambda: 4)


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count what is read")
def test_what_is_stored_is_read_once(workshop: Any) -> None:
    tensors = {f"w{number}": NOISE.bytes(1 << 17) for number in range(64)}
    save_file(
        {name: np.frombuffer(data, np.uint8) for name, data in tensors.items()},
        workshop.repository.root / "model.safetensors",
    )
    workshop.commit()
    stored = sum(path.stat().st_size for path in packs(workshop))
    assert stored > 1 << 23
    before = bytes_read()
    assert check(workshop).sound
    assert bytes_read() - before < 1.1 * stored


def bytes_read() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def test_large_objects_are_read_in_bounded_memory(workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "thread_count", lambda: 2)
    size = 80 << 20
    save_file({f"w{n}": np.full(size, n, np.uint8) for n in range(2)}, workshop.repository.root / "model.safetensors")
    workshop.commit()
    tracemalloc.start()
    try:
        assert check(workshop).sound
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


def test_several_small_objects_are_read_at_once(
    workshop: Any, monkeypatch: pytest.MonkeyPatch, four_threads: None
) -> None:
    workshop.commit(1, 2, 3, 4, 5, 6)
    monkeypatch.setattr(verification, "_BATCH_OBJECTS", 1)
    meeting = threading.Barrier(3, timeout=30)
    met: list[int] = []

    def problems(self: ObjectDatabase, object_id: ObjectId) -> None:
        if object_id.kind == "tensor":
            met.append(meeting.wait())

    monkeypatch.setattr(ObjectDatabase, "problems", problems)
    assert check(workshop).sound
    assert sorted(met) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("number", [0, 1])
def test_a_damaged_copy_is_named_although_another_one_is_sound(workshop: Any, number: int) -> None:
    workshop.commit(1)
    objects = ObjectDatabase(workshop.repository.folder / "objects")
    tensor = next(iter(objects.ids("tensor")))
    dtype, shape = objects.tensor_type(tensor)
    with objects.transaction(again={tensor}) as transaction:
        transaction.put_tensor(dtype, shape, [objects.read(tensor)])
    assert len(packs(workshop)) == 2
    copies = [path for path in packs(workshop) if path.stat().st_size > 1000]
    holders = sorted(copies, key=lambda path: path.stat().st_size)
    flip(holders[number], 100)
    found = check(workshop)
    assert [(item.id, item.kind) for item in found.hurt] == [(None, "pack")]
    assert f"{holders[number].name}' at offset 16" in found.hurt[0].problem


def test_damage_in_what_nothing_needs_is_named_too(workshop: Any) -> None:
    workshop.commit(1)
    before = set(packs(workshop))
    with workshop.repository.objects.transaction() as transaction:
        blob = transaction.put_blob([NOISE.bytes(500)])
    (path,) = set(packs(workshop)) - before
    flip(path, 100)
    found = check(workshop)
    assert [(item.id, item.kind) for item in found.hurt] == [(None, "pack")]
    assert blob.short in found.hurt[0].problem


def test_every_damaged_object_of_a_pack_is_named_not_only_the_first(workshop: Any) -> None:
    commit = workshop.commit(1, 2, 3, 4)
    (path,) = packs(workshop)
    size = path.stat().st_size
    for part in range(1, 4):
        flip(path, part * size // 5)
    found = check(workshop)
    hurt = [item for item in found.hurt if item.id is not None]
    assert len(hurt) == 3
    assert all(item.commits == (commit,) and "at offset" in item.problem for item in hurt)


def test_a_bad_sector_is_damage_but_a_lack_of_permission_is_not(workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.commit(1)
    read, codes = os.preadv, [errno.EIO]

    def failing(descriptor: int, buffers: list[Any], offset: int, *rest: int) -> int:
        if 16 <= offset < 2000:
            raise OSError(codes[0], os.strerror(codes[0]))
        return read(descriptor, buffers, offset, *rest)

    monkeypatch.setattr(os, "preadv", failing)
    found = check(workshop)
    assert any("input/output error" in item.problem for item in found.hurt)
    codes[0] = errno.EACCES
    with pytest.raises(FileSystemError):
        check(workshop)


def test_what_is_removed_while_one_looks_is_not_called_missing(workshop: Any) -> None:
    workshop.commit(1, 2)
    before = set(packs(workshop))
    create_branch(workshop.repository, "side", actor=workshop.actor)
    tip = workshop.commit(3, 4)
    (path,) = set(packs(workshop)) - before
    folder = workshop.repository.folder

    class Vandal(NoProgress):
        @contextmanager
        def task(self, title: str, total: int | None = None) -> Iterator[Any]:
            with super().task(title, total) as bar:
                path.unlink()
                text = (folder / "refs/heads/side").read_text()
                (folder / "refs/heads/main").write_text(text)
                for log in (folder / "logs").rglob("*..log"):
                    log.unlink()
                (folder / "index.json").unlink()
                yield bar

    found = check(workshop, progress=Vandal())
    assert found.commits == 2
    assert found.sound, (tip, found.hurt)


def test_many_small_tensors_take_few_threads_and_little_else(
    workshop: Any, monkeypatch: pytest.MonkeyPatch, four_threads: None
) -> None:
    tensors = {f"w{number}": np.full(3, number, np.int32) for number in range(3000)}
    save_file(tensors, workshop.repository.root / "model.safetensors")
    workshop.commit()
    started: list[Callable[[], object]] = []
    submit = workers.Workers.submit

    def counting(self: workers.Workers, function: Callable[[], Any]) -> Any:
        started.append(function)
        return submit(self, function)

    monkeypatch.setattr(workers.Workers, "submit", counting)
    found = check(workshop)
    assert found.sound
    assert found.objects > 3000
    assert len(started) < 100
