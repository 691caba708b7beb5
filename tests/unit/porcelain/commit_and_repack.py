"""Processes commit to branches and read everything while one repacks and collects; prints what it saw as JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from commit_and_collect import commit

from mlgit.objects import CommitId
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.gc import gc
from mlgit.porcelain.repack import repack
from mlgit.repository import Repository

WRITERS, READERS, ROUNDS, LEAST = 3, 2, 20, 3


def write(root: Path, writer: int) -> None:
    repository = Repository(root)
    for number in range(ROUNDS):
        commit(repository, f"refs/heads/w{writer}", writer * 7 + number, number)


def read(root: Path) -> None:
    """Read every tensor of every branch, again and again, until a file says that it is enough."""
    repository = Repository(root)
    while not (root / "enough").exists():
        for name in list(repository.refs.names("refs/heads/")):
            found = repository.refs.read(name)
            if found is not None:
                manifest = repository.manifest_of(CommitId(found))
                for entry in manifest.tensors.values():
                    assert len(repository.objects.read(entry.id)) == 40 * 60 * 4


def start(work: object, *arguments: object) -> int:
    child = os.fork()
    if child == 0:
        work(*arguments)  # type: ignore[operator]
        os._exit(0)
    return child


def main(root: Path) -> None:
    repository = Repository.create(root)
    commit(repository, "refs/heads/w0", 0, 0)
    writers = [start(write, root, writer) for writer in range(WRITERS)]
    readers = [start(read, root) for _ in range(READERS)]
    rounds = rebased = 0
    while writers or rounds < LEAST:
        done = repack(repository, depth=rounds % 3 + 1, wait_s=60)
        rounds, rebased = rounds + 1, rebased + done.rebased
        if rounds % 2:
            gc(repository, grace_days=0, reflog_days=0, wait_s=60)
        for child in list(writers):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                assert status == 0, status
                writers.remove(child)
    repack(repository)
    (root / "enough").touch()
    assert [os.waitpid(child, 0)[1] for child in readers] == [0] * READERS
    again = Repository(root)
    found = fsck(again)
    assert found.sound, found.hurt
    assert list(again.objects.check_packs()) == []
    packs = len(again.objects.pack_paths())
    sys.stdout.write(json.dumps({"commits": found.commits, "rounds": rounds, "rebased": rebased, "packs": packs}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
