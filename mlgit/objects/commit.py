"""A commit: a manifest, where it came from, and how it was made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from typing import Self, cast

from mlgit.errors import CorruptObjectError, InvalidInputError
from mlgit.objects.encoding import Fields, JsonValue
from mlgit.objects.ids import CommitId, ManifestId
from mlgit.objects.record import Record

_DAY = 86_400
_EARLIEST = -62_135_596_800 + _DAY
_LATEST = 253_402_300_799 - _DAY


class Role(StrEnum):
    """What a parent gave to a commit."""

    BASE = "base"
    """The branch's state before; its weights take no part."""
    INIT = "init"
    """The weights that training started from."""
    HEAD = "head"
    """The linear probe whose classifier training started from."""
    MERGE = "merge"
    """A member of the average, with its coefficient."""


class Stage(StrEnum):
    """Where a commit stands in the lineage (Ramé et al. 2023, figure 1)."""

    PRETRAIN = "pretrain"
    PROBE = "probe"
    AUXILIARY = "auxiliary"
    TARGET = "target"
    MERGE = "merge"
    SNAPSHOT = "snapshot"
    """A change made by hand, without a recorded run."""


@dataclass(frozen=True, slots=True)
class Parent:
    """One edge of the lineage.

    Attributes:
        id: The older commit.
        role: What it gave.
        coefficient: Its weight in the average; None unless the role is ``merge``.
    """

    id: CommitId
    role: Role
    coefficient: float | None = None


@dataclass(frozen=True, slots=True)
class TaskRef:
    """A task at one moment.

    Attributes:
        name: Its name in ``mlgit.toml``.
        digest: BLAKE3 of its definition and data, hexadecimal.
    """

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Identity:
    """A person or a machine."""

    name: str
    email: str

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """A moment and the clock it was read from.

    Attributes:
        seconds: Since 1970-01-01T00:00:00Z; in the years 1 to 9999 of every time zone.
        offset_minutes: East of Greenwich, -1440 to 1440, exclusive.
    """

    seconds: int
    offset_minutes: int = 0

    def __post_init__(self) -> None:
        if not -1440 < self.offset_minutes < 1440:
            raise InvalidInputError(f"{self.offset_minutes} minutes is not a time zone", kind="bad-time")
        if not _EARLIEST <= self.seconds <= _LATEST:
            raise InvalidInputError(
                f"{self.seconds} seconds is not a moment between the years 1 and 9999", kind="bad-time"
            )

    @classmethod
    def now(cls) -> Timestamp:
        """Return this moment on this machine's clock."""
        here = datetime.now().astimezone()
        offset = here.utcoffset() or timedelta(0)
        return cls(int(here.timestamp()), int(offset.total_seconds() // 60))

    def isoformat(self) -> str:
        """Return ISO 8601 text, ``2026-01-31T12:00:00+01:00``."""
        zone = timezone(timedelta(minutes=self.offset_minutes))
        return datetime.fromtimestamp(self.seconds, tz=zone).isoformat()


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit(Record):
    """A state of a model and how it came to be.

    Attributes:
        manifest: The state.
        parents: Where it came from; the first one is the branch's state before.
        stage: Its place in the lineage.
        task: What it was trained or selected on, if anything.
        made: How it was made: command, hyper-parameters, seed, packages, device, duration; plain JSON.
        metrics: Measured values by name, ``id_accuracy`` first among equals; finite.
        author: Who.
        time: When.
        message: Why; the first line is the subject.
    """

    kind = "commit"

    manifest: ManifestId
    parents: tuple[Parent, ...] = ()
    stage: Stage
    task: TaskRef | None = None
    made: Mapping[str, JsonValue] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    author: Identity
    time: Timestamp
    message: str

    def __post_init__(self) -> None:
        for name, value in self.metrics.items():
            if not math.isfinite(value):
                raise InvalidInputError(
                    f"metric '{name}' is {value}: only finite values can be recorded", kind="bad-metric"
                )

    @property
    def id(self) -> CommitId:
        """The commit's id."""
        return cast("CommitId", Record.id.__get__(self))

    @property
    def subject(self) -> str:
        """The first line of the message."""
        return self.message.strip().partition("\n")[0].strip()

    def to_json(self) -> Mapping[str, JsonValue]:
        """Return the content as JSON."""
        return {
            "manifest": self.manifest,
            "parents": [
                {"id": parent.id, "role": parent.role.value, "coefficient": parent.coefficient}
                for parent in self.parents
            ],
            "stage": self.stage.value,
            "task": None if self.task is None else {"name": self.task.name, "digest": self.task.digest},
            "made": self.made,
            "metrics": self.metrics,
            "author": {"name": self.author.name, "email": self.author.email},
            "time": {"seconds": self.time.seconds, "offset_minutes": self.time.offset_minutes},
            "message": self.message,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Return the commit that ``to_json`` described."""
        task, metrics = fields.optional_fields("task"), fields.fields("metrics")
        try:
            return cls(
                manifest=ManifestId(fields.text("manifest")),
                parents=tuple(
                    Parent(
                        CommitId(item.text("id")),
                        Role(item.text("role")),
                        item.optional_number("coefficient"),
                    )
                    for item in fields.items("parents")
                ),
                stage=Stage(fields.text("stage")),
                task=None if task is None else TaskRef(task.text("name"), task.text("digest")),
                made=fields.mapping("made"),
                metrics={name: metrics.number(name) for name in metrics.values},
                author=read_identity(fields.fields("author")),
                time=read_time(fields.fields("time")),
                message=fields.text("message"),
            )
        except ValueError as error:  # an unknown role or stage, or an id that is none
            raise CorruptObjectError(f"a commit is not valid: {error}") from error


def read_identity(fields: Fields) -> Identity:
    """Read a person back from a record."""
    return Identity(fields.text("name"), fields.text("email"))


def read_time(fields: Fields) -> Timestamp:
    """Read a moment back from a record."""
    return Timestamp(fields.integer("seconds"), fields.integer("offset_minutes"))
