"""Kill recipes at random moments and make them to the end; run as a program, prints what it saw as JSON.

Arguments: a repository, a folder for copies, a seed, and how many moments.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))
from recipe_lab import go

from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.recipe import RunState
from mlgit.porcelain.saved_runs import saved_runs
from mlgit.repository import Repository

NAMES = ("probe", "moving-average", "wise", "soup", "fusing", "robust-ratatouille", "ensemble")
HOW = {"runs": 2, "auxiliaries": ("dots",), "auxiliary_runs": 1}


def weights(repository: Repository) -> dict[str, str]:
    """Return what each branch holds."""
    return {name: repository.commit_of(commit_id).manifest for name, commit_id in repository.branches().items()}


def killed(root: Path, moments: random.Random, most: int) -> bool:
    """Go on in a child that is killed a little after some ref was made; return whether it was still at work."""
    repository = Repository(root)
    wanted = len(list(repository.refs.names())) + moments.randint(0, 4)
    child = os.fork()
    if child == 0:
        go(Repository(root), *NAMES, **HOW)
        os._exit(0)
    while len(list(repository.refs.names())) < min(wanted, most):
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.002)
    time.sleep(moments.uniform(0, 0.2))
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def main(start: Path, folder: Path, seed: int, kills: int) -> None:
    whole = Repository(shutil.copytree(start, folder / "whole"))
    undisturbed = go(whole, *NAMES, **HOW)
    wanted, most = weights(whole), len(list(whole.refs.names()))
    moments = random.Random(seed)
    root = Path(shutil.copytree(start, folder / "killed"))
    seen = {"kills": 0, "kept": 0}
    for _ in range(kills):
        seen["kills"] += killed(root, moments, most)
        found = Repository(root)
        assert fsck(found).sound
        assert {name: value for name, value in wanted.items() if name in found.branches()} == weights(found), (
            "half made"
        )
    before = Repository(root).branches()
    seen["kept"] = len(before)
    told: list[RunState] = []
    last = go(Repository(root), *NAMES, **HOW, tell=told.append)
    after = Repository(root)
    assert after.branches().items() >= before.items(), "what was made is not made again"
    assert not {each.run.branch for each in told if each.state == "running"} & before.keys()
    assert weights(after) == wanted
    assert [(each.recipe, each.branch, each.test, each.id_accuracy) for each in last.outcomes] == [
        (each.recipe, each.branch, each.test, each.id_accuracy) for each in undisturbed.outcomes
    ]
    assert saved_runs(after) == []
    assert fsck(after).sound
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
