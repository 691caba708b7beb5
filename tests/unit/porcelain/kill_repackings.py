"""Kill a repacking at each call that changes files; run as a program, prints what it saw as JSON."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from conftest import Workshop
from safetensors.numpy import save_file

from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.repack import repack
from mlgit.repository import Repository
from mlgit.storage.objects import ObjectDatabase

STEPS = {"write", "fsync", "replace", "rename", "unlink", "mkdir", "utime", "truncate", "open"}


def prepare(root: Path) -> Workshop:
    """Make a history in which the second model is nearest to all others, so that it is a better base than the first."""
    workshop = Workshop.create(root)
    random = np.random.default_rng(0)
    centre = random.standard_normal(3000, np.float32)
    for step in (0.2, 0.0, 0.2, 0.2):
        moved = random.random(3000) < step
        tensors = {"w": np.where(moved, random.standard_normal(3000, np.float32), centre), "b": centre[:2]}
        save_file(tensors, root / "model.safetensors")
        workshop.commit()
    return workshop


def contents(root: Path) -> dict[str, bytes]:
    objects = ObjectDatabase(root / ".mlgit/objects")
    assert list(objects.check_packs()) == []
    return {f"{one.kind} {one}": objects.read(one) for one in objects.ids()}


def packs(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".mlgit/objects").glob("pack-*"))


def in_a_child(root: Path, at_step: int, act: Callable[[], None]) -> int:
    """Repack in a child in which something happens at its step number ``at_step``; return its status."""
    child = os.fork()
    if child == 0:
        seen = 0

        def profile(_: FrameType, event: str, function: object) -> None:
            nonlocal seen
            owner = getattr(function, "__self__", None)
            name = getattr(owner, "__name__", type(owner).__name__)
            if event == "c_call" and getattr(function, "__name__", "") in STEPS and name in (
                "posix", "_io", "io", "FileIO", "BufferedWriter", "BufferedRandom",
            ):  # fmt: skip
                seen += 1
                if seen == at_step:
                    act()

        sys.setprofile(profile)
        try:
            repack(Repository(root))
        except KeyboardInterrupt:
            os._exit(2)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt() -> None:
    sys.setprofile(None)
    raise KeyboardInterrupt


def main(folder: Path) -> None:
    start = prepare(folder / "start" / "model")
    head, full, everything = start.repository.head, packs(start.repository.root), contents(start.repository.root)
    size = start.repository.objects.stored_bytes()
    seen = {"kill": 0, "interrupt": 0, "before": 0, "after": 0, "both": 0}
    for way, act in (("kill", kill), ("interrupt", interrupt)):
        status = 1
        while status:
            seen[way] += 1
            root = folder / f"{way}{seen[way]}" / "model"
            shutil.copytree(start.repository.root, root, copy_function=shutil.copy2)
            status = in_a_child(root, seen[way], act)
            assert status in (0, 2 << 8, signal.SIGKILL), status
            left = packs(root)
            seen["before" if left == full else "after" if len(left) == 1 else "both"] += 1
            assert set(left) >= set(full) or len(set(left) - set(full)) == 1, left
            assert contents(root) == everything, (way, seen)
            assert fsck(Repository(root)).sound
            repack(Repository(root))
            assert contents(root) == everything
            assert Repository(root).head == head
            assert len(packs(root)) == 1
            assert Repository(root).objects.stored_bytes() < size
            leftovers = [path.name for path in (root / ".mlgit").rglob("*") if path.suffix in (".lock", ".tmp")]
            assert leftovers == [], (way, seen, leftovers)
            shutil.rmtree(root)
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
