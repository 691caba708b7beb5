"""Random changes of refs against a dictionary and lists."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mlgit.errors import AlreadyExistsError, ConflictError
from mlgit.objects import CommitId, Identity, Timestamp
from mlgit.storage import Head, RefStore

NAMES = st.sampled_from(
    ["refs/heads/" + name for name in ("main", "a", "a/b", "a/b/c", "a.b", "a-b")] + ["refs/tags/a", "refs/tags/a/b"]
)
VALUES = st.sampled_from([CommitId(digit * 64) for digit in "0123"])
WHO = Identity("Ada", "ada@example.org")


class RefMachine(RuleBasedStateMachine):
    """A ref store and what it should hold."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)  # noqa: S108 - a random name below it is made
        self.root = Path(self.folder.name)
        RefStore.create(self.root)
        self.values: dict[str, CommitId] = {}
        self.logs: dict[str, list[tuple[CommitId | None, CommitId | None]]] = {"HEAD": []}
        self.head: str | CommitId = "refs/heads/main"
        self.time = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    @property
    def refs(self) -> RefStore:
        return RefStore(self.root, timeout_s=1)

    def in_the_way(self, name: str) -> bool:
        return any(other.startswith(name + "/") or name.startswith(other + "/") for other in self.values)

    def move(self, name: str, new: CommitId | None, expected: CommitId | None) -> None:
        self.time += 1
        when = Timestamp(self.time)
        self.refs.update(name, new, expected=expected, who=WHO, when=when, reason=f"change {self.time}")

    def record(self, name: str, old: CommitId | None, new: CommitId | None) -> None:
        self.logs.setdefault(name, []).append((old, new))

    @rule(name=NAMES, new=VALUES)
    def create(self, name: str, new: CommitId) -> None:
        if self.in_the_way(name):
            with pytest.raises(AlreadyExistsError):
                self.move(name, new, None)
        elif name in self.values:
            with pytest.raises(ConflictError):
                self.move(name, new, None)
        else:
            self.move(name, new, None)
            self.made(name, new)

    @rule(name=NAMES, new=VALUES | st.none(), expected=VALUES)
    def update(self, name: str, new: CommitId | None, expected: CommitId) -> None:
        if self.in_the_way(name):
            with pytest.raises(AlreadyExistsError):
                self.move(name, new, expected)
        elif self.values.get(name) != expected:
            with pytest.raises(ConflictError):
                self.move(name, new, expected)
        else:
            self.move(name, new, expected)
            self.made(name, new)

    @rule(name=NAMES, new=VALUES | st.none())
    def update_well(self, name: str, new: CommitId | None) -> None:
        if name in self.values:
            self.move(name, new, self.values[name])
            self.made(name, new)

    def made(self, name: str, new: CommitId | None) -> None:
        old = self.values.pop(name, None)
        if new is not None:
            self.values[name] = new
        self.record(name, old, new)
        if self.head == name:
            self.record("HEAD", old, new)

    @rule(to=NAMES | VALUES)
    def switch(self, to: str | CommitId) -> None:
        if not isinstance(to, CommitId) and not to.startswith("refs/heads/"):
            return
        self.time += 1
        old = self.at(self.head)
        self.refs.set_head(to, who=WHO, when=Timestamp(self.time), reason="switch")
        self.head = to
        self.record("HEAD", old, self.at(to))

    def at(self, target: str | CommitId) -> CommitId | None:
        return target if isinstance(target, CommitId) else self.values.get(target)

    @invariant()
    def everything_is_as_in_the_model(self) -> None:
        refs = self.refs
        assert {name: refs.read(name) for name in refs.names()} == self.values
        branch = None if isinstance(self.head, CommitId) else self.head
        assert refs.head() == Head(branch, self.at(self.head))
        for name, log in self.logs.items():
            assert [(entry.old, entry.new) for entry in refs.reflog(name)] == log[::-1]
        assert set(refs.reflog_names()) == {name for name, log in self.logs.items() if log}


TestRefStore = RefMachine.TestCase
TestRefStore.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
