"""Commit without end, and acknowledge every commit after it was made; for tests that stop this at any moment.

Usage: ``python committer.py ROOT NUMBER`` commits the working files of ROOT and moves branches and tags, and prints one
JSON object per change when it is made. ``python committer.py ROOT NUMBER KILLS SEED`` starts so many committers and a
collector, kills one at a random moment and starts another, so many times, and prints what happened.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
from crowd import ADA, commit_by_swap
from safetensors.numpy import save_file

from mlgit.errors import ConflictError
from mlgit.objects import Timestamp
from mlgit.porcelain.actor import Actor
from mlgit.porcelain.branch import create_branch, delete_branch
from mlgit.porcelain.commit import commit
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.gc import gc
from mlgit.porcelain.switch import switch
from mlgit.porcelain.tag import create_tag
from mlgit.repository import HEADS, Repository

Acknowledge = Callable[[dict[str, object]], None]
VALUES = 30_000


def edit_and_commit(repository: Repository, number: int, round_: int) -> str:
    """Change a working file as other tools do, and commit."""
    weights = np.random.default_rng([number, round_]).standard_normal(VALUES, np.float32)
    place = repository.folder / f"next-{number}"
    save_file({f"w{number}": weights}, place)
    with place.open("rb") as stream:
        os.fsync(stream.fileno())  # what other tools write is theirs to sync
    place.replace(repository.root / f"model-{number}.safetensors")
    actor = Actor(ADA, Timestamp(1_700_000_000 + round_))
    return str(commit(repository, f"{number} {round_}", allow_empty=True, actor=actor).id)


def alone(root: Path, number: int, acknowledge: Acknowledge) -> None:
    """Commit, tag, branch and switch."""
    repository = Repository(root)
    for round_ in count():
        made = edit_and_commit(repository, number, round_)
        acknowledge({"commit": made, "branch": repository.refs.head().branch})
        if round_ % 3 == 1:
            create_tag(repository, f"t{round_}", message="a tag" if round_ % 2 else None)
            acknowledge({"tag": f"t{round_}", "commit": made})
        if round_ % 4 == 2:
            switch(repository, f"b{round_}", create=True)
            acknowledge({"head": f"refs/heads/b{round_}", "commit": made})
        if round_ % 4 == 3:
            switch(repository, "main")
            acknowledge({"head": "refs/heads/main"})
        if round_ % 8 == 5:
            create_branch(repository, "passing")
            delete_branch(repository, "passing")


def in_company(root: Path, number: int, acknowledge: Acknowledge) -> None:
    """Commit to the same working directory, to one branch, or to an own one, again when somebody was faster."""
    repository, seen = Repository(root), Counter[str]()
    start = int.from_bytes(os.urandom(4))
    for round_ in count(start):
        message = f"{number} {round_}"
        try:
            if number % 2:
                branch = repository.refs.head().branch
                made = edit_and_commit(repository, number, round_)
            else:
                branch = HEADS + ("shared" if number % 4 else f"own-{number}")
                made = str(commit_by_swap(repository, branch, number + round_ % 97, message, seen))
        except ConflictError as error:
            seen[f"{error.kind} {error.exit_code}"] += 1
            continue
        acknowledge({"commit": made, "branch": branch})


def collect(root: Path, acknowledge: Acknowledge) -> None:
    """Collect without grace, over and over."""
    while True:
        try:
            gc(Repository(root), grace_days=0, reflog_days=0)
        except ConflictError:
            continue
        acknowledge({"collected": True})


def start(work: Callable[[], None], place: Path) -> int:
    """Fork a process that works until it is killed; what stops it otherwise is written down."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:  # noqa: BLE001 - whatever it was, it is reported and the child ends
        with (place / "errors").open("a") as stream:
            stream.write(traceback.format_exc())
    finally:
        os._exit(1)


def acknowledging(descriptor: int) -> Acknowledge:
    """Return a function that writes a line at once: one call, so that none is torn."""
    return lambda said: os.write(descriptor, (json.dumps(said) + "\n").encode()) and None


def disturb(root: Path, committers: int, kills: int, seed: int) -> dict[str, object]:
    """Start committers and a collector; kill one at random, start another in its place, and so on."""
    place, dice = root.parent, random.Random(seed)
    acknowledge = acknowledging(os.open(place / "acknowledged", os.O_CREAT | os.O_APPEND | os.O_WRONLY))

    def work(number: int) -> Callable[[], None]:
        if number == committers:
            return lambda: collect(root, acknowledge)
        return lambda: in_company(root, number, acknowledge)

    running = {number: start(work(number), place) for number in range(committers + 1)}
    ends, unsound = Counter[int](), list[str]()
    for turn in range(kills):
        time.sleep(dice.uniform(0, 0.12))
        number = dice.randrange(committers + 1)
        os.kill(running[number], signal.SIGKILL)
        ends[os.waitstatus_to_exitcode(os.waitpid(running[number], 0)[1])] += 1
        running[number] = start(work(number), place)
        if turn % 50 == 49:
            found = fsck(Repository(root))
            unsound += [f"after {turn + 1} kills: {hurt}" for hurt in found.hurt]
    for child in running.values():
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return {"ends": ends, "unsound": unsound}


def main(root: Path, number: int, *disturbance: int) -> None:
    """Commit alone, or disturb a company."""
    if disturbance:
        print(json.dumps(disturb(root, number, *disturbance)))  # noqa: T201 - this is a program
    else:
        alone(root, number, acknowledging(1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
