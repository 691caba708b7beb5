from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from mlgit import Repository as Facade
from mlgit.errors import ConflictError, CorruptObjectError, InvalidInputError
from mlgit.porcelain.branch import delete_branch
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.gc import gc
from mlgit.porcelain.repack import repack
from mlgit.porcelain.switch import switch
from mlgit.repository import Repository
from mlgit.storage.lock import FileLock
from mlgit.storage.objects import ObjectDatabase
from mlgit.storage.repack import output as repack_output

HERE = Path(__file__).parent


def contents(repository: Repository) -> dict[str, bytes]:
    objects = ObjectDatabase(repository.folder / "objects")
    return {str(one): objects.read(one) for one in objects.ids()}


def grow(workshop: Any, *shares: float) -> None:
    """Commit models of which each differs from one that is among them in a share of its values."""
    random = np.random.default_rng(0)
    centre = random.standard_normal((40, 60), np.float32)
    for share in shares:
        moved = random.random(centre.shape) < share
        tensors = {"w": np.where(moved, random.standard_normal(centre.shape, np.float32), centre), "b": centre[0]}
        save_file(tensors, workshop.repository.root / "model.safetensors")
        workshop.commit()


def test_a_history_takes_one_pack_and_fewer_bytes_and_gives_the_same(workshop: Any) -> None:
    grow(workshop, 0.2, 0, 0.2, 0.2)
    before = contents(workshop.repository)
    promised = repack(workshop.repository, dry_run=True)
    assert contents(workshop.repository) == before
    done = repack(workshop.repository)
    assert (done.packs_before, done.packs_after) == (4, 1) == (promised.packs_before, promised.packs_after)
    assert done.rebased == promised.rebased > 0
    assert abs(done.after_bytes - promised.after_bytes) < 0.02 * done.after_bytes
    assert done.after_bytes < 0.95 * done.before_bytes
    assert done.after_bytes == Repository(workshop.repository.root).objects.stored_bytes()
    assert contents(workshop.repository) == before
    assert fsck(workshop.repository).sound
    again = repack(workshop.repository)
    assert (again.before_bytes, again.after_bytes, again.rebased) == (done.after_bytes, done.after_bytes, 0)


def test_a_dry_run_changes_nothing(workshop: Any, fingerprint: Callable[[Path], dict[str, str]]) -> None:
    grow(workshop, 0.2, 0, 0.2)
    before = fingerprint(workshop.repository.root)
    repack(workshop.repository, dry_run=True)
    assert fingerprint(workshop.repository.root) == before


def test_depth_makes_a_drifting_history_smaller(workshop: Any) -> None:
    random = np.random.default_rng(0)
    value = random.standard_normal((40, 60), np.float32)
    for _ in range(8):
        value = np.where(random.random(value.shape) < 0.1, random.standard_normal(value.shape, np.float32), value)
        save_file({"w": value}, workshop.repository.root / "model.safetensors")
        workshop.commit()
    before = contents(workshop.repository)
    sizes = [Facade(workshop.repository.root).repack(depth=depth).after_bytes for depth in (1, 2, 8, 1)]
    assert sizes[0] > sizes[1] > sizes[2] == sizes[3]
    assert contents(workshop.repository) == before
    workshop.commit(1, 2)
    assert fsck(workshop.repository).sound


def test_an_empty_repository_stays_empty(workshop: Any) -> None:
    done = repack(workshop.repository)
    assert (done.before_bytes, done.after_bytes, done.packs_after) == (0, 0, 0)


def test_a_deleted_branch_can_still_be_collected_afterwards(workshop: Any) -> None:
    grow(workshop, 0.2, 0, 0.2)
    switch(workshop.repository, "lost", create=True, actor=workshop.actor)
    lost = workshop.commit(11, 12, 13)
    switch(workshop.repository, "main", actor=workshop.actor)
    repack(workshop.repository)
    delete_branch(workshop.repository, "lost", force=True, actor=workshop.actor)
    before = workshop.repository.objects.stored_bytes()
    gc(workshop.repository, grace_days=0, reflog_days=0, now=workshop.now)
    assert repack(workshop.repository).after_bytes < before
    gc(workshop.repository, grace_days=0, reflog_days=0, now=workshop.now)
    assert lost not in Repository(workshop.repository.root).objects
    assert fsck(workshop.repository).sound


def test_a_damaged_pack_is_left_alone_and_named(workshop: Any) -> None:
    grow(workshop, 0.2, 0, 0.2, 0.2)
    last = workshop.repository.head
    hurt = next(path for path in workshop.repository.objects.pack_paths() if last[:16] in path.name)
    data = bytearray(hurt.read_bytes())
    data[30] ^= 1
    hurt.write_bytes(data)
    done = repack(Repository(workshop.repository.root))
    assert done.damaged == (hurt.name,)
    assert done.packs_after == 2
    assert hurt.exists()
    found = fsck(Repository(workshop.repository.root))
    assert not found.sound


def test_a_damaged_history_is_not_repacked(workshop: Any) -> None:
    grow(workshop, 1, 0)
    head = workshop.repository.head
    next(path for path in workshop.repository.objects.pack_paths() if head[:16] in path.name).unlink()
    with pytest.raises(CorruptObjectError, match="nothing is repacked"):
        repack(Repository(workshop.repository.root))


@pytest.mark.parametrize("depth", [0, 9, -1])
def test_depths_that_no_reader_follows_are_refused(workshop: Any, depth: int) -> None:
    with pytest.raises(InvalidInputError):
        repack(workshop.repository, depth=depth)


def test_a_collector_at_work_is_waited_for_and_named(workshop: Any) -> None:
    with FileLock(workshop.repository.folder / "gc.lock"), pytest.raises(ConflictError):
        repack(workshop.repository, wait_s=0.05)


def test_a_writer_at_work_is_waited_for_and_nothing_changes(workshop: Any) -> None:
    grow(workshop, 0.2, 0, 0.2)
    before = workshop.repository.objects.pack_paths()
    with Repository(workshop.repository.root).keeping(), pytest.raises(ConflictError):
        repack(workshop.repository, wait_s=0.05)
    assert workshop.repository.objects.pack_paths() == before


def test_a_codec_that_errs_is_caught_before_anything_is_lost(workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(workshop, 0.2, 0, 0.2, 0.2)
    before = contents(workshop.repository)
    encode = repack_output.encode_chunk

    def wrong(raw: memoryview, content: Any, base: memoryview | None) -> Any:
        return encode(memoryview(bytes(raw)[::-1]), content, base)

    monkeypatch.setattr(repack_output, "encode_chunk", wrong)
    with pytest.raises(RuntimeError, match="does not give back"):
        repack(workshop.repository)
    assert len(workshop.repository.objects.pack_paths()) == 4
    assert contents(workshop.repository) == before
    assert [path for path in (workshop.repository.folder / "objects").rglob("*") if path.suffix == ".tmp"] == []


def run_script(name: str, folder: Path) -> dict[str, int]:
    """Run a script beside this file, in processes of its own."""
    done = subprocess.run(
        [sys.executable, str(HERE / name), str(folder)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(done.stdout)


def test_a_repacking_that_is_killed_or_interrupted_at_any_step_loses_nothing(fast_path: Path) -> None:
    found = run_script("kill_repackings.py", fast_path)
    assert min(found["kill"], found["interrupt"]) > 15
    assert min(found["before"], found["both"], found["after"]) > 0


def test_committers_and_readers_do_not_notice_repackings_and_collections(fast_path: Path) -> None:
    found = run_script("commit_and_repack.py", fast_path / "model")
    assert found["commits"] == 3 * 20 + 1
    assert found["rounds"] >= 3
    assert found["packs"] == 1
