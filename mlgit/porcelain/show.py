"""``mlgit show``: everything a commit records."""

from __future__ import annotations

from dataclasses import dataclass

from mlgit.history.names import names_by_commit
from mlgit.objects import Manifest
from mlgit.porcelain.log import LogEntry, certificates_of
from mlgit.repository import Repository
from mlgit.worktree.status import FileChange, committed_contents, file_changes


@dataclass(frozen=True, slots=True)
class ShowResult:
    """A commit in full.

    Attributes:
        entry: The commit with names and certificates.
        manifest: Its state.
        changes: Files that differ from its first parent's.
    """

    entry: LogEntry
    manifest: Manifest
    changes: tuple[FileChange, ...]


def show(repository: Repository, revision: str = "HEAD") -> ShowResult:
    """Return what a commit records.

    Raises:
        NotFoundError: ``revision`` names nothing.
    """
    commit_id = repository.resolve(revision)
    commit = repository.commit_of(commit_id)
    names = names_by_commit(repository.refs, repository.objects)
    manifest = repository.manifest(commit.manifest)
    before = repository.manifest_of(commit.parents[0].id) if commit.parents else Manifest({})
    changes = file_changes(committed_contents(repository, before), committed_contents(repository, manifest))
    entry = LogEntry(commit_id, commit, tuple(names.get(commit_id, ())), certificates_of(repository, commit_id))
    return ShowResult(entry, manifest, tuple(changes))
