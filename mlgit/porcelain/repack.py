"""``mlgit repack``: fewer and larger packs, and differences to better bases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from graphlib import TopologicalSorter
from typing import NamedTuple

from mlgit.errors import CorruptObjectError, InvalidInputError, NotFoundError
from mlgit.history.ancestry import parent_ids
from mlgit.objects import CommitId, ManifestId, Parent, Role
from mlgit.porcelain.reachable import Reachable, follow_names
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.storage.lock import FileLock
from mlgit.storage.repack import Family, NewPacks, Plan, Repacker, UnsoundPackError

DEFAULT_DEPTH = 1
MAX_DEPTH = 8
_WAIT_S = 10.0
_EVERYTHING_S = -(1 << 62)
_MANIFESTS = 32
"""Manifests kept in memory: a model, those it was made from, and their other children."""


@dataclass(frozen=True, slots=True)
class RepackResult:
    """What was written anew, or would be.

    Attributes:
        before_bytes: What all packs took.
        after_bytes: What they take now; about, in a dry run.
        packs_before: How many packs there were.
        packs_after: How many there are.
        rebased: Tensors that became differences to others than before, or whole; about, in a dry run.
        kept: Old packs that stay as well, since commits made meanwhile rest on them. The next time they go.
        damaged: File names of packs that were left alone, since something in them is damaged.
        dry_run: Nothing was changed.
    """

    before_bytes: int
    after_bytes: int
    packs_before: int
    packs_after: int
    rebased: int
    kept: tuple[str, ...]
    damaged: tuple[str, ...]
    dry_run: bool


def repack(
    repository: Repository,
    *,
    depth: int = DEFAULT_DEPTH,
    dry_run: bool = False,
    wait_s: float = _WAIT_S,
    progress: Progress | None = None,
) -> RepackResult:
    """Write the packs anew: many small ones become few large ones, and tensors become differences to better bases.

    No object changes, and what is stored never grows. New packs are complete before old ones go; others may commit and
    read all the while. The disk needs room for both meanwhile.

    Args:
        repository: Where.
        depth: How many differences may stand before a value that is stored anew, 1 to 8. More are smaller and slower.
        dry_run: Only say what would be done.
        wait_s: How long to wait for other processes that are writing, in seconds.
        progress: Is told of tensors compared and of objects written.

    Raises:
        InvalidInputError: A depth that cannot be.
        ConflictError: Another process collects or writes all the time; everything is as before.
        CorruptObjectError: The history is damaged, so that nobody can say what belongs together; nothing was changed.
        FileSystemError: The operating system refused; nothing is lost.
    """
    if not 1 <= depth <= MAX_DEPTH:
        raise InvalidInputError(f"a depth of {depth} cannot be", hint=f"use 1 to {MAX_DEPTH}")
    with FileLock(repository.folder / "gc.lock", timeout_s=wait_s):
        before, packs = repository.objects.stored_bytes(), len(repository.objects.pack_paths())
        run = _Run(repository, Repacker(repository.objects.root, progress), depth)
        if not dry_run:
            run.repacker.tidy()
        plan, new = run.write(dry_run=dry_run)
        removed = [] if new is None else run.repacker.replace(plan, new, wait_s=wait_s)
        gone = {old.name for old in removed}
        after, left = repository.objects.stored_bytes(), len(repository.objects.pack_paths())
    promised = dry_run and bool(plan.rewritten)
    return RepackResult(
        before_bytes=before,
        after_bytes=before - plan.saves if dry_run else after,
        packs_before=packs,
        packs_after=packs - len(plan.rewritten) + 1 if promised else left,
        rebased=plan.rebased if dry_run else 0 if new is None else new.rebased,
        kept=() if new is None else tuple(old.name for old in new.replaced if old.name not in gone),
        damaged=tuple(sorted(plan.others)),
        dry_run=dry_run,
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """One repacking."""

    repository: Repository
    repacker: Repacker
    depth: int

    def write(self, *, dry_run: bool) -> tuple[Plan, NewPacks | None]:
        """Plan and write, again without each pack that turns out to be damaged."""
        found = Reachable(self.repository)
        try:
            follow_names(self.repository, found, since_s=_EVERYTHING_S)
        except (NotFoundError, CorruptObjectError) as error:
            raise CorruptObjectError(
                f"nothing is repacked, since the history is damaged: {error.message}",
                hint="`mlgit fsck` lists what is hurt; get it again from a clone that has it",
            ) from error
        history = self._history([one for one in found.ids if isinstance(one, CommitId)])
        newest = [*reversed(history)]
        order = [*(one.id for one in newest), *(one.manifest for one in newest)]
        avoided: set[str] = set()
        while True:
            plan = self.repacker.plan(
                lambda: self._families(history), found.ids, depth=self.depth, order=order, avoided=avoided
            )
            if dry_run or not plan.rewritten:
                return plan, None
            try:
                return plan, self.repacker.write(plan)
            except UnsoundPackError as error:
                avoided |= {*plan.others, error.name}

    def _history(self, commits: list[CommitId]) -> list[_Made]:
        """Return commits, parents before children; parents that are missing are left out."""
        found: dict[CommitId, _Made] = {}
        times: dict[CommitId, int] = {}
        for one in commits:
            commit = self.repository.commit_of(one)
            origins = tuple(parent.id for parent in commit.parents if _gave_weights(parent))
            found[one] = _Made(one, commit.manifest, parent_ids(commit), origins)
            times[one] = commit.time.seconds
        ordered = sorted(found, key=lambda one: (times[one], one))
        sorter = TopologicalSorter({one: [up for up in found[one].parents if up in found] for one in ordered})
        return [found[one] for one in sorter.static_order()]

    def _families(self, history: list[_Made]) -> Iterator[Family]:
        @lru_cache(maxsize=_MANIFESTS)
        def tensors(manifest: ManifestId) -> Mapping[str, bytes]:
            return {name: entry.id.digest for name, entry in self.repository.manifest(manifest).tensors.items()}

        manifests = {one.id: one.manifest for one in history}
        for one in history:
            origins = [tensors(manifests[origin]) for origin in one.origins if origin in manifests]
            yield Family(tensors(one.manifest), origins)


class _Made(NamedTuple):
    """What is needed of a commit."""

    id: CommitId
    manifest: ManifestId
    parents: tuple[CommitId, ...]
    origins: tuple[CommitId, ...]


def _gave_weights(parent: Parent) -> bool:
    return parent.role is not Role.BASE and parent.coefficient != 0
