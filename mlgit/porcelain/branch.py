"""``mlgit branch``: list, create, rename and delete branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlgit.errors import AlreadyExistsError, CheckFailedError, ConflictError, NotFoundError, did_you_mean
from mlgit.history.ancestry import is_ancestor, reached_among, that_reach
from mlgit.interrupts import held_back
from mlgit.objects import Commit, CommitId
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.ancestry import ancestry
from mlgit.repository import HEADS, REMOTES, Repository, check_branch_name
from mlgit.storage.journal import Steps


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch.

    Attributes:
        name: Short name: ``main``, ``origin/main``.
        id: Where it stands.
        commit: The commit there.
        current: Whether HEAD is on it.
        remote: Whether it is another repository's branch as last seen.
    """

    name: str
    id: CommitId
    commit: Commit
    current: bool
    remote: bool = False


@dataclass(frozen=True, slots=True)
class BranchFilter:
    """Which branches to list, by revisions, as in git: of each kind that is given, one must fit.

    Attributes:
        contains: The branch has one of these commits.
        lacks: It has none of these commits.
        merged: Its commits are all in the history of one of these.
        unmerged: It has commits that are in the history of none of these.
    """

    contains: Sequence[str] = ()
    lacks: Sequence[str] = ()
    merged: Sequence[str] = ()
    unmerged: Sequence[str] = ()


EVERY_BRANCH = BranchFilter()


def branches(repository: Repository, *, remotes: bool = False, only: BranchFilter = EVERY_BRANCH) -> list[Branch]:
    """Return branches, sorted by name.

    Args:
        repository: Where.
        remotes: Those of other repositories too, behind the local ones.
        only: Which.

    Raises:
        NotFoundError: A revision names nothing.
    """
    current = repository.refs.head().branch
    found = [
        (prefix, name, CommitId(value))
        for prefix in ((HEADS, REMOTES) if remotes else (HEADS,))
        for name, value in repository.named(prefix).items()
    ]
    fitting = _fitting(repository, {commit_id for _, _, commit_id in found}, only)
    return [
        Branch(name, commit_id, repository.commit_of(commit_id), prefix + name == current, prefix == REMOTES)
        for prefix, name, commit_id in found
        if commit_id in fitting
    ]


def _fitting(repository: Repository, found: set[CommitId], only: BranchFilter) -> set[CommitId]:
    if only == EVERY_BRANCH:
        return found
    contains, lacks, merged, unmerged = (
        repository.resolve_many(texts) for texts in (only.contains, only.lacks, only.merged, only.unmerged)
    )
    with ancestry(repository) as asked:
        for commits, is_wanted in ((contains, True), (lacks, False)):
            having = {tip for one in commits for tip in that_reach(asked.read, found, one, graph=asked.graph)}
            found = found if not commits else having if is_wanted else found - having
        for commits, is_wanted in ((merged, True), (unmerged, False)):
            inside = reached_among(asked.read, commits, found, graph=asked.graph)
            found = found if not commits else inside if is_wanted else found - inside
    return found


def create_branch(repository: Repository, name: str, start: str = "HEAD", *, actor: Actor = ANYONE) -> Branch:
    """Create a branch.

    Args:
        repository: Where.
        name: Short name.
        start: Revision it starts at.
        actor: For the reflog.

    Raises:
        InvalidInputError: Not a name for a branch.
        AlreadyExistsError: The name is taken.
        NotFoundError: ``start`` names nothing.
    """
    with repository.keeping():
        commit_id = repository.resolve(start)
        _check_free(repository, name)
        repository.refs.update(
            HEADS + name,
            commit_id,
            expected=None,
            who=actor.who(repository),
            when=actor.when(),
            reason=f"branch: created from {start}",
        )
    return Branch(name, commit_id, repository.commit_of(commit_id), current=False)


def delete_branch(repository: Repository, name: str, *, force: bool = False, actor: Actor = ANYONE) -> Branch:
    """Delete a branch; its commits stay reachable through its reflog.

    Args:
        repository: Where.
        name: Short name.
        force: Delete it though its commits are on no other branch.
        actor: For the reflog.

    Raises:
        NotFoundError: No such branch.
        ConflictError: It is the current one.
        CheckFailedError: Its commits are on no other branch.
    """
    branch = _find(repository, name)
    if branch.current:
        raise ConflictError(
            f"'{name}' is the current branch", kind="current-branch", hint="switch to another one before deleting it"
        )
    if not force and not _is_elsewhere(repository, branch):
        raise CheckFailedError(
            f"the commits of '{name}' are on no other branch",
            kind="not-merged",
            hint=f"`mlgit branch -D {name}` deletes it",
        )
    repository.refs.update(
        HEADS + name, None, expected=branch.id, who=actor.who(repository), when=actor.when(), reason="branch: deleted"
    )
    return branch


def rename_branch(repository: Repository, old: str, new: str, *, actor: Actor = ANYONE) -> Branch:
    """Rename a branch; HEAD follows when it is the current one.

    Raises:
        InvalidInputError: ``new`` is not a name for a branch.
        NotFoundError: No branch is called ``old``.
        AlreadyExistsError: ``new`` is taken.
    """
    with repository.lock():
        return _rename(repository, _find(repository, old), new, actor)


def _rename(repository: Repository, branch: Branch, new: str, actor: Actor) -> Branch:
    old, who, when = branch.name, actor.who(repository), actor.when()

    def point_head(name: str) -> None:
        if branch.current:
            repository.refs.set_head(HEADS + name, who=who, when=when, reason=f"branch: renamed {old} to {new}")

    def delete(name: str, reason: str) -> None:
        repository.refs.update(HEADS + name, None, expected=branch.id, who=who, when=when, reason=reason)

    _check_free(repository, new)
    head = HEADS + new if branch.current else None
    steps = Steps(HEADS + old, created={HEADS + new: branch.id}, head=head)  # the old name goes last
    with held_back(), repository.journal.during(steps):
        create_branch(repository, new, branch.id, actor=actor)
        try:
            point_head(new)
            delete(old, f"branch: renamed to {new}")
        except BaseException:
            if repository.refs.read(HEADS + old) is None:
                create_branch(repository, old, branch.id, actor=actor)
            point_head(old)
            delete(new, "branch: not renamed")
            raise
    return Branch(new, branch.id, branch.commit, branch.current)


def _is_elsewhere(repository: Repository, branch: Branch) -> bool:
    others = [found for other, found in repository.branches().items() if other != branch.name]
    with ancestry(repository) as asked:
        return any(is_ancestor(asked.read, branch.id, other, graph=asked.graph) for other in others)


def _check_free(repository: Repository, name: str) -> None:
    check_branch_name(name)
    if repository.refs.read(HEADS + name) is not None:
        raise AlreadyExistsError(f"a branch '{name}' exists", kind="branch-exists", hint=f"`mlgit switch {name}`")


def _find(repository: Repository, name: str) -> Branch:
    found = {branch.name: branch for branch in branches(repository)}
    if name not in found:
        raise NotFoundError(f"no branch is named '{name}'", kind="unknown-branch", hint=did_you_mean(name, found))
    return found[name]
