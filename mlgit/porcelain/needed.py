"""What every name of a repository needs, followed even where some of it is hurt."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mlgit.errors import CorruptObjectError, FileSystemError, InvalidInputError, MlgitError, NotFoundError
from mlgit.fileio import read_file
from mlgit.objects import (
    BlobFile,
    CertificateId,
    CertificateResult,
    Commit,
    CommitId,
    Manifest,
    ManifestId,
    ObjectId,
    Record,
    Tag,
    TagId,
)
from mlgit.porcelain.pending_run import load_run
from mlgit.porcelain.saved_runs import saved_runs
from mlgit.repository import Repository
from mlgit.storage.objects import ObjectDatabase
from mlgit.storage.pack_check import damage
from mlgit.storage.ref_values import LOG_SUFFIX
from mlgit.storage.reflog import ReflogEntry
from mlgit.worktree.index import read_index

User = CommitId | str
"""Who needs an object: a commit, or the name that leads to it."""
LOG_OF = "log of "
"""Stands before the name of a ref whose log leads to an object."""
_RECORDS = (CommitId, ManifestId, TagId, CertificateId)


class Needed:
    """Everything that the names of a repository lead to.

    Args:
        repository: Where.
        spare: Where records are looked up that cannot be read here, so that what they lead to is known too.
    """

    def __init__(self, repository: Repository, spare: ObjectDatabase | None = None) -> None:
        self._repository = repository
        self._sources = [repository.objects] if spare is None else [repository.objects, spare]
        self.ids: dict[ObjectId, ObjectId] = {}
        """Every object that is needed, to itself, so that its kind is known whoever asks."""
        self.read: set[ObjectId] = set()
        """Records that were read here, and so verified."""
        self.unread: dict[ObjectId, str] = {}
        """Records that cannot be read here, and why."""
        self.hurt_names: list[str] = []
        """What is wrong with names themselves."""

    @property
    def commits(self) -> int:
        """How many commits there are, those that cannot be read here left out."""
        return sum(isinstance(found, CommitId) for found in self.read)

    def find(self) -> None:
        """Follow every name.

        Raises:
            FileSystemError: The operating system refused.
        """
        starts = list(self._names())

        def need(found: ObjectId, user: User) -> None:
            del user
            self.ids.setdefault(found, found)

        self._follow(starts, need, every_commit=False)

    def users(self, hurt: set[ObjectId]) -> tuple[dict[ObjectId, list[CommitId]], dict[ObjectId, list[str]]]:
        """Return the commits that need each of these objects, and the names that lead straight to it.

        What no name leads to any more, since it was removed meanwhile, is in neither.
        """
        commits: dict[ObjectId, list[CommitId]] = {}
        names: dict[ObjectId, list[str]] = {}

        def note(found: ObjectId, user: User) -> None:
            if found in hurt and isinstance(user, CommitId):
                commits.setdefault(found, []).append(user)
            elif found in hurt:
                names.setdefault(found, []).append(user)

        self._follow(list(self._names()), note, every_commit=True)
        return commits, names

    def _follow(
        self, starts: list[tuple[ObjectId, User]], note: Callable[[ObjectId, User], None], *, every_commit: bool
    ) -> None:
        """Tell of every need of every record: of a manifest's once, or for every commit that has it."""
        seen: set[ObjectId] = set()
        pending = starts
        while pending:
            object_id, user = pending.pop()
            note(object_id, user)
            if object_id in seen or not isinstance(object_id, _RECORDS):
                continue
            seen.add(object_id)
            record = self._record(object_id)
            if isinstance(record, Commit):
                commit = CommitId(object_id)
                pending += [(parent.id, commit) for parent in record.parents]
                note(record.manifest, commit)
                if every_commit or record.manifest not in seen:
                    seen.add(record.manifest)
                    for found in _content(self._record(record.manifest)):
                        note(found, commit)
            elif isinstance(record, Tag):
                pending.append((record.commit, user))
            elif isinstance(record, CertificateResult):
                note(record.definition, record.commit)
                pending.append((record.commit, user))
            else:
                for found in _content(record):
                    note(found, user)

    def _record(self, object_id: ObjectId) -> Record | None:
        for source in self._sources:
            try:
                record = source.read_record(object_id)  # type: ignore[call-overload]  # any of the four
            except (CorruptObjectError, NotFoundError) as error:
                problem = error.message
            except FileSystemError as error:
                problem = damage(error)
            else:
                if source is self._repository.objects:
                    self.read.add(object_id)
                return record  # type: ignore[no-any-return]  # an overload is not known here
            if source is self._repository.objects:
                self.unread.setdefault(object_id, problem)
        return None

    def _names(self) -> Iterator[tuple[ObjectId, User]]:
        """Yield what names lead to; what is wrong with them goes into ``hurt_names``, which starts anew."""
        self.hurt_names = []
        refs = self._repository.refs
        for name in sorted({"HEAD", *refs.names(), *refs.reflog_names()}):
            try:
                found = refs.head().commit if name == "HEAD" else refs.read(name)
                if found is not None:
                    yield found, name
                for entry in refs.reflog(name):
                    yield from _ends(entry, name)
                self.hurt_names += self._lasting_problems(name)
            except (CorruptObjectError, InvalidInputError, NotFoundError) as error:
                logged = [value for value, _ in self._log_of_hurt(name)]
                last = f"; its log says that it was at {logged[-1]} last" if logged else ""
                self.hurt_names.append(error.message + last)
                yield from ((value, LOG_OF + name) for value in logged if self._has(value))
        yield from self._waiting()

    def _lasting_problems(self, name: str) -> list[str]:
        """Return what is wrong with a ref, unless somebody is just moving it."""
        found = list(self._repository.refs.problems(name))
        return found and [problem for problem in self._repository.refs.problems(name) if problem in found]

    def _log_of_hurt(self, name: str) -> Iterator[tuple[ObjectId, User]]:
        """Yield what the log of a ref that cannot be read leads to, in the order of the lines."""
        try:
            lines = read_file(self._repository.folder / "logs" / (name + LOG_SUFFIX)).split(b"\n")
        except (OSError, FileSystemError):
            return
        for line in lines:
            entry = ReflogEntry.decode(line)
            if entry is not None:
                yield from _ends(entry, name)

    def _waiting(self) -> Iterator[tuple[ObjectId, User]]:
        """Yield what the next commit relies on: the run that waits for it, and the state the files were in."""
        try:
            run = load_run(self._repository)
        except InvalidInputError as error:
            self.hurt_names.append(error.message)
            run = None
        if run is not None:
            waiting = "the run that waits for its commit"
            yield from ((found, waiting) for found in run.weights.values() if self._has(found))
            yield from ((parent.id, waiting) for parent in run.parents)
        try:
            unfinished = saved_runs(self._repository)
        except InvalidInputError as error:
            self.hurt_names.append(error.message)
            unfinished = []
        for saved in unfinished:
            yield from ((found, "an unfinished run") for found in (saved.manifest, saved.start) if self._has(found))
        manifest = read_index(self._repository).manifest
        if manifest is not None and self._has(manifest):
            yield manifest, "the index"

    def _has(self, object_id: ObjectId) -> bool:
        for source in self._sources:
            try:
                if object_id in source:
                    return True
            except MlgitError:
                continue
        return False


def _ends(entry: ReflogEntry, name: str) -> list[tuple[ObjectId, User]]:
    return [(value, LOG_OF + name) for value in (entry.old, entry.new) if value is not None]


def _content(record: Record | None) -> Iterator[ObjectId]:
    """Yield what a manifest names; nothing when it could not be read."""
    if isinstance(record, Manifest):
        yield from (entry.id for entry in record.tensors.values())
        yield from (file.id if isinstance(file, BlobFile) else file.header for file in record.files)
