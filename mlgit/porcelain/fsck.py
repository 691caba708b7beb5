"""``mlgit fsck``: read back everything that any name reaches, and say what is hurt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mlgit.errors import CorruptObjectError, InvalidInputError, NotFoundError
from mlgit.objects import (
    BlobFile,
    CertificateId,
    CertificateResult,
    Commit,
    CommitId,
    Manifest,
    ObjectId,
    Tag,
    TagId,
)
from mlgit.progress import NoProgress, Progress
from mlgit.repository import Repository


@dataclass(frozen=True, slots=True)
class Hurt:
    """Something that cannot be trusted.

    Attributes:
        id: The object, or None for a pack or a ref.
        kind: Kind of object, ``pack`` or ``ref``.
        problem: What is wrong, with the place.
        commits: Commits that need it, oldest found last.
    """

    id: ObjectId | None
    kind: str
    problem: str
    commits: tuple[CommitId, ...] = ()


@dataclass(frozen=True, slots=True)
class FsckResult:
    """The state of a repository.

    Attributes:
        commits: How many commits were reached.
        objects: How many objects were read back.
        hurt: What is damaged or missing.
    """

    commits: int
    objects: int
    hurt: tuple[Hurt, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is hurt."""
        return not self.hurt


@dataclass(slots=True)
class _Search:
    """What was found so far."""

    repository: Repository
    needed_by: dict[ObjectId, list[CommitId]] = field(default_factory=dict)
    problems: dict[ObjectId, str] = field(default_factory=dict)
    commits: list[CommitId] = field(default_factory=list)

    def need(self, object_id: ObjectId, commit: CommitId | None) -> bool:
        """Note that ``commit`` needs an object; return whether it is new."""
        new = object_id not in self.needed_by
        users = self.needed_by.setdefault(object_id, [])
        if commit is not None:
            users.append(commit)
        return new


def fsck(repository: Repository, *, progress: Progress | None = None) -> FsckResult:
    """Verify every object that refs, reflogs and HEAD reach, and the structure of every pack.

    Returns:
        What was read and what is hurt; nothing is changed and nothing raised for damage.
    """
    search = _Search(repository)
    hurt = [Hurt(None, "pack", problem) for problem in repository.objects.check_packs()]
    hurt += _follow_refs(search)
    with (progress or NoProgress()).task("verifying", len(search.needed_by)) as bar:
        for object_id in search.needed_by:
            if object_id not in search.problems:
                problem = repository.objects.problems(object_id)
                if problem is not None:
                    search.problems[object_id] = problem
            bar.advance(1)
    hurt += [
        Hurt(object_id, type(object_id).kind, problem, tuple(search.needed_by[object_id]))
        for object_id, problem in search.problems.items()
    ]
    return FsckResult(len(search.commits), len(search.needed_by), tuple(hurt))


def _follow_refs(search: _Search) -> list[Hurt]:
    """Walk from every name; return the names that are damaged themselves."""
    refs, hurt = search.repository.refs, []
    starts: list[ObjectId] = []
    for name in sorted({"HEAD", *refs.names(), *refs.reflog_names()}):
        try:
            found = refs.head().commit if name == "HEAD" else refs.read(name)
            starts += [found] if found is not None else []
            starts += [item for entry in refs.reflog(name) for item in (entry.old, entry.new) if item is not None]
            hurt += [Hurt(None, "ref", problem) for problem in refs.problems(name)]
        except (CorruptObjectError, InvalidInputError, NotFoundError) as error:
            hurt.append(Hurt(None, "ref", error.message))
    _follow(search, starts)
    return hurt


def _follow(search: _Search, starts: Iterable[ObjectId]) -> None:
    """Visit everything reachable, without recursion."""
    pending: list[tuple[ObjectId, CommitId | None]] = [(start, None) for start in starts]
    while pending:
        object_id, user = pending.pop()
        if not search.need(object_id, user):
            continue
        if not isinstance(object_id, (CommitId, TagId, CertificateId)):
            continue
        try:
            record = search.repository.objects.read_record(object_id)
        except (CorruptObjectError, NotFoundError) as error:
            search.problems[object_id] = error.message
            continue
        if isinstance(record, Commit):
            search.commits.append(CommitId(object_id))
            pending += [(parent.id, CommitId(object_id)) for parent in record.parents]
            _need_manifest(search, record, CommitId(object_id))
        elif isinstance(record, Tag):
            pending.append((record.commit, None))
        elif isinstance(record, CertificateResult):
            search.need(record.definition, record.commit)
            pending.append((record.commit, None))


def _need_manifest(search: _Search, commit: Commit, commit_id: CommitId) -> None:
    search.need(commit.manifest, commit_id)
    try:
        manifest: Manifest = search.repository.manifest(commit.manifest)
    except (CorruptObjectError, NotFoundError) as error:
        search.problems[commit.manifest] = error.message
        return
    for entry in manifest.tensors.values():
        search.need(entry.id, commit_id)
    for file in manifest.files:
        search.need(file.id if isinstance(file, BlobFile) else file.header, commit_id)
