"""``mlgit du``: what each commit takes on disk, and what was saved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from mlgit.history.ancestry import walk
from mlgit.history.names import peel
from mlgit.objects import BlobFile, Commit, CommitId, Manifest, ObjectId
from mlgit.progress import NoProgress, Progress
from mlgit.repository import Repository


@dataclass(frozen=True, slots=True)
class CommitUsage:
    """One commit, in bytes.

    ``checkpoint = added + deduplicated + compressed + differences``, where ``added`` counts what the commit was the
    first to bring.

    Attributes:
        id: Which.
        subject: First line of its message.
        checkpoint: Its files: every tensor, header and other file, counted as often as it stands there.
        own: Stored bytes that no other commit needs, the record of the commit among them.
        shared: Stored bytes that other commits need too.
        added: Stored bytes of the contents that no earlier commit had.
        deduplicated: Bytes of contents that an earlier commit had, or that stand twice in this one.
        compressed: What compression saved on the rest.
        differences: What storing differences to other tensors, compressed, saved on the rest.
    """

    id: CommitId
    subject: str
    checkpoint: int
    own: int
    shared: int
    added: int
    deduplicated: int
    compressed: int
    differences: int


@dataclass(frozen=True, slots=True)
class Usage:
    """A repository.

    Attributes:
        commits: Those that refs and HEAD lead to, newest first.
        stored: Bytes of all packs.
        needed: Stored bytes of what these commits need, in any pack once.
    """

    commits: tuple[CommitUsage, ...]
    stored: int
    needed: int

    @property
    def other(self) -> int:
        """Bytes of packs that are no commit's: indexes, tags, certificates, what only logs or nothing leads to."""
        return self.stored - self.needed

    @property
    def checkpoints(self) -> int:
        """Bytes of all checkpoints as plain files."""
        return sum(commit.checkpoint for commit in self.commits)


@dataclass(frozen=True, slots=True)
class _Object:
    """Sizes of one object, in bytes."""

    raw: int
    stored: int
    saved_by_differences: int


def du(repository: Repository, *, progress: Progress | None = None) -> Usage:
    """Measure every commit that a ref or HEAD leads to; no tensor is read.

    Args:
        repository: Where.
        progress: Is told of commits.

    Raises:
        NotFoundError: An object is missing.
        CorruptObjectError: A record, or the entry of an object, is damaged.
    """
    history = list(walk(repository.commit_of, dict.fromkeys(_starts(repository))))
    sizes = _Sizes(repository)
    contents: dict[CommitId, list[ObjectId]] = {}
    needs: dict[CommitId, set[ObjectId]] = {}
    with (progress or NoProgress()).task("measuring", len(history)) as bar:
        for commit_id, commit in history:
            contents[commit_id] = _contents(repository.manifest(commit.manifest))
            needs[commit_id] = sizes.with_bases({commit_id, commit.manifest, *contents[commit_id]})
            bar.advance(1)
    users = Counter(object_id for needed in needs.values() for object_id in needed)
    seen: set[ObjectId] = set()
    rows = [_measure(item, contents, needs, users, seen, sizes) for item in reversed(history)]  # parents first
    return Usage(
        tuple(reversed(rows)), repository.objects.stored_bytes(), sum(sizes.of(found).stored for found in users)
    )


def _starts(repository: Repository) -> list[CommitId]:
    found = [peel(repository.refs.read(name), repository.objects) for name in repository.refs.names()]
    return [commit_id for commit_id in (repository.head, *found) if commit_id is not None]


def _contents(manifest: Manifest) -> list[ObjectId]:
    """Return what the files of a commit consist of, with repetition."""
    files = [file.id if isinstance(file, BlobFile) else file.header for file in manifest.files]
    return [*(entry.id for entry in manifest.tensors.values()), *files]


def _measure(
    item: tuple[CommitId, Commit],
    contents: dict[CommitId, list[ObjectId]],
    needs: dict[CommitId, set[ObjectId]],
    users: Counter[ObjectId],
    seen: set[ObjectId],
    sizes: _Sizes,
) -> CommitUsage:
    """Measure one commit after its parents; ``seen`` holds what earlier ones had."""
    commit_id, commit = item
    new = set(contents[commit_id]) - seen
    seen |= new
    checkpoint = sum(sizes.of(found).raw for found in contents[commit_id])
    brought = [sizes.of(found) for found in new]
    raw, added = sum(size.raw for size in brought), sum(size.stored for size in brought)
    differences = sum(size.saved_by_differences for size in brought)
    return CommitUsage(
        id=commit_id,
        subject=commit.subject,
        checkpoint=checkpoint,
        own=sum(sizes.of(found).stored for found in needs[commit_id] if users[found] == 1),
        shared=sum(sizes.of(found).stored for found in needs[commit_id] if users[found] > 1),
        added=added,
        deduplicated=checkpoint - raw,
        compressed=raw - added - differences,
        differences=differences,
    )


class _Sizes:
    """Sizes and bases of objects, each looked up once."""

    def __init__(self, repository: Repository) -> None:
        self._objects = repository.objects
        self._known: dict[ObjectId, _Object] = {}
        self._bases: dict[ObjectId, frozenset[ObjectId]] = {}

    def of(self, object_id: ObjectId) -> _Object:
        """Return the sizes of an object."""
        if object_id not in self._known:
            self._look_up(object_id)
        return self._known[object_id]

    def with_bases(self, ids: Iterable[ObjectId]) -> set[ObjectId]:
        """Return objects and what is needed to decode them."""
        found: set[ObjectId] = set()
        pending = list(ids)
        while pending:
            object_id = pending.pop()
            if object_id not in found:
                found.add(object_id)
                if object_id not in self._bases:
                    self._look_up(object_id)
                pending += self._bases[object_id]
        return found

    def _look_up(self, object_id: ObjectId) -> None:
        raw = stored = saved = 0
        bases: set[ObjectId] = set()
        for chunk in self._objects.chunks(object_id):
            raw, stored = raw + chunk.raw, stored + chunk.stored
            if chunk.base is not None:
                saved += chunk.raw - chunk.stored
                bases.add(type(object_id).from_digest(chunk.base))
        self._known[object_id] = _Object(raw, stored, saved)
        self._bases[object_id] = frozenset(bases)
