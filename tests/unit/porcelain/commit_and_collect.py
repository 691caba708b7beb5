"""Four processes commit to branches while one collects without any grace; prints what it saw as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from conftest import ADA, tensor

from mlgit.objects import Commit, CommitId, Manifest, Parent, Role, Stage, TensorEntry, Timestamp
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.gc import gc
from mlgit.repository import Repository

WRITERS, ROUNDS = 4, 15


def commit(repository: Repository, branch: str, seed: int, number: int) -> CommitId:
    """Commit two tensors of a few that everybody uses, so that one commit relies on what another has stored."""
    with repository.keeping():
        before = repository.refs.read(branch)
        old = None if before is None else repository.manifest_of(CommitId(before))
        with repository.objects.transaction() as transaction:
            entries = {}
            for layer in range(2):
                name, data = f"layer{layer}", tensor(layer, (seed + layer) % 5)
                base = None if old is None else old.tensors[name].id
                found = transaction.put_tensor("F32", data.shape, [data.tobytes()], base=base)
                entries[name] = TensorEntry(found, "F32", data.shape)
            record = Commit(
                manifest=transaction.put_record(Manifest(entries)),
                parents=() if before is None else (Parent(CommitId(before), Role.INIT),),
                stage=Stage.SNAPSHOT, author=ADA, time=Timestamp(1_700_000_000 + number), message=f"{branch} {number}",
            )  # fmt: skip
            new = transaction.put_record(record)
        time.sleep(0.002)  # the window that is dangerous: stored, and no name leads to it
        repository.refs.update(branch, new, expected=before, who=ADA, when=record.time, reason="commit")
    return new


def write(root: Path, writer: int) -> None:
    """Commit to a branch of its own, and throw another branch away now and then."""
    repository = Repository(root)
    for number in range(ROUNDS):
        commit(repository, f"refs/heads/w{writer}", writer * 7 + number, number)
        scratch = f"refs/heads/scratch{writer}"
        thrown = commit(repository, scratch, number * 3 + writer, 100 + number)
        repository.refs.update(scratch, None, expected=thrown, who=ADA, when=Timestamp(0), reason="delete")


def main(root: Path) -> None:
    repository = Repository.create(root)
    children = []
    for writer in range(WRITERS):
        child = os.fork()
        if child == 0:
            write(root, writer)
            os._exit(0)
        children.append(child)
    freed = 0
    while children:
        freed += gc(repository, grace_days=0, reflog_days=0, wait_s=60).freed_bytes > 0
        for child in list(children):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                assert status == 0, status
                children.remove(child)
    gc(repository, grace_days=0, reflog_days=0)
    again = Repository(root)
    found = fsck(again)
    assert found.sound, found.hurt
    assert list(again.objects.check_packs()) == []
    sys.stdout.write(json.dumps({"commits": found.commits, "collections_that_freed": freed}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
