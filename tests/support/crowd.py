"""A crowd at one repository: many processes commit, one collects without any grace, one reads; prints JSON.

Usage: ``python crowd.py ROOT one|each|files PROCESSES COMMITS``. With ``one`` all commit to one branch by compare and
swap, with ``each`` every process has a branch of its own, with ``files`` all commit the same working directory as
``mlgit commit`` does. Every process is forked from this one, which has imported everything.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from mlgit.errors import ConflictError
from mlgit.objects import Commit, CommitId, Identity, Manifest, Parent, Role, Stage, TensorEntry, Timestamp, tensor_id
from mlgit.porcelain.actor import Actor
from mlgit.porcelain.commit import commit
from mlgit.porcelain.gc import gc
from mlgit.porcelain.inspect import cat_file
from mlgit.porcelain.log import log
from mlgit.porcelain.repack import repack
from mlgit.porcelain.status import status
from mlgit.repository import HEADS, Repository
from mlgit.weights.stored import load

ADA = Identity("Ada", "ada@example.org")
SHAPE = (40, 30)
VALUES = 6
"""Every process uses tensors out of these few, so that a commit often relies on what another one has stored."""


def tensor(layer: int, value: int) -> np.ndarray:
    """Return one of the tensors; those of a layer are near one another."""
    start = np.random.default_rng(layer).standard_normal(SHAPE, np.float32)
    return start + np.random.default_rng(100 + value).standard_normal(SHAPE, np.float32) * np.float32(1e-4)


def store(repository: Repository, before: CommitId | None, number: int, message: str) -> CommitId:
    """Store a commit of two tensors that no name leads to yet."""
    old = None if before is None else repository.manifest_of(before)
    with repository.objects.transaction() as transaction:
        entries = {}
        for layer in range(2):
            name, data = f"layer{layer}", tensor(layer, (number + layer) % VALUES)
            base = None if old is None else old.tensors[name].id
            found = transaction.put_tensor("F32", SHAPE, [data.tobytes()], base=base)
            entries[name] = TensorEntry(found, "F32", SHAPE)
        record = Commit(
            manifest=transaction.put_record(Manifest(entries)),
            parents=() if before is None else (Parent(before, Role.INIT),),
            stage=Stage.SNAPSHOT,
            author=ADA,
            time=Timestamp(1_700_000_000 + number),
            message=message,
        )
        return transaction.put_record(record)


def commit_by_swap(repository: Repository, branch: str, number: int, message: str, seen: Counter[str]) -> CommitId:
    """Commit to a branch, again and again until nobody was faster."""
    while True:
        try:
            with repository.keeping():
                found = repository.refs.read(branch)
                before = None if found is None else CommitId(found)
                new = store(repository, before, number, message)
                when = Timestamp(1_700_000_000 + number)
                repository.refs.update(branch, new, expected=before, who=ADA, when=when, reason="commit")
        except ConflictError as error:
            seen[f"{error.kind} {error.exit_code}"] += 1
        else:
            return new


def commit_files(repository: Repository, writer: int, number: int, message: str, seen: Counter[str]) -> CommitId:
    """Change a working file and commit, as ``mlgit commit`` does."""
    place = repository.folder / f"next-{writer}"
    save_file({f"layer{writer}": tensor(writer, number % VALUES)}, place)
    place.replace(repository.root / f"model-{writer}.safetensors")
    actor = Actor(ADA, Timestamp(1_700_000_000 + number))
    while True:
        try:
            return commit(repository, message, allow_empty=True, actor=actor).id
        except ConflictError as error:
            seen[f"{error.kind} {error.exit_code}"] += 1


def write(root: Path, mode: str, writer: int, commits: int) -> dict[str, object]:
    """Commit, and make garbage in between: a branch that is thrown away, and objects no name ever led to."""
    repository, seen = Repository(root), Counter[str]()
    branch = HEADS + (f"writer-{writer}" if mode == "each" else "main")
    made = []
    for number in range(commits):
        message = f"{writer} {number}"
        if mode == "files":
            made.append(commit_files(repository, writer, number, message, seen))
        else:
            made.append(commit_by_swap(repository, branch, writer + number, message, seen))
        if number % 5 == 4:
            scratch = f"{HEADS}scratch-{writer}"
            thrown = commit_by_swap(repository, scratch, writer + 3 * number, f"thrown away {message}", seen)
            repository.refs.update(scratch, None, expected=thrown, who=ADA, when=Timestamp(0), reason="delete")
        if number % 7 == 6:
            with repository.keeping():
                store(repository, None, writer + number + 1, f"never named {message}")
    return {"branch": branch, "made": made, "conflicts": seen}


def collect(root: Path, stop: Path) -> dict[str, object]:
    """Collect without grace, over and over, and write packs anew now and then."""
    seen = Counter[str]()
    while not stop.exists():
        try:
            found = gc(Repository(root), grace_days=0, reflog_days=0)
            seen.update(collections=1, removed=len(found.removed), rewritten=len(found.rewritten))
            if seen["collections"] % 3 == 0:
                repack(Repository(root))
                seen["repacked"] += 1
        except ConflictError as error:
            seen[f"conflict {error.kind} {error.exit_code}"] += 1
    return dict(seen)


def read(root: Path, stop: Path) -> dict[str, object]:
    """Read the newest history and its weights, over and over, with an old look at the repository and with new ones."""
    old, seen = Repository(root), Counter[str]()
    while not stop.exists():
        for repository in (old, Repository(root)):
            tips = {name: tip for name, tip in repository.branches().items() if not name.startswith("scratch")}
            for name, tip in sorted(tips.items())[-3:]:
                entries = log(repository, [name]).entries
                seen["commits"] += len(entries)
                cat_file(repository, tip)
                weights = load(repository.objects, repository.manifest_of(tip))
                seen["tensors"] += sum(bool(weight.isfinite().all()) for weight in weights.values())
            try:
                status(repository)
            except ConflictError as error:  # somebody writes working files, which are no history
                seen[f"{error.kind} {error.exit_code}"] += 1
            seen["rounds"] += 1
    return dict(seen)


def start(work: Callable[[], dict[str, object]], answer: Path) -> int:
    """Fork a process that works and writes its answer, or what went wrong; return its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        answer.write_text(json.dumps(work()))
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it was, it is reported and the child ends
        answer.write_text(json.dumps({"error": traceback.format_exc()}))
    finally:
        os._exit(code)


def main(root: Path, mode: str, processes: int, commits: int) -> dict[str, object]:
    """Run the crowd; the others stop when all commits are made."""
    repository = Repository.create(root)
    answers = root.parent / "answers"
    answers.mkdir()
    stop = answers / "stop"
    commit_by_swap(repository, HEADS + "main", 0, "first", Counter())
    tensor_id("F32", [1], [bytes(4)])
    others = {
        "collector": start(lambda: collect(root, stop), answers / "collector"),
        "reader": start(lambda: read(root, stop), answers / "reader"),
    }
    writers = [
        start(lambda writer=writer: write(root, mode, writer, commits), answers / f"writer-{writer}")  # type: ignore[misc] - the number of this turn
        for writer in range(processes)
    ]
    for child in writers:
        os.waitpid(child, 0)
    stop.touch()
    for child in others.values():
        os.waitpid(child, 0)
    return {path.name: json.loads(path.read_text()) for path in sorted(answers.iterdir()) if path != stop}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
