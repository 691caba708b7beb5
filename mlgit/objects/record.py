"""What manifests, commits, tags and certificate results share: a canonical encoding with a version, and an id."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from typing import ClassVar, Self, cast

from mlgit.errors import CorruptObjectError, InvalidInputError
from mlgit.objects.encoding import MAX_VALUES, Fields, JsonValue, canonical_json, has_too_many_values, parse_json
from mlgit.objects.ids import ID_TYPES, ObjectId, hasher, preamble

VERSION = 1


class Record(ABC):
    """An object whose bytes are canonical JSON. Subclasses are frozen dataclasses and final."""

    kind: ClassVar[str]

    @abstractmethod
    def to_json(self) -> Mapping[str, JsonValue]:
        """Return the content as JSON, without ``type`` and ``version``."""

    @classmethod
    @abstractmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Return the record that ``to_json`` described.

        Raises:
            CorruptObjectError: A field is missing or of the wrong type.
        """

    def encode(self) -> bytes:
        """Return the canonical bytes: RFC 8785 JSON with ``type`` and ``version``.

        Raises:
            InvalidInputError: Something has no canonical form, or there is more of it than a reader accepts.
        """
        data = canonical_json({"type": self.kind, "version": VERSION, **self.to_json()})
        if has_too_many_values(data):
            raise InvalidInputError(f"a {self.kind} of more than {MAX_VALUES} values is too large", kind="too-large")
        return data

    @property
    def id(self) -> ObjectId:
        """The id of the canonical bytes."""
        return ID_TYPES[self.kind].from_digest(hasher(preamble(self.kind) + self.encode()).digest())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a record back.

        Args:
            data: What ``encode`` returned.

        Raises:
            CorruptObjectError: Not such a record, or one of a newer version.
        """
        return cls.from_fields(checked_fields(data, cls.kind))


def checked_fields(data: bytes, kind: str) -> Fields:
    """Return the fields of a record of this kind and of the version this mlgit reads.

    Raises:
        CorruptObjectError: Not such a record, or one of a newer version.
    """
    fields = parse_json(data, f"a {kind}", canonical=True)
    if fields.text("type") != kind:
        raise CorruptObjectError(f"expected a {kind}, found a '{fields.text('type')}'")
    if fields.integer("version") != VERSION:
        raise CorruptObjectError(
            f"a {kind} has version {fields.integer('version')}, this mlgit reads version {VERSION}",
            kind="newer-version",
            hint="update mlgit",
        )
    return fields


RECORDS: Mapping[str, str] = {
    "manifest": "mlgit.objects.manifest:Manifest",
    "commit": "mlgit.objects.commit:Commit",
    "tag": "mlgit.objects.tag:Tag",
    "certificate": "mlgit.objects.certificate:CertificateResult",
}
"""Kind -> ``module:class``; nothing is imported before it is used."""


@cache
def record_type(kind: str) -> type[Record]:
    """Return the class for a kind of record, importing its module.

    Raises:
        CorruptObjectError: There is no such kind.
    """
    if kind not in RECORDS:
        raise CorruptObjectError(f"'{kind}' is not a kind of record")
    module, _, name = RECORDS[kind].partition(":")
    return cast("type[Record]", getattr(importlib.import_module(module), name))


def decode_record(kind: str, data: bytes) -> Record:
    """Read the record of any kind, by its kind's name.

    Raises:
        CorruptObjectError: Not such a record.
    """
    return record_type(kind).decode(data)
