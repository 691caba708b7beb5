"""Kill a collection at each call that changes files; run as a program, prints what it saw as JSON."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parent))
from conftest import Workshop

from mlgit.porcelain.branch import delete_branch
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.gc import gc
from mlgit.porcelain.switch import switch
from mlgit.repository import Repository

STEPS = {"write", "fsync", "replace", "rename", "unlink", "mkdir", "utime"}


def prepare(root: Path) -> Workshop:
    """Make a history with a pack that nobody needs and one of which little is needed."""
    workshop = Workshop.create(root)
    workshop.commit(1, 2, 3, 4, 5, 6)
    repository = workshop.repository
    who = workshop.actor.who(repository)
    repository.refs.set_head("refs/heads/other", who=who, when=workshop.now, reason="test")
    workshop.commit(1)
    delete_branch(repository, "main", force=True, actor=workshop.actor)
    switch(repository, "lost", create=True, actor=workshop.actor)
    workshop.commit(1, 9)
    switch(repository, "other", actor=workshop.actor)
    delete_branch(repository, "lost", force=True, actor=workshop.actor)
    return workshop


def packs(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".mlgit/objects").glob("pack-*"))


def collect(root: Path) -> None:
    gc(Repository(root), grace_days=0, reflog_days=0)


def killed_at(root: Path, step: int) -> bool:
    """Collect in a child that is killed at its step number ``step``; return whether it got there."""
    child = os.fork()
    if child == 0:
        seen = 0

        def kill(_: FrameType, event: str, function: object) -> None:
            nonlocal seen
            owner = getattr(
                getattr(function, "__self__", None), "__name__", type(getattr(function, "__self__", 0)).__name__
            )
            if event == "c_call" and getattr(function, "__name__", "") in STEPS and owner in (
                "posix", "_io", "io", io.FileIO.__name__, io.BufferedWriter.__name__, io.BufferedRandom.__name__,
            ):  # fmt: skip
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(kill)
        collect(root)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status != 0


def main(folder: Path) -> None:
    start = prepare(folder / "start" / "model")
    head = start.repository.head
    full = packs(start.repository.root)
    seen = {"steps": 0, "before": 0, "after": 0}
    while True:
        seen["steps"] += 1
        root = folder / str(seen["steps"]) / "model"
        shutil.copytree(start.repository.root, root, copy_function=shutil.copy2)
        was_killed = killed_at(root, seen["steps"])
        left = packs(root)
        seen["before"] += left == full
        seen["after"] += len(set(left) & set(full)) == 1
        found = fsck(Repository(root))
        assert found.sound, (seen, found.hurt)
        assert Repository(root).head == head
        collect(root)
        assert fsck(Repository(root)).sound
        leftovers = [path.name for path in (root / ".mlgit").rglob("*") if path.suffix in (".lock", ".tmp")]
        assert leftovers == [], (seen, leftovers)
        final = packs(root)
        assert len(final) == 2, (seen, final)
        assert not is_listed(root, b"main"), "the packs of the lost branches are gone"
        shutil.rmtree(root)
        if not was_killed:
            break
    sys.stdout.write(json.dumps(seen))


def is_listed(root: Path, name: bytes) -> bool:
    """Whether the log of a ref still names something."""
    log = root / ".mlgit/logs/refs/heads" / (name.decode() + "..log")
    return log.exists() and bool(log.read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
