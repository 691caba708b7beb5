from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from mlgit.history import GraphSource
from mlgit.objects import (
    Commit,
    CommitId,
    Identity,
    ManifestId,
    ObjectId,
    Parent,
    Role,
    Stage,
    Tag,
    TagId,
    Timestamp,
)

SOMEONE = Identity("Ada", "ada@example.org")
STATE = ManifestId("0" * 64)
EPOCH = 1_700_000_000


@dataclass
class History:
    """Commits in memory; remembers what was read."""

    ids: list[CommitId]
    commits: dict[CommitId, Commit]
    reads: list[CommitId] = field(default_factory=list)

    def read(self, commit_id: CommitId) -> Commit:
        self.reads.append(commit_id)
        return self.commits[commit_id]

    def numbers(self, ids: Iterable[CommitId]) -> list[int]:
        places = {commit_id: number for number, commit_id in enumerate(self.ids)}
        return [places[commit_id] for commit_id in ids]


def _commit(seconds: int, parents: Sequence[CommitId], message: str) -> Commit:
    return Commit(
        manifest=STATE,
        parents=tuple(Parent(parent, Role.INIT if index == 0 else Role.MERGE) for index, parent in enumerate(parents)),
        stage=Stage.TARGET,
        author=SOMEONE,
        time=Timestamp(EPOCH + seconds),
        message=message,
    )


@pytest.fixture(scope="session")
def history() -> Callable[[Sequence[tuple[int, Sequence[int]]]], History]:
    """Return a function: one (seconds, numbers of parents) for each commit, parents first -> History."""

    def build(shape: Sequence[tuple[int, Sequence[int]]]) -> History:
        built = History([], {})
        for number, (seconds, parents) in enumerate(shape):
            commit = _commit(seconds, [built.ids[parent] for parent in parents], f"commit {number}")
            built.ids.append(commit.id)
            built.commits[commit.id] = commit
        return built

    return build


@pytest.fixture(scope="session")
def long_history() -> History:
    """Return 100,000 commits in one line, the oldest one first, with ids that are numbers."""
    built = History([CommitId(f"{number:064x}") for number in range(100_000)], {})
    for number, commit_id in enumerate(built.ids):
        built.commits[commit_id] = _commit(number, built.ids[number - 1 : number] if number else [], "")
    return built


class Store:
    """Refs and objects in memory, as far as revisions need them."""

    @dataclass(frozen=True)
    class Head:
        branch: str | None
        commit: CommitId | None

    @dataclass(frozen=True)
    class Change:
        old: ObjectId | None
        new: ObjectId | None

    def __init__(self) -> None:
        self.objects: dict[ObjectId, object] = {}
        self.refs: dict[str, ObjectId] = {}
        self.head_target: str | CommitId = "refs/heads/main"
        self.lookups: list[str] = []
        self.commits_read = 0
        self.known: GraphSource | None = None
        self.logs: dict[str, list[Store.Change]] = {}

    def commit(self, message: str, *parents: CommitId, seconds: int = 0) -> CommitId:
        commit = _commit(seconds, parents, message)
        self.objects[commit.id] = commit
        return commit.id

    def add(self, object_id: ObjectId, value: object = None) -> None:
        self.objects[object_id] = value

    def tag(self, name: str, commit: CommitId) -> TagId:
        tag = Tag(commit=commit, name=name, tagger=SOMEONE, time=Timestamp(EPOCH), message="why")
        self.objects[tag.id] = tag
        self.refs[f"refs/tags/{name}"] = tag.id
        return tag.id

    def read(self, name: str) -> ObjectId | None:
        self.lookups.append(name)
        return self.refs.get(name)

    def move(self, name: str, *values: ObjectId | None) -> None:
        """Write the log of a ref that had these values one after the other."""
        self.logs[name] = [self.Change(old, new) for old, new in pairwise(values)][::-1]

    def reflog(self, name: str) -> list[Change]:
        return self.logs.get(name, [])

    def names(self, prefix: str = "refs/") -> Iterator[str]:
        return (name for name in self.refs if name.startswith(prefix))

    def head(self) -> Head:
        target = self.head_target
        if isinstance(target, CommitId):
            return self.Head(None, target)
        commit = self.refs.get(target)
        assert commit is None or isinstance(commit, CommitId)
        return self.Head(target, commit)

    def with_prefix(self, prefix: str, kind: str | None = None) -> list[ObjectId]:
        return [one for one in self.objects if one.startswith(prefix) and kind in (None, one.kind)]

    def read_record(self, object_id: ObjectId) -> object:
        self.commits_read += isinstance(object_id, CommitId)
        return self.objects[object_id]

    def graph(self) -> GraphSource | None:
        return self.known


@pytest.fixture
def store() -> Store:
    return Store()


class Git:
    """A real git repository that histories are loaded into."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        git = shutil.which("git")
        assert git is not None
        self._git = git
        self.run("init", "-q", "--bare")

    def run(self, *arguments: str, stdin: str = "", ok: Sequence[int] = (0,)) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "GIT_DIR": str(self._folder),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        done = subprocess.run(
            [self._git, *arguments], input=stdin, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode in ok, done.stderr
        return done.stdout

    def load(self, shape: Sequence[tuple[int, Sequence[int]]]) -> list[str]:
        """Make the commits of a shape, commit n as branch cn; return their ids."""
        lines = []
        for number, (seconds, parents) in enumerate(shape):
            message = f"commit {number}"
            lines += [
                f"commit refs/heads/c{number}",
                f"mark :{number + 1}",
                f"committer Ada <ada@example.org> {EPOCH + seconds} +0000",
                f"data {len(message)}",
                message,
                *(f"{'merge' if index else 'from'} :{parent + 1}" for index, parent in enumerate(parents)),
                "deleteall",
                "",
            ]
        marks = self._folder / "marks"
        self.run("fast-import", "--quiet", "--force", f"--export-marks={marks}", stdin="\n".join(lines))
        ids = dict(line.split() for line in marks.read_text().splitlines())
        return [ids[f":{number + 1}"] for number in range(len(shape))]


@pytest.fixture(scope="session")
def git(tmp_path_factory: pytest.TempPathFactory) -> Git:
    if shutil.which("git") is None:
        pytest.skip("git is the oracle of this test and is not installed")
    return Git(tmp_path_factory.mktemp("oracle"))
