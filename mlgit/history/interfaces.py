"""What history needs of the places where refs and objects are kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, overload

from mlgit.objects import Commit, CommitId, ObjectId, TagId

if TYPE_CHECKING:
    from mlgit.objects import Tag


class HeadLike(Protocol):
    """Where HEAD stands."""

    @property
    def branch(self) -> str | None:
        """Full name of the current branch, ``refs/heads/main``; None when HEAD is detached."""

    @property
    def commit(self) -> CommitId | None:
        """The current commit; None before the first one."""


class Change(Protocol):
    """A change of a ref."""

    @property
    def old(self) -> ObjectId | None:
        """What the ref pointed at before; None when it did not exist."""

    @property
    def new(self) -> ObjectId | None:
        """What it pointed at afterwards; None when it was deleted."""


class RefSource(Protocol):
    """Names that point at objects."""

    def read(self, name: str, /) -> ObjectId | None:
        """Return what the ref with this full name points at, or None when there is no such ref."""

    def names(self, prefix: str = "refs/", /) -> Iterable[str]:
        """Return the full names of all refs that start with ``prefix``."""

    def head(self) -> HeadLike:
        """Return where HEAD stands."""

    def reflog(self, name: str, /) -> Sequence[Change]:
        """Return the changes of the ref with this full name, or of ``HEAD``, newest first."""


class ObjectSource(Protocol):
    """Stored commits and tags."""

    def with_prefix(self, prefix: str, kind: str | None = None, /) -> Sequence[ObjectId]:
        """Return the ids that start with these lower-case hexadecimal digits, of one kind or of all."""

    @overload
    def read_record(self, object_id: CommitId, /) -> Commit: ...
    @overload
    def read_record(self, object_id: TagId, /) -> Tag: ...

    def graph(self) -> GraphSource | None:
        """Return what is known of the shape of the history without reading commits; None for nothing."""


class GraphSource(Protocol):
    """The shape of a part of the history, known without reading commits; with a commit it knows all its ancestors.

    Commits have numbers from 0 to ``len``, exclusive. It may be wrong about anything but the number of commits: what
    contradicts itself is noticed by those who use it, and then not used.
    """

    def __len__(self) -> int:
        """Return how many commits it knows."""

    def find(self, commit_id: CommitId, /) -> int | None:
        """Return the number of a commit, or None when it does not know it."""

    def id(self, number: int, /) -> CommitId:
        """Return the id of a commit."""

    def parents(self, number: int, /) -> Sequence[int]:
        """Return the numbers of a commit's parents, in order, each once."""

    def seconds(self, number: int, /) -> int:
        """Return a commit's time, in seconds since 1970-01-01T00:00:00Z."""

    def date(self, number: int, /) -> int:
        """Return a number of seconds that is not below the commit's time, and above the date of every parent."""

    def level(self, number: int, /) -> int:
        """Return a number from 1 that is above the level of every parent."""
