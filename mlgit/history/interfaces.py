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
