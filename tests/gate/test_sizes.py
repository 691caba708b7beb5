"""File systems of many sizes, full at other points each: one clear error, nothing changed, and room makes it work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faulty import Program
from faulty.verbs import VERBS, Verb, arrange, arrange_learned, prepare

PAGE = 4096
ROOM = 1 << 28
INODES = 10_000


@dataclass
class SmallDisk:
    """A file system in memory whose size changes.

    Attributes:
        place: Where it is mounted.
    """

    place: Path

    def mount(self) -> bool:
        """Mount it with much room; say whether that is allowed here."""
        options = f"size={ROOM},nr_inodes={INODES}"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.place)]
        self.place.mkdir()
        return shutil.which("mount") is not None and not subprocess.run(command, check=False).returncode

    def leave(self, *, pages: int | None = None, inodes: int | None = None) -> None:
        """Leave so many pages and inodes free; None: enough."""
        state = os.statvfs(self.place)
        used, files = state.f_blocks - state.f_bfree, state.f_files - state.f_ffree
        size = ROOM if pages is None else (used + pages) * state.f_frsize
        count = INODES if inodes is None else files + inodes
        subprocess.run(["mount", "-o", f"remount,size={size},nr_inodes={count}", self.place], check=True)

    def unmount(self) -> None:
        """Take it away."""
        subprocess.run(["umount", "--lazy", self.place], check=True)


@pytest.fixture(scope="module")
def disk(in_memory: Path) -> Iterator[SmallDisk]:
    found = SmallDisk(in_memory / "disk")
    if not found.mount():
        pytest.skip("only root may mount a small file system; `unshare -rm` makes anybody root for a while")
    yield found
    found.unmount()


@pytest.fixture(scope="module")
def starts(program: Program, in_memory: Path) -> Iterator[dict[bool, Path]]:
    """Repositories to start from: without and with a task."""
    place = in_memory / "starts-of-sizes"
    yield {False: arrange(program, place / "plain"), True: arrange_learned(program, place / "learned")}
    shutil.rmtree(place)


@dataclass
class Trial:
    """One verb on a small file system, over and over.

    Attributes:
        program: Runs commands.
        disk: Where.
        verb: Which.
        prepared: The state to begin with.
    """

    program: Program
    disk: SmallDisk
    verb: Verb
    prepared: Path

    @property
    def place(self) -> Path:
        return self.disk.place / "run"

    def run(self) -> dict[str, Any]:
        """Run the command once."""
        ran: dict[str, Any] = self.program.do(["mlgit", *self.verb.arguments], cwd=self.place / "model")[0]
        return ran

    def begin(self) -> dict[str, Any]:
        """Bring the state to begin with, where there is room for it; return what can be seen."""
        self.disk.leave()
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.prepared, self.place, symlinks=True)
        return self.look()

    def look(self) -> dict[str, Any]:
        found: dict[str, Any] = self.program.do(["look", str(self.place)])[0]
        return without_logs(found)

    def attempt(self, *, pages: int | None = None, inodes: int | None = None) -> bool:
        """Run with so much room; whether it was enough. If not, check what was said and left, and that more helps."""
        before = self.begin()
        self.disk.leave(pages=pages, inodes=inodes)
        ran = self.run()
        case = (self.verb.arguments, pages, inodes, ran)
        assert "Traceback" not in ran["err"], case
        if ran["code"] == 0:
            self.check_sound(case)
            return True
        assert ran["code"] == 16, case
        lines = [line for line in ran["err"].splitlines() if line.startswith(("error: ", "hint: "))]
        assert [line.partition(":")[0] for line in lines] == ["error", "hint"], case
        assert re.search(r"cannot \w+ .*'.+'.*: no space left on device", lines[0]), case
        assert "free some space and run the command again" in lines[1], case
        assert self.program.do(["leftovers", str(self.place)])[0] == [], case
        after = self.look()
        assert after == before, (case, before, after)
        if not self.verb.mends:  # what was to be mended is not
            self.check_sound(case)
        self.disk.leave()
        again = self.run()
        assert again["code"] == 0, (case, again)
        self.check_sound(case)
        return False

    def check_sound(self, case: object) -> None:
        checked = self.program.do(["mlgit", "-C", str(self.place / "model"), "fsck"])[0]
        assert checked["code"] == 0, (case, checked)


def without_logs(found: dict[str, Any]) -> dict[str, Any]:
    """Leave out the logs: they may tell of a change that was taken back."""
    models = {key: {part: what for part, what in found[key].items() if part != "logs"} for key in ("model", "new")}
    return {**found, **models}


def enough(trial: Trial) -> int:
    """Return a number of pages that is enough, found by doubling."""
    pages = 1
    while not trial.attempt(pages=pages):
        pages *= 2
        assert pages * PAGE < ROOM
    return pages


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.timeout(0)
def test_a_file_system_that_fills_up_anywhere_is_named_and_nothing_has_changed(
    name: str,
    program: Program,
    starts: dict[bool, Path],
    disk: SmallDisk,
    in_memory: Path,
    count: Callable[[int, int], int],
    gate_report: Callable[..., None],
) -> None:
    verb = VERBS[name]
    prepared = prepare(program, verb, starts[verb.learned], in_memory / "prepared-for-sizes")
    try:
        trial = Trial(program, disk, verb, prepared)
        most = enough(trial)
        steps = count(2, 50)
        sizes = sorted({round(step * most / steps) for step in range(steps)})
        limits = range(count(1, 10))
        short = [trial.attempt(pages=pages) for pages in sizes].count(False)
        few = [trial.attempt(inodes=inodes) for inodes in limits].count(False)
    finally:
        shutil.rmtree(prepared)
        disk.leave()
    figures = {"sizes": len(sizes), "too small": short, "inode limits": len(limits), "too few": few}
    gate_report(f"small file systems, {name}", **figures)
