"""A manifest: one state of a model, as names of tensors and the files they came in."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Self, cast

from mlgit.errors import CorruptObjectError, InvalidInputError
from mlgit.objects import tensor_table
from mlgit.objects.dtypes import tensor_size_bytes
from mlgit.objects.encoding import Fields, JsonValue, canonical_json
from mlgit.objects.ids import BlobId, ManifestId, TensorId
from mlgit.objects.many import making_many
from mlgit.objects.record import VERSION, Record, checked_fields

MAX_NAME = 4096


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where one name's tensor is and what it looks like.

    Attributes:
        id: The tensor.
        dtype: safetensors dtype name.
        shape: Extents.
    """

    id: TensorId
    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the elements."""
        return tensor_size_bytes(self.dtype, self.shape)


@dataclass(frozen=True, slots=True)
class TensorFile:
    """A safetensors file: its exact header says which tensors it holds, in what order.

    Attributes:
        path: Relative to the model directory, with ``/``.
        header: Blob with the header's bytes, from ``{`` to the last byte of padding, without the 8 bytes of length.
    """

    path: str
    header: BlobId


@dataclass(frozen=True, slots=True)
class BlobFile:
    """Any other file.

    Attributes:
        path: Relative to the model directory, with ``/``.
        id: Its bytes.
        size_bytes: How many.
    """

    path: str
    id: BlobId
    size_bytes: int


def check_name(name: str, what: str) -> None:
    """Refuse a name of a tensor that could do harm where it is printed or used as a path.

    Raises:
        InvalidInputError: Empty, longer than 4,096 characters, with ``..``, a control, bidi or surrogate character.
    """
    if not name or len(name) > MAX_NAME:
        raise InvalidInputError(
            f"{what} has a name of {len(name)} characters; 1 to {MAX_NAME} are allowed", kind="bad-name"
        )
    if ".." in name:
        raise InvalidInputError(f"{what} {name[:80]!r} has '..' in its name", kind="bad-name")
    if name.isascii() and name.isprintable():
        return
    for character in name:
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            raise InvalidInputError(
                f"{what} {name[:80]!a} has the character U+{ord(character):04X} in its name",
                kind="bad-name",
                hint="names may not hold control, line-breaking or invisible characters",
            )


def check_path(path: str) -> None:
    """Refuse a path that is not a plain relative one below the model directory.

    Raises:
        InvalidInputError: Absolute, with ``..``, ``.`` or empty parts, a backslash, inside ``.mlgit``, or a bad name.
    """
    check_name(path, "file")
    parts = path.split("/")
    if "\\" in path or any(part in ("", ".") for part in parts) or PurePosixPath(path).is_absolute():
        raise InvalidInputError(f"'{path}' is not a plain relative path", kind="bad-path")
    if any(part.casefold() == ".mlgit" for part in parts):
        raise InvalidInputError(f"'{path}' lies inside a repository's own folder", kind="bad-path")


@dataclass(frozen=True, slots=True)
class Manifest(Record):
    """One state of a model directory.

    Attributes:
        tensors: Name -> tensor; iterates in sorted order of names.
        files: The files, sorted by path; every tensor stands in at least one of them.
        factory: How to build the module: ``torchvision:resnet50``, or None.
        head: Name of the classifier's module, ``fc``, or None.
    """

    kind = "manifest"

    tensors: Mapping[str, TensorEntry]
    files: tuple[TensorFile | BlobFile, ...] = ()
    factory: str | None = None
    head: str | None = None

    def __post_init__(self) -> None:
        for name, entry in self.tensors.items():
            check_name(name, "tensor")
            tensor_size_bytes(entry.dtype, entry.shape)
        for file in self.files:
            check_path(file.path)
        paths = [file.path for file in self.files]
        if len(set(paths)) != len(paths):
            raise InvalidInputError("two files of a manifest have the same path", kind="bad-path")
        object.__setattr__(self, "tensors", MappingProxyType(dict(sorted(self.tensors.items()))))
        object.__setattr__(self, "files", tuple(sorted(self.files, key=lambda file: file.path)))

    @property
    def id(self) -> ManifestId:
        """The manifest's id."""
        return cast("ManifestId", Record.id.__get__(self))

    @property
    def size_bytes(self) -> int:
        """Bytes of all distinct tensors and blobs, uncompressed."""
        sizes: dict[str, int] = {entry.id: entry.size_bytes for entry in self.tensors.values()}
        sizes |= {file.id: file.size_bytes for file in self.files if isinstance(file, BlobFile)}
        return sum(sizes.values())

    def to_json(self) -> Mapping[str, JsonValue]:
        """Return the content as JSON."""
        tensors: dict[str, JsonValue] = {
            name: {"id": entry.id, "dtype": entry.dtype, "shape": list(entry.shape)}
            for name, entry in self.tensors.items()
        }
        return self._json(tensors)

    def encode(self) -> bytes:
        """Return the canonical bytes; tensors with plain names are written here, as there may be very many."""
        if not all(map(tensor_table.is_plain, self.tensors)):
            return super(Manifest, self).encode()
        rest = canonical_json({"type": self.kind, "version": VERSION, **self._json({})})
        return tensor_table.insert(rest, self.tensors.items())

    def _json(self, tensors: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        return {
            "factory": self.factory,
            "head": self.head,
            "tensors": tensors,
            "files": [
                {"path": file.path, "header": file.header}
                if isinstance(file, TensorFile)
                else {"path": file.path, "blob": file.id, "size": file.size_bytes}
                for file in self.files
            ],
        }

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a manifest back; raises as ``Record.decode``."""
        with making_many():
            taken = tensor_table.take(data)
            if taken is None:
                return super(Manifest, cls).decode(data)
            rest, tensors = taken
            return cls._from(
                checked_fields(rest, cls.kind),
                ((name, TensorEntry(TensorId(text), dtype, shape)) for name, (text, dtype, shape) in tensors.items()),
            )

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Return the manifest that ``to_json`` described."""
        tensors = fields.fields("tensors")
        return cls._from(fields, ((name, _entry(tensors.fields(name))) for name in tensors.values))

    @classmethod
    def _from(cls, fields: Fields, tensors: Iterable[tuple[str, TensorEntry]]) -> Self:
        try:
            return cls(
                tensors=dict(tensors),
                files=tuple(_file(item) for item in fields.items("files")),
                factory=fields.optional_text("factory"),
                head=fields.optional_text("head"),
            )
        except InvalidInputError as error:
            raise CorruptObjectError(f"a manifest is not valid: {error.message}") from error


def _entry(fields: Fields) -> TensorEntry:
    shape = fields.list("shape")
    if not all(isinstance(extent, int) and not isinstance(extent, bool) for extent in shape):
        raise CorruptObjectError(f"{fields.what}: field 'shape' is not a list of integers")
    return TensorEntry(
        id=TensorId(fields.text("id")), dtype=fields.text("dtype"), shape=tuple(cast("list[int]", shape))
    )


def _file(fields: Fields) -> TensorFile | BlobFile:
    if "header" in fields.values:
        return TensorFile(path=fields.text("path"), header=BlobId(fields.text("header")))
    return BlobFile(path=fields.text("path"), id=BlobId(fields.text("blob")), size_bytes=fields.integer("size"))
