"""Ctrl-C at any time: the repository is as it was or as it was to be, never between, and needs no repair."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

STEPS = {
    *("open", "write", "read", "fsync", "rename", "replace", "unlink", "remove", "mkdir", "rmdir", "close", "link"),
    *("scandir", "truncate", "flush", "lstat", "getvalue", "mmap"),
}

Verb = Callable[[Path], list[object]]
VERBS: dict[str, Verb] = {
    "init": lambda root: ["init", root.parent / "new" / "deep"],
    "commit": lambda root: ["-C", root, "commit", "-m", "three"],
    "switch": lambda root: ["-C", root, "switch", "other"],
    "switch-create": lambda root: ["-C", root, "switch", "-c", "new", "other"],
    "detach": lambda root: ["-C", root, "switch", "--detach", "other"],
    "restore": lambda root: ["-C", root, "restore", "-s", "other", "."],
    "branch": lambda root: ["-C", root, "branch", "a/b"],
    "branch-rename": lambda root: ["-C", root, "branch", "-m", "main", "renamed"],
    "branch-delete": lambda root: ["-C", root, "branch", "-D", "other"],
    "tag": lambda root: ["-C", root, "tag", "v2", "-m", "second"],
    "config": lambda root: ["-C", root, "config", "user.name", "Grace"],
    "import": lambda root: ["-C", root, "import", root.parent / "source" / "new.safetensors"],
    "merge": lambda root: ["-C", root, "merge", "main", "like-main", "--strategy", "uniform", "-m", "merged"],
    "clone": lambda root: ["clone", root, root.parent / "new" / "deep"],
}


COUNT = -1
POINTS = None if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 10
"""At how many of the calls there is trouble, spread evenly; None for all of them."""


class Trouble:
    """Does something before or after a call of the operating system that mlgit makes, all counted together.

    Args:
        at: n, or COUNT to do it at every call.
        act: What to do.
        marker: A file that grows by one byte when it is done.
    """

    def __init__(self, at: int, act: Callable[[], None], marker: Path) -> None:
        self.at, self.act, self.marker = at, act, marker
        self.seen = 0

    def __call__(self) -> None:
        sys.setprofile(self.profile)

    def profile(self, frame: FrameType, event: str, function: object) -> None:
        if event not in ("c_call", "c_return") or getattr(function, "__name__", "") not in STEPS:
            return
        if not any(part in frame.f_code.co_filename for part in ("mlgit", "pathlib")):
            return
        self.seen += 1
        if self.at in (self.seen, COUNT):
            with self.marker.open("a") as marker:
                marker.write(".")
            self.act()


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


INTERRUPTED = 130


@pytest.fixture
def start(make_repository: Callable[[Path], Path], memory: Path, write_model: Callable[..., None], mlgit: Any) -> Path:
    """Return a directory with a repository, to be copied, and a model to import."""
    root = make_repository(memory / "start" / "model")
    (root.parent / "source").mkdir()
    write_model(root.parent / "source" / "new.safetensors", 9)
    assert mlgit("-C", root, "restore", ".").exit_code == 0
    assert mlgit("-C", root, "switch", "-c", "like-main").exit_code == 0
    write_model(root / "model.safetensors", 5)
    assert mlgit("-C", root, "commit", "-m", "like one").exit_code == 0
    assert mlgit("-C", root, "switch", "main").exit_code == 0
    return root.parent


@pytest.fixture
def dirty() -> Callable[[str, Path], None]:
    """Bring a copy into the state in which a verb has most to do."""

    def prepare(name: str, root: Path) -> None:
        if name == "commit":
            (root / "notes.txt").write_text("changed\n")
            shutil.copy(root.parent / "source" / "new.safetensors", root / "model.safetensors")
        if name in ("switch", "restore"):
            (root / "untracked.txt").write_text("mine\n")

    return prepare


def states(check: Any, place: Path) -> dict[str, Any]:
    """Return what can be seen below a place: of the repository there, of a new one, and of nothing else."""
    return {
        "repository": check.visible(place / "model"),
        "new": check.visible(place / "new" / "deep"),
        "others": sorted(path.name for path in place.iterdir()),
    }


def without_logs(found: dict[str, Any]) -> dict[str, Any]:
    """Leave out the logs of refs, which tell of a change that was undone, too."""
    return {
        key: {part: value for part, value in state.items() if part != "logs"} if isinstance(state, dict) else state
        for key, state in found.items()
    }


@pytest.mark.parametrize("name", VERBS)
def test_ctrl_c_at_every_step_leaves_the_old_state_or_the_new_one(
    mlgit: Callable[..., Any],
    fork: Callable[..., Any],
    check: Any,
    start: Path,
    memory: Path,
    dirty: Any,
    name: str,
) -> None:
    place, prepared, marker = memory / "run", memory / "prepared", memory / "marker"
    shutil.copytree(start, prepared)
    dirty(name, prepared / "model")

    def attempt(before: Callable[[], None] = lambda: None) -> tuple[Any, dict[str, object]]:
        shutil.rmtree(place, ignore_errors=True)
        marker.unlink(missing_ok=True)
        shutil.copytree(prepared, place)
        ran = fork(*VERBS[name](place / "model"), before=before)
        return ran, states(check, place)

    def trouble(at: int, act: Callable[[], None]) -> Trouble:
        return Trouble(at, act, marker)

    shutil.copytree(prepared, place)
    old = states(check, place)
    assert mlgit(*VERBS[name](place / "model")).exit_code == 0  # here, so that the children find all imported
    ran, new = attempt()
    assert (ran.exit_code, old != new) == (0, True), ran
    attempt(trouble(COUNT, lambda: None))
    count = marker.stat().st_size
    ends = Counter[str]()
    for step in range(1, count + 1, max(1, count // POINTS) if POINTS else 1):
        ran, found = attempt(trouble(step, interrupt))
        assert marker.exists(), step
        assert ran.exit_code in {0, INTERRUPTED}, (step, ran)
        assert found in ([new] if ran.exit_code == 0 else [old, new]), (step, ran)
        ends["finished" if ran.exit_code == 0 else "old" if found == old else "new"] += 1
        if ran.exit_code:
            labels = [line.split(":")[0] for line in ran.stderr.splitlines()]
            assert labels[labels.index("error") :] in (["error"], ["error", "hint"]), (step, ran)
            assert "Traceback" not in ran.stderr
        if found == old:
            again = fork(*VERBS[name](place / "model"))
            assert (again.exit_code, without_logs(states(check, place))) == (0, without_logs(new)), (step, again)
        assert fork("-C", place / "model", "switch", "--detach", "v1").exit_code == 0
        check.sound(place / "model")
    assert ends["old"], ends
