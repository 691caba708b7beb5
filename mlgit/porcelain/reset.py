"""``mlgit reset``: move the current branch to another commit, and the working files with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlgit.errors import InvalidInputError
from mlgit.objects import CommitId, Manifest
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.pending_run import drop_run
from mlgit.porcelain.switch import replace_working_files
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.storage.ref_values import HEAD
from mlgit.worktree.checkout import checkout, remember
from mlgit.worktree.snapshot import Hashing, snapshot
from mlgit.worktree.status import committed_contents, file_changes, working_contents


@dataclass(frozen=True, slots=True)
class ResetResult:
    """Where the branch is now.

    Attributes:
        branch: Full name of the branch, or None when HEAD is detached.
        old: Where it was; None on a branch without commits.
        new: Where it is.
        kept: Files with uncommitted changes that were carried over.
    """

    branch: str | None
    old: CommitId | None
    new: CommitId
    kept: tuple[str, ...]


def reset(
    repository: Repository,
    revision: str,
    *,
    hard: bool = False,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
) -> ResetResult:
    """Move the current branch, or a detached HEAD; where it was stays in its log.

    Args:
        repository: Where.
        revision: Where to.
        hard: Give up uncommitted changes of files that either commit holds, and a run that waits for its commit.
            Otherwise they are carried over when both commits hold the same version of the file; if not, nothing
            happens.
        actor: For the log.
        progress: Is told of files.

    Raises:
        NotFoundError: No such revision.
        ConflictError: Uncommitted changes would be lost, or the branch moved; nothing was changed.
        FileSystemError: The operating system refused; nothing was changed.
    """
    with repository.lock():
        target, head = repository.resolve(revision), repository.refs.head()
        who, when = actor.who(repository), actor.when()

        def move() -> None:
            if target != head.commit:
                reason = f"reset: to {revision}"
                repository.advance(target, expected=head.commit, who=who, when=when, reason=reason)

        kept: tuple[str, ...] = ()
        if hard:
            overwrite_working_files(repository, target, then=move, progress=progress)
            drop_run(repository)
        elif target != head.commit:
            kept = replace_working_files(repository, target, then=move, progress=progress)
    return ResetResult(head.branch, head.commit, target, kept)


def overwrite_working_files(
    repository: Repository,
    target: CommitId,
    *,
    remove_others: bool = False,
    then: Callable[[], None] | None = None,
    deciding: str = HEAD,
    progress: Progress | None = None,
) -> None:
    """Make the working files those of a commit, whatever they are now.

    Args:
        repository: Where; the caller holds the worktree lock.
        target: The commit.
        remove_others: Remove the files that no commit holds, too; otherwise only those that HEAD holds go.
        then: Called when the files are in place; when it raises, they are put back.
        deciding: The ref that ``then`` moves.
        progress: Is told of files.

    Raises:
        ConflictError, CorruptObjectError, FileSystemError: The working files are as they were.
    """
    head = repository.head
    after = repository.manifest_of(target)
    before = Manifest({}) if head is None else repository.manifest_of(head)
    new = committed_contents(repository, after)
    try:
        current = snapshot(repository, Hashing(), progress=progress)
        working, seen = working_contents(current), current.files
    except InvalidInputError:
        working, seen = {}, {}  # a working file that cannot be read is just what should be overwritten
    differing = [change.path for change in file_changes(new, working) if change.path in new]
    others = {file.path for file in before.files} | (set(working) if remove_others else set())
    remove = sorted(path for path in others if path not in new and (repository.root / path).is_file())
    checkout(repository, after, paths=differing, remove=remove, then=then, deciding=deciding, progress=progress)
    unchanged = {path: seen[path] for path in new if path in seen and path not in differing}
    remember(repository, after, differing, seen=unchanged)
