"""What the names of a repository lead to: the objects that must not be lost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.objects import (
    BlobFile,
    CertificateId,
    Commit,
    CommitId,
    ManifestId,
    ObjectId,
    TagId,
)
from mlgit.porcelain.pending_run import load_run
from mlgit.porcelain.saved_runs import saved_runs
from mlgit.repository import Repository
from mlgit.storage.reflog import ReflogEntry
from mlgit.worktree.index import read_index


class Follower(ABC):
    """Visits everything that ids lead to; following more starts again reads only what is new.

    A subclass says what it keeps of what was visited.

    Args:
        repository: Where.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    @abstractmethod
    def _knows(self, object_id: ObjectId) -> bool:
        """Whether an object was visited."""

    @abstractmethod
    def _keep(self, object_id: ObjectId) -> None:
        """Take an object that was visited and is there."""

    def follow(self, starts: Iterable[ObjectId], *, complete: bool = True) -> None:
        """Visit everything that ``starts`` lead to.

        Args:
            starts: Ids of any kind.
            complete: Everything must be there; otherwise what is missing is passed over.

        Raises:
            NotFoundError: A record is missing, and ``complete`` was asked for.
            CorruptObjectError: A record is damaged.
        """
        pending = list(starts)
        while pending:
            object_id = pending.pop()
            if self._knows(object_id):
                continue
            try:
                pending += self._needs(object_id)
            except NotFoundError:
                if complete:
                    raise
                continue
            self._keep(object_id)

    def _needs(self, object_id: ObjectId) -> list[ObjectId]:
        """Return what an object refers to."""
        objects = self._repository.objects
        if isinstance(object_id, CommitId):
            return self._commit_needs(object_id, objects.read_record(object_id))
        if isinstance(object_id, ManifestId):
            return self._manifest_needs(object_id)
        if isinstance(object_id, TagId):
            return [objects.read_record(object_id).commit]
        if isinstance(object_id, CertificateId):
            result = objects.read_record(object_id)
            return [result.definition, result.commit]
        return []

    def _commit_needs(self, commit_id: CommitId, commit: Commit) -> list[ObjectId]:
        del commit_id
        return [commit.manifest, *(parent.id for parent in commit.parents)]

    def _manifest_needs(self, manifest_id: ManifestId) -> list[ObjectId]:
        manifest = self._repository.objects.read_record(manifest_id)
        files = [file.id if isinstance(file, BlobFile) else file.header for file in manifest.files]
        return [*(entry.id for entry in manifest.tensors.values()), *files]


class Reachable(Follower):
    """The objects that were reached so far, each by its id.

    Args:
        repository: Where.
    """

    def __init__(self, repository: Repository) -> None:
        super().__init__(repository)
        self.ids: set[ObjectId] = set()
        """Everything that was reached."""

    def _knows(self, object_id: ObjectId) -> bool:
        return object_id in self.ids

    def _keep(self, object_id: ObjectId) -> None:
        self.ids.add(object_id)


def follow_names(repository: Repository, found: Follower, *, since_s: int) -> None:
    """Add everything that refs, HEAD, logs, runs that are saved or wait for their commit, and the index lead to.

    What only a log, a run or the index names may be missing: it is not lost by keeping the rest.

    Args:
        repository: Where.
        found: Takes what is found.
        since_s: Changes in logs before this moment do not count, in seconds since 1970-01-01T00:00:00Z.

    Raises:
        NotFoundError: A ref leads to a record that is missing.
        CorruptObjectError: A ref or a record is damaged.
        InvalidInputError: A run that is saved or waits for its commit cannot be read.
    """
    refs = repository.refs
    named = [value for name in refs.names() if (value := refs.read(name)) is not None]
    head = refs.head().commit
    found.follow([*named, *([] if head is None else [head])])
    logged = [id_ for name in refs.reflog_names() for entry in _log(repository, name) for id_ in _ends(entry, since_s)]
    found.follow(logged, complete=False)
    found.follow(_waiting(repository), complete=False)


def _log(repository: Repository, name: str) -> list[ReflogEntry]:
    try:
        return repository.refs.reflog(name)
    except InvalidInputError:  # a file among the logs that is none
        return []


def _ends(entry: ReflogEntry, since_s: int) -> list[ObjectId]:
    if entry.when.seconds < since_s:
        return []
    return [value for value in (entry.old, entry.new) if value is not None]


def _waiting(repository: Repository) -> list[ObjectId]:
    """Return what the next commit relies on: the weights of a run, its parents, and the state the files were in."""
    run, index = load_run(repository), read_index(repository)
    starts: list[ObjectId] = [] if index.manifest is None else [index.manifest]
    if run is not None:
        starts += run.weights.values()
        starts += [parent.id for parent in run.parents]
    for saved in saved_runs(repository):
        starts += [saved.manifest, saved.start]
    return starts
