"""Random days of work against two judges: dictionaries too simple to be wrong, and real git."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from git_oracle import GitOracle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from random_histories import RandomHistories
from safetensors.numpy import load_file, save_file

from mlgit.errors import CheckFailedError
from mlgit.objects import CommitId, Identity, Timestamp
from mlgit.porcelain.actor import Actor
from mlgit.porcelain.branch import BranchFilter, branches
from mlgit.porcelain.commit import commit
from mlgit.porcelain.diff import diff
from mlgit.porcelain.fsck import fsck
from mlgit.porcelain.gc import gc
from mlgit.porcelain.log import log
from mlgit.porcelain.merge import merge
from mlgit.porcelain.merge_base import is_ancestor, merge_base
from mlgit.porcelain.switch import switch
from mlgit.repository import Repository

PROFILE = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True, derandomize=False)


@pytest.mark.timeout(0)
def test_random_histories_are_those_of_the_dictionaries(
    count: Callable[[int, int], int], gate_report: Callable[..., None]
) -> None:
    runs, steps = count(12, 2000), count(25, 50)
    run_state_machine_as_test(RandomHistories, settings=settings(PROFILE, max_examples=runs, stateful_step_count=steps))
    gate_report("random histories against dictionaries", runs=runs, steps=steps, differences=0)


NAMES = ("embed", "layer1", "head")


@dataclass
class Twins:
    """One history in mlgit and in git.

    Attributes:
        repository: In mlgit.
        git: In git: a file per tensor.
        ids: The commits of mlgit, by the numbers they have in git.
        branches: Name -> number of its commit.
        branch: The current one.
    """

    repository: Repository
    git: GitOracle
    ids: list[CommitId] = field(default_factory=list)
    branches: dict[str, int] = field(default_factory=dict)
    branch: str = "main"

    @property
    def model(self) -> Path:
        return self.repository.root / "model.safetensors"

    def commit(self, values: dict[str, int], seconds: int) -> None:
        """Give tensors other values and commit."""
        tensors = load_file(self.model) if self.model.exists() else dict.fromkeys(NAMES, np.zeros(2, np.float32))
        tensors |= {name: np.full(2, value, np.float32) for name, value in values.items()}
        save_file(tensors, self.model)
        made = commit(self.repository, "work", allow_empty=True, actor=actor(seconds)).id
        self._made(made, [self.branches[self.branch]] if self.branches else [], seconds)

    def merge(self, others: list[str], seconds: int) -> None:
        """Merge branches into the current one, as the average of their weights."""
        members = sorted({self.ids[self.branches[name]] for name in others})
        made = merge(self.repository, members, "average", actor=actor(seconds)).id
        assert made is not None
        parents = [self.branches[self.branch], *(self.ids.index(member) for member in members)]
        self._made(made, list(dict.fromkeys(parents)), seconds)

    def _made(self, made: CommitId, parents: list[int], seconds: int) -> None:
        self.git.add(parents, seconds, {name: value.tobytes() for name, value in load_file(self.model).items()})
        self.branches[self.branch] = len(self.ids)
        self.ids.append(made)

    def go(self, branch: str, start: int) -> None:
        """Switch to a branch; a new one starts at a commit."""
        create = branch not in self.branches
        switch(self.repository, branch, create=create, start=self.ids[start] if create else None, actor=actor(0))
        self.branches.setdefault(branch, start)
        self.branch = branch

    def numbers(self, ids: list[CommitId]) -> list[int]:
        return [self.ids.index(one) for one in ids]


def actor(seconds: int) -> Actor:
    return Actor(Identity("Ada", "ada@example.org"), Timestamp(1_700_000_000 + seconds))


WORK = st.tuples(st.just("commit"), st.dictionaries(st.sampled_from(NAMES), st.integers(0, 2), max_size=2))
GO = st.tuples(st.just("go"), st.tuples(st.sampled_from(["main", "a", "b/c", "d"]), st.integers(0, 20)))
MERGE = st.tuples(st.just("merge"), st.lists(st.integers(0, 9), min_size=1, max_size=3))
DAYS = st.lists(WORK | GO | MERGE, min_size=4, max_size=24)


def live(twins: Twins, day: list[tuple[str, object]], clock: list[int]) -> None:
    """Do the same things in both."""
    twins.commit({}, clock.pop())
    for verb, what in day:
        if verb == "commit":
            assert isinstance(what, dict)
            twins.commit(what, clock.pop())
        elif verb == "go":
            assert isinstance(what, tuple)
            twins.go(what[0], what[1] % len(twins.ids))
        else:
            assert isinstance(what, list)
            names = sorted(twins.branches)
            twins.merge([names[number % len(names)] for number in what], clock.pop())
    twins.git.load(twins.branches)


def compare(twins: Twins, data: st.DataObject) -> int:
    """Ask both the same questions; return how many."""
    repository, git, names = twins.repository, twins.git, sorted(twins.branches)
    asked = 0
    for name in names:
        listed = twins.numbers([entry.id for entry in log(repository, [name]).entries])
        assert listed == git.numbers(git.run("rev-list", f"refs/heads/{name}"))
        asked += 1
    everything = twins.numbers([entry.id for entry in log(repository, names).entries])
    assert everything == git.numbers(git.run("rev-list", *(f"refs/heads/{name}" for name in names)))
    pairs = list(combinations(range(len(twins.ids)), 2))
    chosen = data.draw(st.lists(st.sampled_from(pairs), max_size=6, unique=True)) if pairs else []
    for one, other in chosen:
        bases = twins.numbers(merge_base(repository, [twins.ids[one], twins.ids[other]]))
        expected = git.run("merge-base", "--all", git.ids[one], git.ids[other], ok=(0, 1))
        assert set(bases) == set(git.numbers(expected))
        assert len(bases) == len(set(bases))
        assert is_ancestor(repository, twins.ids[one], twins.ids[other]) == (one in bases)
        containing = {found.name for found in branches(repository, only=BranchFilter(contains=[twins.ids[one]]))}
        printed = git.run("branch", "--format=%(refname)", "--contains", git.ids[one])
        assert containing == {line.removeprefix("refs/heads/") for line in printed.split()}
        changed = git.run("diff", "--name-only", git.ids[one], git.ids[other]).split()
        assert {tensor.name for tensor in diff(repository, twins.ids[one], twins.ids[other]).tensors} == set(changed)
        asked += 4
    compare_contents(twins)
    return asked + 1


def compare_contents(twins: Twins) -> None:
    """Check that both give equal names to equal tensors, and that these hold what git holds."""
    known: dict[str, str] = {}
    for number, commit_id in enumerate(twins.ids):
        tensors = twins.repository.manifest_of(commit_id).tensors
        tree = twins.git.tree(number)
        assert tensors.keys() == tree.keys()
        for name, entry in tensors.items():
            data = twins.repository.objects.read(entry.id)
            assert hashlib.sha1(b"blob %d\0%s" % (len(data), data), usedforsecurity=False).hexdigest() == tree[name]
            assert known.setdefault(entry.id, tree[name]) == tree[name]
    assert len(set(known.values())) == len(known)


@pytest.mark.timeout(0)
def test_the_same_histories_in_mlgit_and_in_git_answer_alike(
    in_memory: Path, count: Callable[[int, int], int], gate_report: Callable[..., None]
) -> None:
    if not GitOracle.exists():
        pytest.skip("git is the judge of this test and is not installed")
    figures = {"histories": 0, "commits": 0, "merges": 0, "questions": 0}

    @settings(PROFILE, max_examples=count(8, 400))
    @given(day=DAYS, backwards=st.booleans(), data=st.data())
    def run(day: list[tuple[str, object]], backwards: bool, data: st.DataObject) -> None:
        place = in_memory / "twins"
        shutil.rmtree(place, ignore_errors=True)
        (place / "git").mkdir(parents=True)
        twins = Twins(Repository.create(place / "model"), GitOracle(place / "git"))
        clock = data.draw(st.permutations(range(1, 30))) if backwards else list(range(30, 0, -1))
        live(twins, day, clock)
        if data.draw(st.booleans()):
            gc(twins.repository, grace_days=0, reflog_days=0)
        figures["questions"] += compare(twins, data)
        assert fsck(twins.repository).sound
        merges = sum(verb == "merge" for verb, _ in day)
        figures.update(histories=figures["histories"] + 1, merges=figures["merges"] + merges)
        figures["commits"] += len(twins.ids)

    run()
    assert figures["merges"]
    gate_report("the same histories in git", **figures, differences=0)


def test_an_unmerged_branch_is_told_from_a_merged_one_as_git_does(in_memory: Path) -> None:
    if not GitOracle.exists():
        pytest.skip("git is the judge of this test and is not installed")
    place = in_memory / "merged"
    (place / "git").mkdir(parents=True)
    twins = Twins(Repository.create(place / "model"), GitOracle(place / "git"))
    live(twins, [("commit", {"head": 1}), ("go", ("a", 0)), ("commit", {"embed": 2}), ("go", ("main", 0))], [3, 2, 1])
    for name in ("main", "a"):
        merged = {found.name for found in branches(twins.repository, only=BranchFilter(merged=[name]))}
        printed = twins.git.run("branch", "--format=%(refname)", "--merged", name)
        assert merged == {line.removeprefix("refs/heads/") for line in printed.split()}
    with pytest.raises(CheckFailedError):
        commit(twins.repository, "nothing", actor=actor(9))
