"""``mlgit undo``: take back the last command that moved the current branch."""

from __future__ import annotations

from dataclasses import dataclass

from mlgit.errors import CheckFailedError
from mlgit.objects import CommitId
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.switch import replace_working_files
from mlgit.progress import Progress
from mlgit.repository import Repository

_UNDO, _REDO = "undo: ", "redo: "


@dataclass(frozen=True, slots=True)
class UndoResult:
    """What was taken back.

    Attributes:
        branch: Full name of the branch, or None when HEAD is detached.
        undone: What the log said of the change: ``commit: subject``.
        old: Where the branch was; None when it did not exist any more.
        new: Where it is.
        kept: Files with uncommitted changes that were carried over.
    """

    branch: str | None
    undone: str
    old: CommitId | None
    new: CommitId
    kept: tuple[str, ...]


def undo(repository: Repository, *, actor: Actor = ANYONE, progress: Progress | None = None) -> UndoResult:
    """Move the current branch, or a detached HEAD, to where it was before its last change, with the working files.

    Doing it again takes the undoing back. Uncommitted changes are treated as by ``switch``.

    Args:
        repository: Where.
        actor: For the log.
        progress: Is told of files.

    Raises:
        CheckFailedError: The log tells of no change, or the last one created the branch.
        ConflictError: Uncommitted changes would be lost, or the branch moved; nothing was changed.
        NotFoundError: The commit before is not stored any more.
    """
    with repository.lock():
        head = repository.refs.head()
        changes = repository.refs.reflog(head.branch or "HEAD")
        target = changes[0].old if changes else None
        if not isinstance(target, CommitId):
            what = f"the last change, '{changes[0].reason}', created it" if changes else "its log is empty"
            raise CheckFailedError(
                f"there is nothing to undo on '{head.branch or 'HEAD'}': {what}",
                kind="nothing-to-undo",
                hint="`mlgit reflog` lists where it was; `mlgit reset REV` goes to any commit",
            )
        said = changes[0].reason
        reason = _REDO + said.removeprefix(_UNDO) if said.startswith(_UNDO) else _UNDO + said.removeprefix(_REDO)
        who, when = actor.who(repository), actor.when()

        def move() -> None:
            repository.advance(target, expected=head.commit, who=who, when=when, reason=reason)

        kept = replace_working_files(repository, target, then=move, progress=progress)
    return UndoResult(head.branch, said, head.commit, target, kept)
