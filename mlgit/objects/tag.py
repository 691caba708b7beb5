"""An annotated tag: a name for a commit that never moves, with a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, cast

from mlgit.errors import CorruptObjectError, InvalidInputError
from mlgit.objects.commit import Identity, Timestamp, read_identity, read_time
from mlgit.objects.encoding import Fields, JsonValue
from mlgit.objects.ids import CommitId, TagId
from mlgit.objects.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag(Record):
    """A named, explained pointer to a commit.

    Attributes:
        commit: What is tagged.
        name: The tag's name, without ``refs/tags/``.
        tagger: Who.
        time: When.
        message: Why.
        signature: Text of a signature over the tag without it, or None.
    """

    kind = "tag"

    commit: CommitId
    name: str
    tagger: Identity
    time: Timestamp
    message: str
    signature: str | None = None

    @property
    def id(self) -> TagId:
        """The tag's id."""
        return cast("TagId", Record.id.__get__(self))

    def to_json(self) -> Mapping[str, JsonValue]:
        """Return the content as JSON."""
        return {
            "commit": self.commit,
            "name": self.name,
            "tagger": {"name": self.tagger.name, "email": self.tagger.email},
            "time": {"seconds": self.time.seconds, "offset_minutes": self.time.offset_minutes},
            "message": self.message,
            "signature": self.signature,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Return the tag that ``to_json`` described."""
        try:
            return cls(
                commit=CommitId(fields.text("commit")),
                name=fields.text("name"),
                tagger=read_identity(fields.fields("tagger")),
                time=read_time(fields.fields("time")),
                message=fields.text("message"),
                signature=fields.optional_text("signature"),
            )
        except InvalidInputError as error:
            raise CorruptObjectError(f"a tag is not valid: {error.message}") from error
