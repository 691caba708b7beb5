"""Real git as the judge of histories: every tensor is a file there."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BRANCH = "refs/heads/"


@dataclass
class GitOracle:
    """A bare repository that commits are loaded into.

    Attributes:
        folder: Where; it exists.
        ids: The id of each commit, in the order they were made.
    """

    folder: Path
    ids: list[str] = field(default_factory=list)
    _stream: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run("init", "-q", "--bare")

    @staticmethod
    def exists() -> bool:
        """Whether git is installed."""
        return shutil.which("git") is not None

    def run(self, *arguments: str, stdin: bytes = b"", ok: Sequence[int] = (0,)) -> str:
        """Run git and return what it prints."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "GIT_DIR": str(self.folder)}
        environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(["git", *arguments], input=stdin, env=environment, capture_output=True, check=False)
        assert done.returncode in ok, done.stderr
        return done.stdout.decode()

    def add(self, parents: Sequence[int], seconds: int, files: Mapping[str, bytes]) -> None:
        """Take notice of a commit of these files alone; parents are numbers of earlier ones."""
        number = len(self._stream)
        lines = [
            f"commit refs/notes/{number}\nmark :{number + 1}\n".encode(),
            f"committer Ada <ada@example.org> {seconds} +0000\ndata 0\n".encode(),
            *(f"{'merge' if place else 'from'} :{parent + 1}\n".encode() for place, parent in enumerate(parents)),
            b"deleteall\n",
            *(b"M 644 inline %s\ndata %d\n%s\n" % (name.encode(), len(data), data) for name, data in files.items()),
        ]
        self._stream.append(b"".join(lines))

    def load(self, branches: Mapping[str, int]) -> None:
        """Make all commits, and branches on them."""
        marks = self.folder / "marks"
        resets = [f"reset {BRANCH}{name}\nfrom :{number + 1}\n\n".encode() for name, number in branches.items()]
        self.run("fast-import", "--quiet", "--force", f"--export-marks={marks}", stdin=b"".join(self._stream + resets))
        found = dict(line.split() for line in marks.read_text().splitlines())
        self.ids = [found[f":{number + 1}"] for number in range(len(self._stream))]

    def numbers(self, printed: str) -> list[int]:
        """Return the numbers of the commits whose ids git has printed."""
        places = {name: number for number, name in enumerate(self.ids)}
        return [places[name] for name in printed.split()]

    def tree(self, number: int) -> dict[str, str]:
        """Return the ids of the files of a commit, by name."""
        listed = [line.split() for line in self.run("ls-tree", "-r", self.ids[number]).splitlines()]
        return {name: blob for _, _, blob, name in listed}
