"""Random days of work, against dictionaries too simple to be wrong."""

from __future__ import annotations

import itertools
import json
import shutil
import struct
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from mlgit.errors import AlreadyExistsError, CheckFailedError, ConflictError, MlgitError, NotFoundError
from mlgit.objects import CommitId, Identity, Timestamp
from mlgit.porcelain.actor import Actor
from mlgit.porcelain.branch import branches, create_branch, delete_branch, rename_branch
from mlgit.porcelain.clone import clone
from mlgit.porcelain.commit import commit
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.gc import gc
from mlgit.porcelain.log import log
from mlgit.porcelain.repack import repack
from mlgit.porcelain.reset import reset
from mlgit.porcelain.restore import restore
from mlgit.porcelain.stash import drop, pop, push, stashes
from mlgit.porcelain.status import status
from mlgit.porcelain.switch import switch
from mlgit.porcelain.tag import create_tag, delete_tag, tags
from mlgit.porcelain.undo import undo
from mlgit.repository import Repository

Files = dict[str, bytes]
PATHS = ("model.safetensors", "a", "a/b/c", "d/e")
"""One is in a directory with the name of another, so that a file gives way to a directory and back."""
NAMES = ("main", "x", "x/y")
CONTENTS = st.lists(st.integers(0, 1), min_size=1, max_size=2)
FIRST = Path("/dev/shm")  # noqa: S108 - a random name below it is made


def model(values: list[int]) -> bytes:
    """Return a safetensors file with one tensor per value; equal values are equal tensors."""
    entries = {
        f"t{place}": {"dtype": "U8", "shape": [2], "data_offsets": [2 * place, 2 * place + 2]}
        for place in range(len(values))
    }
    raw = json.dumps(entries).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(itertools.chain.from_iterable((value, 7) for value in values))


@dataclass
class Model:
    """A repository as dictionaries: contents are kept whole, and nothing is shared.

    Attributes:
        commits: Commit -> its files, its parent and its message.
        branches: Name -> commit.
        tags: Name -> commit.
        branch: The current branch, or None.
        detached: The current commit when there is no current branch.
        files: The working files.
        stashes: Number -> the commit the work was done on, and the working files then.
        came_from: For each branch and HEAD, where the newest line of its log says that it was before.
    """

    commits: dict[CommitId, tuple[Files, CommitId | None, str]] = field(default_factory=dict)
    branches: dict[str, CommitId] = field(default_factory=dict)
    tags: dict[str, CommitId] = field(default_factory=dict)
    branch: str | None = "main"
    detached: CommitId | None = None
    files: Files = field(default_factory=dict)
    stashes: dict[int, tuple[CommitId, Files]] = field(default_factory=dict)
    came_from: dict[str, CommitId | None] = field(default_factory=dict)

    @property
    def head(self) -> CommitId | None:
        return self.detached if self.branch is None else self.branches.get(self.branch)

    def moved(self, old: CommitId | None) -> None:
        """Take notice that HEAD, with its branch, has moved from ``old``."""
        self.came_from["HEAD"] = old
        if self.branch is not None:
            self.came_from[self.branch] = old

    def reachable(self) -> set[CommitId]:
        """Return the commits that branches, tags, HEAD and stashes lead to."""
        named = [*self.branches.values(), *self.tags.values(), *(base for base, _ in self.stashes.values()), self.head]
        return {found for name in named for found in self.history(name)}

    def committed(self, commit_id: CommitId | None) -> Files:
        return {} if commit_id is None else self.commits[commit_id][0]

    def history(self, commit_id: CommitId | None) -> list[CommitId]:
        found = []
        while commit_id is not None:
            found.append(commit_id)
            commit_id = self.commits[commit_id][1]
        return found

    def changes(self) -> dict[str, str]:
        before = self.committed(self.head)
        words = {(False, True): "added", (True, False): "deleted", (True, True): "modified"}
        return {
            path: words[path in before, path in self.files]
            for path in before.keys() | self.files.keys()
            if before.get(path) != self.files.get(path)
        }

    def carried_over(self, target: Files) -> Files | None:
        """Return the working files after a switch to ``target``, or None when work would be lost."""
        before, result = self.committed(self.head), dict(target)
        for path in self.changes():
            if before.get(path) != target.get(path) and self.files.get(path) != target.get(path):
                return None
            result.pop(path, None)
            if path in self.files:
                result[path] = self.files[path]
        return result


def clashes(paths: set[str]) -> bool:
    """Whether a name would be a file and a directory at once."""
    return any(other.startswith(path + "/") for path in paths for other in paths)


class RandomHistories(RuleBasedStateMachine):
    commits = Bundle("commits")

    @initialize(target=commits)
    def start(self) -> object:
        """Begin with two branches that differ in every way two branches can."""
        self.place = Path(tempfile.mkdtemp(dir=FIRST if FIRST.is_dir() else None))
        self.repository = Repository.create(self.place / "model")
        self.model = Model()
        self.clock = 1_700_000_000
        self.write("model.safetensors", [0])
        self.write("d/e", [0])
        self.write("a", [0])
        first = self.commit("first")
        self.switch("x", create=True)
        self.write("model.safetensors", [1])
        self._remove("a")
        self._remove("d/e")
        self.write("a/b/c", [1])
        second = self.commit("second")
        self.switch("main", create=False)
        return multiple(first, second)

    def teardown(self) -> None:
        if hasattr(self, "place"):
            shutil.rmtree(self.place)

    @property
    def actor(self) -> Actor:
        self.clock += 1
        return Actor(Identity("Ada", "ada@example.org"), Timestamp(self.clock, 60))

    # --- the working files

    @rule(target=commits, path=st.sampled_from(PATHS), values=CONTENTS)
    def write_and_commit(self, path: str, values: list[int]) -> object:
        self.write(path, values)
        return self.commit("written")

    @rule(path=st.sampled_from(PATHS), values=CONTENTS)
    def write(self, path: str, values: list[int]) -> None:
        if clashes({path, *self.model.files}):
            return
        place = self.repository.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(model(values) if path.endswith(".safetensors") else bytes(values))
        self.model.files[path] = place.read_bytes()

    @precondition(lambda self: self.model.files)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        self._remove(data.draw(st.sampled_from(sorted(self.model.files))))

    def _remove(self, path: str) -> None:
        place = self.repository.root / path
        place.unlink()
        while place.parent != self.repository.root and not any(place.parent.iterdir()):
            place = place.parent
            place.rmdir()
        del self.model.files[path]

    # --- the verbs

    @rule(target=commits, message=st.sampled_from(["one", "two\n\nlines", "  drei"]))
    def commit(self, message: str) -> object:
        changes = self.model.changes()
        if not self.model.files or not changes:
            with pytest.raises(MlgitError) as refused:
                commit(self.repository, message, actor=self.actor)
            assert refused.value.kind == "nothing-to-commit"
            return multiple()
        made = commit(self.repository, message, actor=self.actor)
        assert {change.path: change.change.value for change in made.changes} == changes
        self.model.commits[made.id] = (dict(self.model.files), self.model.head, message)
        self.model.moved(self.model.head)
        if self.model.branch is None:
            self.model.detached = made.id
        else:
            self.model.branches[self.model.branch] = made.id
        return made.id

    @precondition(lambda self: self.model.branches)
    @rule(path=st.sampled_from(PATHS), values=CONTENTS, data=st.data())
    def write_and_switch(self, path: str, values: list[int], data: st.DataObject) -> None:
        self.write(path, values)
        self.switch_to_another(data)

    @precondition(lambda self: self.model.branches)
    @rule(data=st.data())
    def switch_to_another(self, data: st.DataObject) -> None:
        self.switch(data.draw(st.sampled_from(sorted(self.model.branches))), create=False)

    @rule(name=st.sampled_from(NAMES), create=st.booleans())
    def switch(self, name: str, create: bool) -> None:
        exists = name in self.model.branches
        unborn = self.model.branch == name and not exists
        if exists if create else not (exists or unborn):
            with pytest.raises(AlreadyExistsError if create else NotFoundError):
                switch(self.repository, name, create=create, actor=self.actor)
            return
        if create and any(
            other.startswith(name + "/") or name.startswith(other + "/") for other in self.model.branches
        ):
            if self.model.head is not None:
                with pytest.raises(AlreadyExistsError):
                    switch(self.repository, name, create=True, actor=self.actor)
            return
        self._go(self.model.head if create or unborn else self.model.branches[name], name, create=create)

    @rule(commit_id=commits)
    def detach(self, commit_id: CommitId) -> None:
        if commit_id not in self.model.commits:
            return  # it was collected
        self._go(commit_id, None)

    def _go(self, commit_id: CommitId | None, branch: str | None, *, create: bool = False) -> None:
        after = self.model.carried_over(self.model.committed(commit_id))
        revision = commit_id if branch is None else branch

        def run() -> None:
            switch(self.repository, revision or "", create=create, detach=branch is None, actor=self.actor)

        if after is None or clashes(set(after)):
            with pytest.raises(ConflictError):
                run()
            return
        run()
        self.model.files = after
        self.model.came_from["HEAD"] = self.model.head
        self.model.branch, self.model.detached = branch, commit_id if branch is None else None
        if create and commit_id is not None and branch is not None:
            self.model.branches[branch] = commit_id
            self.model.came_from[branch] = None

    @rule(name=st.sampled_from(NAMES), commit_id=commits)
    def create_branch(self, name: str, commit_id: CommitId) -> None:
        if commit_id not in self.model.commits:
            return  # it was collected
        taken = any(
            other == name or other.startswith(name + "/") or name.startswith(other + "/")
            for other in self.model.branches
        )
        if taken:
            with pytest.raises(AlreadyExistsError):
                create_branch(self.repository, name, commit_id, actor=self.actor)
            return
        if self.model.branch is not None and self.model.head is None and name == self.model.branch:
            return  # gives the unborn branch its first commit without its files: as git does, HEAD then shows changes
        create_branch(self.repository, name, commit_id, actor=self.actor)
        self.model.branches[name] = commit_id
        self.model.came_from[name] = None

    @rule(name=st.sampled_from(NAMES), force=st.booleans())
    def delete_branch(self, name: str, force: bool) -> None:
        if name not in self.model.branches:
            with pytest.raises(NotFoundError):
                delete_branch(self.repository, name, force=force, actor=self.actor)
            return
        tip = self.model.branches[name]
        merged = any(tip in self.model.history(other) for key, other in self.model.branches.items() if key != name)
        if name == self.model.branch or not (force or merged):
            with pytest.raises(ConflictError if name == self.model.branch else CheckFailedError):
                delete_branch(self.repository, name, force=force, actor=self.actor)
            return
        delete_branch(self.repository, name, force=force, actor=self.actor)
        del self.model.branches[name]
        self.model.came_from[name] = tip

    @rule(old=st.sampled_from(NAMES), new=st.sampled_from(NAMES))
    def rename_branch(self, old: str, new: str) -> None:
        others = self.model.branches
        if old not in others:
            with pytest.raises(NotFoundError):
                rename_branch(self.repository, old, new, actor=self.actor)
            return
        if any(name == new or name.startswith(new + "/") or new.startswith(name + "/") for name in others):
            with pytest.raises(AlreadyExistsError):
                rename_branch(self.repository, old, new, actor=self.actor)
            return
        if self.model.branch == new:
            return  # the unborn current branch
        rename_branch(self.repository, old, new, actor=self.actor)
        tip = self.model.branches[new] = self.model.branches.pop(old)
        self.model.came_from |= {new: None, old: tip}
        if self.model.branch == old:
            self.model.branch, self.model.came_from["HEAD"] = new, tip

    @rule(name=st.sampled_from(NAMES), commit_id=commits, message=st.sampled_from([None, "noted"]))
    def tag(self, name: str, commit_id: CommitId, message: str | None) -> None:
        if commit_id not in self.model.commits:
            return  # it was collected
        if any(
            name == other or name.startswith(other + "/") or other.startswith(name + "/") for other in self.model.tags
        ):
            with pytest.raises(AlreadyExistsError):
                create_tag(self.repository, name, commit_id, message=message, actor=self.actor)
            return
        create_tag(self.repository, name, commit_id, message=message, actor=self.actor)
        self.model.tags[name] = commit_id

    @rule(name=st.sampled_from(NAMES))
    def delete_tag(self, name: str) -> None:
        if name not in self.model.tags:
            with pytest.raises(NotFoundError):
                delete_tag(self.repository, name, actor=self.actor)
            return
        delete_tag(self.repository, name, actor=self.actor)
        del self.model.tags[name]

    @rule(commit_id=commits, data=st.data())
    def restore(self, commit_id: CommitId, data: st.DataObject) -> None:
        if commit_id not in self.model.commits:
            return  # it was collected
        source = self.model.committed(commit_id)
        path = data.draw(st.sampled_from([".", *sorted(source)]))
        wanted = set(source) if path == "." else {path}
        after = {**self.model.files, **{name: source[name] for name in wanted}}
        if clashes(set(after)):
            with pytest.raises(ConflictError):
                restore(self.repository, [path], source=commit_id)
            return
        restore(self.repository, [path], source=commit_id)
        self.model.files = after

    @rule(commit_id=commits, hard=st.booleans())
    def reset(self, commit_id: CommitId, hard: bool) -> None:
        if commit_id not in self.model.commits:
            return  # it was collected
        old, target = self.model.head, self.model.committed(commit_id)
        kept = {path: content for path, content in self.model.files.items() if path not in self.model.committed(old)}
        after = {**kept, **target} if hard else self.model.carried_over(target)
        if commit_id == old and not hard:
            after = self.model.files

        def run() -> None:
            reset(self.repository, commit_id, hard=hard, actor=self.actor)

        if after is None or clashes(set(after)):
            with pytest.raises(ConflictError):
                run()
            return
        run()
        self._stand_at(commit_id, after)

    def _stand_at(self, commit_id: CommitId, files: Files, *, logged: bool = False) -> None:
        """Move the current branch, or a detached HEAD, in the model."""
        if commit_id != self.model.head or logged:
            self.model.moved(self.model.head)
        self.model.files = files
        if self.model.branch is None:
            self.model.detached = commit_id
        else:
            self.model.branches[self.model.branch] = commit_id

    @rule()
    def undo(self) -> None:
        target = self.model.came_from.get(self.model.branch or "HEAD")
        if target is None:
            with pytest.raises(CheckFailedError) as refused:
                undo(self.repository, actor=self.actor)
            assert refused.value.kind == "nothing-to-undo"
            return
        after = self.model.carried_over(self.model.committed(target))
        if after is None or clashes(set(after)):
            with pytest.raises(ConflictError):
                undo(self.repository, actor=self.actor)
            return
        undo(self.repository, actor=self.actor)
        self._stand_at(target, after, logged=True)

    @rule(path=st.sampled_from(PATHS), values=CONTENTS, pop_at_once=st.booleans())
    def stash(self, path: str, values: list[int], pop_at_once: bool) -> None:
        self.write(path, values)
        if self.model.head is None or not self.model.changes():
            with pytest.raises(NotFoundError if self.model.head is None else CheckFailedError):
                push(self.repository, actor=self.actor)
            return
        number = 1 + max(self.model.stashes, default=0)
        push(self.repository, actor=self.actor)
        self.model.stashes[number] = (self.model.head, self.model.files)
        self.model.files = dict(self.model.committed(self.model.head))
        if pop_at_once:
            self.take_up()

    @rule()
    def take_up(self) -> None:
        if not self.model.stashes:
            with pytest.raises(NotFoundError):
                pop(self.repository, actor=self.actor)
            return
        number = max(self.model.stashes)
        commit_id, work = self.model.stashes[number]
        base, files = self.model.committed(commit_id), self.model.files
        touched = {path for path in base.keys() | work.keys() if base.get(path) != work.get(path)}
        differing = {path for path in touched if work.get(path) != files.get(path)}
        after = {path: content for path, content in files.items() if path not in differing}
        after |= {path: work[path] for path in differing if path in work}
        if any(files.get(path) != base.get(path) for path in differing) or clashes(set(after)):
            with pytest.raises(ConflictError):
                pop(self.repository, actor=self.actor)
            return
        pop(self.repository, actor=self.actor)
        self.model.files = after
        del self.model.stashes[number]

    @precondition(lambda self: self.model.stashes)
    @rule(data=st.data())
    def drop_stash(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.model.stashes)))
        drop(self.repository, number, actor=self.actor)
        del self.model.stashes[number]

    @rule(forget=st.sampled_from([False, False, True]))
    def gc(self, forget: bool) -> None:
        found = gc(self.repository, grace_days=0, reflog_days=0 if forget else 90, now=Timestamp(self.clock, 60))
        assert found.damaged == ()
        if forget:
            reachable = self.model.reachable()
            self.model.commits = {key: value for key, value in self.model.commits.items() if key in reachable}
            self.model.came_from.clear()
        assert all(self.repository.commit_of(commit_id) for commit_id in self.model.commits)

    @rule(depth=st.sampled_from([1, 2, 8]))
    def repack(self, depth: int) -> None:
        repack(self.repository, depth=depth)
        assert all(self.repository.commit_of(commit_id) for commit_id in self.model.commits)

    @precondition(lambda self: self.model.head is not None)
    @rule()
    def clone(self) -> None:
        shutil.rmtree(self.place / "copy", ignore_errors=True)
        made = clone(self.repository.root, self.place / "copy", actor=self.actor)
        assert contents(made.repository.root) == self.model.committed(self.model.head)
        assert made.repository.named("refs/remotes/origin/") == self.model.branches
        assert {tag.name: tag.commit for tag in tags(made.repository)} == self.model.tags
        assert status(made.repository).clean

    @rule()
    def fsck(self) -> None:
        found = fsck(Repository(self.repository.root))
        assert found.sound, found.hurt

    # --- what must hold all the time

    @invariant()
    def the_working_files_are_those_of_the_model(self) -> None:
        if hasattr(self, "model"):
            assert contents(self.repository.root) == self.model.files

    @invariant()
    def the_status_is_that_of_the_model(self) -> None:
        if hasattr(self, "model"):
            for repository in (self.repository, Repository(self.repository.root)):
                found = status(repository)
                assert found.head == self.model.head
                assert found.branch == (None if self.model.branch is None else "refs/heads/" + self.model.branch)
                assert {change.path: change.change.value for change in found.changes} == self.model.changes()

    @invariant()
    def names_and_histories_are_those_of_the_model(self) -> None:
        if hasattr(self, "model"):
            assert {branch.name: branch.id for branch in branches(self.repository)} == self.model.branches
            assert {tag.name: tag.commit for tag in tags(self.repository)} == self.model.tags
            assert [item.number for item in stashes(self.repository)] == sorted(self.model.stashes, reverse=True)
            if self.model.head is not None:
                found = log(self.repository).entries
                assert [entry.id for entry in found] == self.model.history(self.model.head)
                assert [entry.commit.message for entry in found] == [self.model.commits[entry.id][2] for entry in found]


def contents(root: Path) -> Files:
    """Return the files below a directory, the repository's own left out; check that no directory is empty."""
    found = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".mlgit" not in path.parts
    }
    for path in root.rglob("*"):
        if path.is_dir() and ".mlgit" not in path.parts:
            assert any(path.iterdir()), path
    return found
