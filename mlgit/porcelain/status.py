"""``mlgit status``: what the next commit would record."""

from __future__ import annotations

from dataclasses import dataclass

from mlgit.objects import CommitId
from mlgit.porcelain.pending_run import PendingRun, load_run
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.worktree.scan import Skipped
from mlgit.worktree.snapshot import Hashing, snapshot
from mlgit.worktree.status import FileChange, working_changes


@dataclass(frozen=True, slots=True)
class StatusResult:
    """The working files against HEAD.

    Attributes:
        branch: Full name of the current branch, or None when HEAD is detached.
        head: The commit HEAD names, or None before the first.
        changes: Files that differ from it.
        skipped: Files that stay out of commits, and why.
        run: A run that waits for its commit and whose weights are the working files.
    """

    branch: str | None
    head: CommitId | None
    changes: tuple[FileChange, ...]
    skipped: tuple[Skipped, ...]
    run: PendingRun | None

    @property
    def clean(self) -> bool:
        """Whether a commit would record nothing new."""
        return not self.changes


def status(repository: Repository, *, progress: Progress | None = None) -> StatusResult:
    """Compare the working files with HEAD; unchanged files are not read.

    Raises:
        InvalidInputError: A working file that cannot be committed.
        FileSystemError: A working file cannot be read.
    """
    head = repository.refs.head()
    committed = None if head.commit is None else repository.manifest_of(head.commit)
    current = snapshot(repository, Hashing(), progress=progress)
    run = load_run(repository)
    return StatusResult(
        branch=head.branch,
        head=head.commit,
        changes=tuple(working_changes(repository, committed, current)),
        skipped=current.skipped,
        run=run if run is not None and run.left(current.manifest) else None,
    )
