"""Crowds: many processes commit to one repository at once, while others collect and read."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from mlgit.cli import main as frame
from mlgit.history import ancestors
from mlgit.objects import CommitId
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.log import log
from mlgit.repository import Repository
from mlgit.storage.lock import FileLock

SPEC = importlib.util.find_spec("crowd")
assert SPEC is not None
assert SPEC.origin is not None
CROWD = Path(SPEC.origin)
TITLES = {"one": "one branch", "each": "a branch each", "files": "one working directory"}
CONFLICTS = {"ref-moved 12", "locked 12", "file-changed 12"}


def gather(place: Path, mode: str, processes: int, commits: int) -> dict[str, dict[str, Any]]:
    """Run a crowd in a process of its own and return what each member says."""
    arguments = [sys.executable, str(CROWD), place / "model", mode, str(processes), str(commits)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run(arguments, capture_output=True, check=False, env=environment, timeout=7200)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, dict[str, Any]] = json.loads(ran.stdout)
    return found


def leftovers(root: Path) -> list[str]:
    """Return the locks and temporary files that nobody may leave."""
    folder = root / ".mlgit"
    return [str(path) for path in folder.rglob("*") if path.suffix in (".lock", ".tmp") and path.is_file()]


@pytest.mark.parametrize("mode", ["one", "each", "files"])
@pytest.mark.timeout(0)
def test_nothing_is_lost_in_a_crowd_and_nobody_waits_to_read(
    mode: str, in_memory: Path, count: Callable[[int, int], int], gate_report: Callable[..., None]
) -> None:
    place, processes, commits = in_memory / f"crowd-{mode}", count(3, 16), count(5, 50)
    place.mkdir()
    answers = gather(place, mode, processes, commits)
    assert [answer["error"] for answer in answers.values() if "error" in answer] == []
    writers = {name: answer for name, answer in answers.items() if name.startswith("writer-")}
    conflicts: dict[str, int] = {}
    for answer in writers.values():
        for kind, times in answer["conflicts"].items():
            assert kind in CONFLICTS, answers  # a conflict says that it is one
            conflicts[kind] = conflicts.get(kind, 0) + times

    repository = Repository(place / "model")
    made = [CommitId(commit) for answer in writers.values() for commit in answer["made"]]
    assert len(set(made)) == processes * commits
    for answer in writers.values():
        history = ancestors(repository.commit_of, [CommitId(repository.refs.read(answer["branch"]) or "")])
        assert set(answer["made"]) <= history
        expected = processes if answer["branch"] == "refs/heads/main" else 1
        assert len(history) == expected * commits + (mode != "each")  # and nothing twice; the first commit is nobody's
    check_contents(repository, mode, made)
    found = fsck(repository)
    assert found.sound, found.hurt
    assert found.commits > processes * commits  # logs may still name what was thrown away
    assert leftovers(repository.root) == []
    assert answers["collector"]["collections"] > 0
    assert answers["reader"]["rounds"] > 0
    shutil.rmtree(place)
    gate_report(
        f"crowd committing to {TITLES[mode]}",
        **{"commits present": len(made), "lost": 0, "conflicts": sum(conflicts.values())},
        **{name: answers["collector"].get(name, 0) for name in ("collections", "removed", "repacked")},
        **{"reading rounds": answers["reader"]["rounds"]},
    )


def check_contents(repository: Repository, mode: str, made: list[CommitId]) -> None:
    """Check that every commit says what its writer said, and that the weights are those that were written."""
    import crowd

    for commit in made:
        writer, number = map(int, repository.commit_of(commit).message.split())
        manifest = repository.manifest_of(commit)
        if mode == "files":
            wanted = {f"layer{writer}": crowd.tensor(writer, number % crowd.VALUES)}
        else:
            wanted = {f"layer{n}": crowd.tensor(n, (writer + number + n) % crowd.VALUES) for n in range(2)}
            assert manifest.tensors.keys() == wanted.keys()
        for name, tensor in wanted.items():
            assert repository.objects.read(manifest.tensors[name].id) == tensor.tobytes()


def test_commands_of_a_crowd_succeed_or_say_that_they_met_somebody(
    in_memory: Path,
    gate_environment: dict[str, str],
    count: Callable[[int, int], int],
    gate_report: Callable[..., None],
) -> None:
    """The same with ``mlgit`` itself: committers in one working directory, one that collects, one that reads."""
    root, processes, commits = in_memory / "commands", count(2, 8), count(2, 10)
    Repository.create(root)
    save_file({"w": np.zeros(3, np.float32)}, root / "model.safetensors")
    mlgit = [sys.executable, "-m", "mlgit", "-C", str(root)]
    loop = (
        "import subprocess, sys\n"
        "left, codes = int(sys.argv[1]), []\n"
        "while left:\n"
        "    ran = subprocess.run(sys.argv[2:], capture_output=True)\n"
        "    codes.append(ran.returncode)\n"
        "    assert ran.returncode in (0, 12), ran\n"
        "    left -= ran.returncode == 0\n"
        "print(codes)\n"
    )

    def start(times: int, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", loop, str(times), *mlgit, *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=gate_environment)

    assert subprocess.run([*mlgit, "commit", "-m", "first"], env=gate_environment, check=False).returncode == 0
    running = [start(commits, "commit", "--allow-empty", "-m", f"writer {number}") for number in range(processes)]
    running += [start(commits, "gc", "--grace", "0", "--expire-reflog", "0"), start(commits, "log")]
    codes = []
    for process in running:
        out, err = process.communicate(timeout=3000)
        assert process.returncode == 0, err
        codes += json.loads(out)
    repository = Repository(root)
    messages = sorted(entry.commit.message for entry in log(repository).entries)
    assert messages == sorted(["first", *(f"writer {n}" for n in range(processes) for _ in range(commits))])
    assert fsck(repository).sound
    assert leftovers(root) == []
    gate_report("crowd of commands", **{"commits present": len(messages) - 1, "conflicts": codes.count(12)})


READERS = (
    *(["status"], ["log"], ["log", "--graph", "--all"], ["show"], ["diff"], ["branch"], ["tag"], ["ls-tree"]),
    *(["cat-file", "HEAD"], ["reflog"], ["fsck"], ["du"], ["config"], ["export", "HEAD", "../out.safetensors"]),
    *(["merge-base", "HEAD", "HEAD"], ["branch", "--contains", "HEAD"], ["gc", "--help"]),
)


def test_readers_take_no_lock_and_so_never_wait(
    in_memory: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    root = in_memory / "readers" / "model"
    Repository.create(root)
    save_file({"w": np.zeros(3, np.float32)}, root / "model.safetensors")
    run = ["-C", str(root)]
    assert frame.main([*run, "commit", "-m", "first"]) == 0
    monkeypatch.chdir(root)
    (root / "notes.txt").write_text("changed")
    taken: list[Path] = []

    def refuse(lock: FileLock) -> FileLock:
        taken.append(lock.path)
        raise AssertionError(f"a reader takes {lock.path}")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    for verb in READERS:
        assert frame.main([*run, *verb]) == 0, (verb, capfd.readouterr())
    assert taken == []
    with pytest.raises(AssertionError, match="takes"):
        Repository(root).lock().__enter__()
