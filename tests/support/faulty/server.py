"""A process that has imported mlgit and torch, and runs each command in a child it forks: milliseconds, not seconds.

Reads one JSON object per line: ``steps`` to do in one child one after the other, ``cwd``, and perhaps ``plan``, the
trouble to arrange for the commands among them. Answers with one line: exit status of the child, the results of the
steps, and the calls that were counted. A step is ``["mlgit", argument…]``, or the name of a function of this file and
its arguments.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import importlib
import json
import os
import shutil
import sys
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import repository_state

from mlgit.cli import main as frame
from mlgit.errors import MlgitError
from mlgit.repository import Repository

MODES = {"count": 1, "kill": 2, "tear": 3, "fail": 4, "fail-on": 5, "shorten": 6}
"""How the shim is told what to do; the numbers are those of its own list."""


def mlgit(*arguments: str) -> dict[str, Any]:
    """Run mlgit, as its console script does, and return exit code and output."""
    code = frame.main(arguments)
    printed = []
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        descriptor = stream.fileno()
        size = os.fstat(descriptor).st_size
        printed.append(os.pread(descriptor, size, 0).decode("utf-8", "replace"))
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
    return {"code": code, "out": printed[0], "err": printed[1]}


def look(place: str) -> dict[str, Any]:
    """Return what can be seen below a place: of the repository there, of a new one, and of files beside them."""
    root = Path(place)
    beside = [path for path in sorted(root.rglob("*")) if path.is_file() and path.relative_to(root).parts[0] == "out"]
    return {
        "model": repository_state.visible(root / "model"),
        "new": repository_state.visible(root / "new" / "deep"),
        "others": sorted(path.name for path in root.iterdir()),
        "untimed": untimed(root / "model"),
        "out": {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in beside},
    }


def held(place: str) -> dict[str, str]:
    """Return the weights each ref of the repository leads to: the same ones, however long it took to make them."""
    repository = Repository(Path(place) / "model")
    return {name: repository.commit_of(repository.resolve(name)).manifest for name in repository.refs.names()}


def untimed(root: Path) -> dict[str, str]:
    """Return for the head of each branch, by its id, which commit it were if it did not tell how long it took."""
    found: dict[str, str] = {}
    with suppress(MlgitError):  # damaged, or no repository at all
        repository = Repository(root)
        for commit_id in repository.branches().values():
            commit = repository.commit_of(commit_id)
            made = {name: value for name, value in commit.made.items() if name != "duration_s"}
            found[commit_id] = replace(commit, made=made).id
    return found


def leftovers(place: str) -> list[str]:
    """Return the temporary files below a place."""
    root = Path(place)
    names = (path.relative_to(root).as_posix() for path in root.rglob("*"))
    return sorted(name for name in names if name.endswith(".tmp") or "staging-" in name)


def scripts(place: str) -> list[str]:
    """Return the folders of scripts that were at work in a repository."""
    return sorted(path.name for path in (Path(place) / "model" / ".mlgit" / "runs").glob("*/"))


def fresh(start: str, place: str) -> None:
    """Replace a directory by a copy of another one, times of files included."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(start, place, symlinks=True)


STEPS = {"mlgit": mlgit, "look": look, "leftovers": leftovers, "scripts": scripts, "fresh": fresh, "held": held}


def child(request: dict[str, Any], outputs: tuple[int, int], answer: int, shim: ctypes.CDLL) -> None:
    """Do the steps and write their results into the answer; never returns."""
    for number, descriptor in enumerate(outputs, 1):
        os.dup2(descriptor, number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - a descriptor
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - a descriptor
    code, plan = 97, request.get("plan")
    try:
        os.chdir(request["cwd"])
        results = []
        for name, *arguments in request["steps"]:
            if name == "mlgit" and plan is not None:
                shim.faults_arm(plan["root"].encode(), MODES[plan["mode"]], plan["at"], plan["classes"], plan["error"])
            results.append(STEPS[name](*arguments))
            shim.faults_disarm()
        os.write(answer, json.dumps(results).encode())
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def serve(request: dict[str, Any], shim: ctypes.CDLL) -> dict[str, Any]:
    """Fork, wait, and say how it went."""
    descriptors = [os.memfd_create(name) for name in ("out", "err", "answer")]
    shim.faults_arm(b"/nowhere", 0, 0, 0, 0)
    process = os.fork()
    if process == 0:
        child(request, (descriptors[0], descriptors[1]), descriptors[2], shim)
    _, status = os.waitpid(process, 0)
    out, err, answer = (os.pread(number, os.fstat(number).st_size, 0) for number in descriptors)
    for number in descriptors:
        os.close(number)
    seen = min(shim.faults_seen(), 4096)
    names = [[shim.faults_name(number).decode(), os.fsdecode(shim.faults_path(number))] for number in range(seen)]
    plan = request.get("plan")
    return {
        "status": os.waitstatus_to_exitcode(status),
        "results": json.loads(answer) if answer else None,
        "out": out.decode("utf-8", "replace"),
        "err": err.decode("utf-8", "replace"),
        "fired": shim.faults_fired(),
        "calls": names if plan is not None and plan["mode"] == "count" else names[-1:],
        "seen": shim.faults_seen(),
    }


def main() -> None:
    """Import what the verbs need, then answer until there are no more requests."""
    warnings.simplefilter("error")
    shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
    for name in ("faults_name", "faults_path"):
        getattr(shim, name).restype = ctypes.c_char_p
    del os.environ["LD_PRELOAD"]
    for module in sys.argv[1:]:
        importlib.import_module(module)
    gc.freeze()  # children copy fewer pages
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        replies.write(json.dumps(serve(json.loads(line), shim)) + "\n")
        replies.flush()
    replies.close()


if __name__ == "__main__":
    main()
