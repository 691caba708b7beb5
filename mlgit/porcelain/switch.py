"""``mlgit switch``: put another commit into the working directory and make its branch the current one."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from mlgit.errors import AlreadyExistsError, ConflictError, InvalidInputError, NotFoundError, did_you_mean
from mlgit.interrupts import held_back
from mlgit.objects import CommitId, Manifest, ObjectId
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.progress import Progress
from mlgit.repository import HEADS, REMOTES, Repository, check_branch_name
from mlgit.storage.journal import Steps
from mlgit.storage.ref_values import HEAD
from mlgit.worktree.checkout import checkout, remember
from mlgit.worktree.journal import journaled
from mlgit.worktree.snapshot import Hashing, snapshot
from mlgit.worktree.status import committed_contents, file_changes, working_contents


@dataclass(frozen=True, slots=True)
class SwitchResult:
    """Where HEAD is now.

    Attributes:
        branch: Full name of the branch, or None when HEAD is detached.
        commit: The commit, or None on a branch without commits.
        created: Whether the branch is new.
        kept: Files with uncommitted changes that were carried over.
    """

    branch: str | None
    commit: CommitId | None
    created: bool
    kept: tuple[str, ...]


def switch(
    repository: Repository,
    name: str,
    *,
    create: bool = False,
    start: str | None = None,
    detach: bool = False,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
) -> SwitchResult:
    """Go to a branch, a new branch or a commit.

    Uncommitted changes are carried over when both commits hold the same version of the file; otherwise nothing happens.

    Args:
        repository: Where.
        name: A branch, with ``detach`` any revision; the name of another repository's branch creates one like it.
        create: Make the branch first.
        start: Where the new branch starts; HEAD by default.
        detach: Leave all branches and stand on the commit itself.
        actor: For the reflog.
        progress: Is told of files.

    Raises:
        NotFoundError: No such branch or revision.
        AlreadyExistsError: The branch to create exists.
        ConflictError: Uncommitted changes would be lost; nothing was changed.
    """
    with repository.lock():
        plan = _plan(repository, name, create=create, start=start, detach=detach)
        move = partial(_move_head, repository, plan, actor)
        kept: tuple[str, ...] = ()
        if plan.commit is None or plan.commit == repository.head:
            with held_back(), journaled(repository.journal, Steps(HEAD, created=plan.creates)):
                move()
        else:
            kept = replace_working_files(repository, plan.commit, then=move, created=plan.creates, progress=progress)
    return SwitchResult(plan.branch, plan.commit, plan.created, kept)


@dataclass(frozen=True, slots=True)
class _Plan:
    name: str
    branch: str | None
    commit: CommitId | None
    created: bool
    start: str = "HEAD"

    @property
    def creates(self) -> dict[str, ObjectId]:
        """The branch to create, and where."""
        if not self.created or self.branch is None or self.commit is None:
            return {}
        return {self.branch: self.commit}


def _move_head(repository: Repository, plan: _Plan, actor: Actor) -> None:
    """Create the branch if it is to be, and make it the current one; both or neither."""
    who, when = actor.who(repository), actor.when()
    target = plan.commit if plan.branch is None else plan.branch
    if plan.created and plan.branch is not None and plan.commit is not None:
        reason = f"branch: created from {plan.start}"
        repository.refs.update(plan.branch, plan.commit, expected=None, who=who, when=when, reason=reason)
    try:
        if target is not None:
            repository.refs.set_head(target, who=who, when=when, reason=f"switch: to {plan.name}")
    except BaseException:
        if plan.created and plan.branch is not None and plan.commit is not None:
            reason = "branch: not created"
            repository.refs.update(plan.branch, None, expected=plan.commit, who=who, when=when, reason=reason)
        raise


def _plan(repository: Repository, name: str, *, create: bool, start: str | None, detach: bool) -> _Plan:
    if create and detach:
        raise InvalidInputError("a new branch and a detached HEAD exclude each other", hint="leave out `--detach`")
    if start is not None and not create:
        raise InvalidInputError(f"a start '{start}' is only for a new branch", hint=f"`mlgit switch -c {name} {start}`")
    if detach:
        return _Plan(name, None, repository.resolve(name), created=False)
    full = HEADS + name
    if create:
        check_branch_name(name)
        if repository.refs.read(full) is not None:
            raise AlreadyExistsError(f"a branch '{name}' exists", kind="branch-exists", hint=f"`mlgit switch {name}`")
        commit = repository.head if start is None else repository.resolve(start)
        return _Plan(name, full, commit, created=True, start=start or "HEAD")
    if not _can_be_branch(name):
        raise _no_branch(repository, name)
    found = repository.refs.read(full)
    if found is not None:
        return _Plan(name, full, CommitId(found), created=False)
    tracked = repository.refs.read(f"{REMOTES}origin/{name}")
    if tracked is not None:
        return _Plan(name, full, CommitId(tracked), created=True, start=f"origin/{name}")
    if repository.refs.head().branch == full:
        return _Plan(name, full, None, created=False)
    raise _no_branch(repository, name)


def _can_be_branch(name: str) -> bool:
    try:
        check_branch_name(name)
    except InvalidInputError:
        return False
    return True


def _no_branch(repository: Repository, name: str) -> NotFoundError:
    """Build the error for a name that is no branch, with the best hint."""
    try:
        repository.resolve(name)
        hint = f"it names a commit: `mlgit switch --detach {name}`, or make a branch with `mlgit switch -c NAME {name}`"
    except (NotFoundError, InvalidInputError):
        known = repository.branches()
        if not _can_be_branch(name):
            check_branch_name(name)
        hint = did_you_mean(name, known) or ""
        hint = hint if hint.startswith("did") else f"create it with `mlgit switch -c {name}`"
    return NotFoundError(f"no branch is named '{name}'", kind="unknown-branch", hint=hint)


def replace_working_files(
    repository: Repository,
    target: CommitId,
    *,
    overwrite: Collection[str] = (),
    then: Callable[[], None] | None = None,
    created: Mapping[str, ObjectId] = MappingProxyType({}),
    progress: Progress | None = None,
) -> tuple[str, ...]:
    """Bring the working files from HEAD's state to that of ``target``; uncommitted changes survive or stop it.

    Args:
        repository: Where; the caller holds the worktree lock.
        target: The commit to bring in.
        overwrite: Files whose uncommitted changes ``target`` already contains.
        then: Called when the files are in place, to move HEAD or its branch; when it raises, they are put back.
        created: Refs that ``then`` creates before.
        progress: Is told of files.

    Returns:
        Files with uncommitted changes that were carried over.

    Raises:
        ConflictError: A file with uncommitted changes would be overwritten; nothing was changed.
    """
    head = repository.head
    before = Manifest({}) if head is None else repository.manifest_of(head)
    after = repository.manifest_of(target)
    current = snapshot(repository, Hashing(), progress=progress)
    working = working_contents(current)
    old, new = committed_contents(repository, before), committed_contents(repository, after)
    dirty = {change.path for change in file_changes(old, working)} - set(overwrite)
    differing = [change.path for change in file_changes(old, new)]
    differing += [path for path in overwrite if path not in differing and working.get(path) != new.get(path)]
    lost = [path for path in differing if path in dirty and working.get(path) != new.get(path)]
    if lost:
        shown = ", ".join(f"'{path}'" for path in lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
        raise ConflictError(
            f"uncommitted changes in {shown} would be lost",
            kind="uncommitted-changes",
            hint="commit them with `mlgit commit`, or give them up with `mlgit restore`",
        )
    write = [path for path in differing if path in new and path not in dirty]
    _refuse_untracked(repository, [path for path in write if path not in working])
    remove = [path for path in differing if path not in new and path in working]
    checkout(repository, after, paths=write, remove=remove, then=then, created=created, progress=progress)
    seen = {path: current.files[path] for path in new if path not in dirty and path not in write}
    remember(repository, after, write, seen=seen)
    return tuple(sorted(dirty - set(differing)))


def _refuse_untracked(repository: Repository, paths: Collection[str]) -> None:
    """Refuse to write over what no commit holds: files that are ignored, and links."""
    for path in paths:
        place = repository.root / path
        if os.path.lexists(place) and (place.is_symlink() or not place.is_dir()):
            raise ConflictError(
                f"'{path}' is not tracked and would be overwritten", kind="untracked-file", hint="move it away"
            )
