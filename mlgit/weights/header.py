"""The header of a safetensors file, read as strictly as a file from a stranger deserves.

A file is eight bytes of length (little-endian), a JSON header of that length, and the tensors' bytes. The format's own
library accepts duplicate keys, names such as ``../../x`` and headers of any size; this reader does not. Time and
memory grow with the header's length only, and that is bounded before anything is read.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NoReturn

from mlgit.errors import InvalidInputError, did_you_mean
from mlgit.fileio import file_system_error
from mlgit.objects.dtypes import BITS, MAX_SIZE_BYTES, tensor_size_bytes
from mlgit.objects.manifest import MAX_NAME, check_name
from mlgit.objects.many import making_many
from mlgit.weights._cursor import Cursor

MAX_HEADER_BYTES = 16 * 2**20
"""Longest header, in bytes."""
MAX_TENSORS = 100_000
"""Most tensors in one file, and most entries of its metadata."""
MAX_DIMENSIONS = 64
"""Most extents of one tensor; torch and NumPy compute on no more."""
METADATA = "__metadata__"
"""The one key of a header that names no tensor."""

_METADATA_START = f'{{"{METADATA}":'
_LENGTH_BYTES = 8
_HINT = "the file is damaged or was not written as safetensors; get it again from where it came"


@dataclass(frozen=True, slots=True)
class HeaderEntry:
    """One tensor of a file.

    Attributes:
        name: Its name.
        dtype: safetensors dtype name, as in ``mlgit.objects.BITS``.
        shape: Extents; empty for a scalar.
        start: First byte, counted from the beginning of the data section.
        end: One past the last byte.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a file's header says; the entries cover the data section without hole or overlap.

    Attributes:
        raw: The header's bytes, from ``{`` to the last byte of padding, without the eight bytes of length.
        entries: The tensors in the order of their bytes.
        metadata: Free text of the file's writer; unsorted and untrusted.
    """

    raw: bytes
    entries: tuple[HeaderEntry, ...]
    metadata: Mapping[str, str]

    @property
    def prefix(self) -> bytes:
        """The file's bytes before the data section: the length, then ``raw``."""
        return len(self.raw).to_bytes(_LENGTH_BYTES, "little") + self.raw

    @property
    def data_offset(self) -> int:
        """Where in the file the data section begins, in bytes."""
        return _LENGTH_BYTES + len(self.raw)

    @property
    def data_size(self) -> int:
        """Bytes of the data section."""
        return self.entries[-1].end if self.entries else 0

    @property
    def file_size(self) -> int:
        """Bytes of the whole file."""
        return self.data_offset + self.data_size


def read_header(path: Path) -> Header:
    """Read the header of a safetensors file; the tensors' bytes are not read.

    Args:
        path: A regular file.

    Returns:
        The header; the file has exactly ``file_size`` bytes.

    Raises:
        InvalidInputError: ``kind="bad-safetensors"``: not a regular file, or not a valid safetensors file.
        FileSystemError: The operating system refused. A missing file raises FileNotFoundError as usual.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with closing(os.fdopen(descriptor, "rb", buffering=0)) as stream:
            return _read(stream, path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise file_system_error(error, "read", path) from error


def _read(stream: BinaryIO, path: Path) -> Header:
    status = os.fstat(stream.fileno())
    source, size = str(path), status.st_size
    if not stat.S_ISREG(status.st_mode):
        _refuse(source, "not a regular file")
    if size < _LENGTH_BYTES:
        _refuse(source, f"{size} bytes are too few for a safetensors file")
    length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
    _check_length(length, source)
    if _LENGTH_BYTES + length > size:
        _refuse(source, f"the header should have {length} bytes, but the file ends after {size} bytes")
    raw = b""
    while len(raw) < length and (part := stream.read(length - len(raw))):
        raw += part
    header = parse_header(raw, source)
    if header.file_size != size:
        _refuse(source, f"the file has {size} bytes; its header describes {header.file_size}")
    return header


def parse_header(raw: bytes, source: str) -> Header:
    """Read the bytes of a header.

    Args:
        raw: From ``{`` to the last byte of padding, without the eight bytes of length.
        source: Where they come from, for errors: a path.

    Returns:
        The header, with ``raw`` kept as it is.

    Raises:
        InvalidInputError: ``kind="bad-safetensors"``: longer than ``MAX_HEADER_BYTES``, not the expected JSON, a key
            twice, an unknown dtype, a name that could do harm, a shape that does not fit its bytes, tensors
            that leave a hole or overlap, more than ``MAX_TENSORS`` of them.
    """
    _check_length(len(raw), source)
    try:
        text = raw.decode("utf-8")
        if not text.startswith("{"):
            _refuse(source, f"the header starts with {text[:8]!a}, not with '{{'")
        entries, metadata = _parse(text, source)
    except InvalidInputError:
        raise
    except ValueError as error:
        _refuse(source, f"the header is not readable: {error}", cause=error)
    entries.sort(key=lambda entry: (entry.start, entry.end))
    _check_tiling(entries, source)
    return Header(raw=bytes(raw), entries=tuple(entries), metadata=MappingProxyType(metadata))


def build_header(
    tensors: Mapping[str, tuple[str, Sequence[int]]],
    metadata: Mapping[str, str] | None = None,
    *,
    source: str = "a new file",
) -> Header:
    """Lay out a new file: widest elements first, then by name, so that every tensor lies aligned.

    The same tensors and metadata give the same bytes, whatever the order of the mappings.

    Args:
        tensors: Name -> dtype name and shape.
        metadata: Free text for the file, such as ``{"format": "pt"}``.
        source: The file to be written, for errors.

    Returns:
        The header, padded with spaces to a multiple of eight bytes.

    Raises:
        InvalidInputError: ``kind="bad-safetensors"``: a name, dtype or shape that no file may have, or too many.
    """
    if len(tensors) > MAX_TENSORS:
        _refuse(source, f"{len(tensors)} tensors are more than {MAX_TENSORS}", hint="split them over several files")
    document: dict[str, object] = {METADATA: dict(sorted(metadata.items()))} if metadata else {}
    entries: list[HeaderEntry] = []
    start = 0
    for name in sorted(tensors, key=lambda name: (-BITS.get(tensors[name][0], 0), name)):
        dtype, shape = tensors[name][0], tuple(tensors[name][1])
        entry = HeaderEntry(name, dtype, shape, start, start + _size(name, dtype, shape, source))
        document[name] = {"dtype": dtype, "shape": shape, "data_offsets": (start, entry.end)}
        entries.append(entry)
        start = entry.end
    raw = _encode(document, source)
    return Header(raw=raw, entries=tuple(entries), metadata=MappingProxyType(dict(sorted((metadata or {}).items()))))


def _encode(document: Mapping[str, object], source: str) -> bytes:
    try:
        raw = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError as error:
        _refuse(source, f"the metadata is not text: {error}", cause=error)
    raw += b" " * (-len(raw) % 8)
    _check_length(len(raw), source)
    return raw


def _check_length(length: int, source: str) -> None:
    if not 2 <= length <= MAX_HEADER_BYTES:
        _refuse(source, f"the header should have {length} bytes; 2 to {MAX_HEADER_BYTES} are allowed")


def _parse(text: str, source: str) -> tuple[list[HeaderEntry], dict[str, str]]:
    with making_many():
        plain = _parse_plain(text)
    return (list(plain[0]), dict(plain[1])) if plain else _parse_any(text, source)


_PLAIN_ENTRY = re.compile(
    r'"([ !#-\[\]-~]++)":\{"dtype":"([A-Z0-9_]++)","shape":\[([0-9,]*+)\],'
    r'"data_offsets":\[(0|[1-9][0-9]{0,18}),(0|[1-9][0-9]{0,18})\]\}([,}])'
)
_PLAIN_SHAPE = re.compile(r"(?:(?:0|[1-9][0-9]{0,15})(?:,(?:0|[1-9][0-9]{0,15}))*+)?")


@lru_cache(2)  # one command reads the header of one file several times
def _parse_plain(text: str) -> tuple[list[HeaderEntry], dict[str, str]] | None:
    """Read what the format's own library writes, at the speed of one expression.

    Returns:
        None when anything is written in another way, or is wrong: ``_parse_any`` knows what to do or to say.
    """
    metadata: dict[str, str] = {}
    expected, names = 1, set()
    entries: list[HeaderEntry] = []
    try:
        if text.startswith(_METADATA_START):
            cursor = Cursor(text, len(_METADATA_START))
            for key in cursor.members(MAX_TENSORS):
                metadata[key] = cursor.string()
            expected = cursor.position + 1
            if text[cursor.position : expected] != ",":
                return None
        for match in _PLAIN_ENTRY.finditer(text, expected):
            name, dtype, extents, start, end, after = match.groups()
            shape, size = _form(dtype, extents)
            entry = HeaderEntry(name, dtype, shape, int(start), int(end))
            if match.start() != expected or entry.end - entry.start != size or ".." in name or name in names:
                return None
            names.add(name)
            entries.append(entry)
            expected = match.end()
            if after == "}":
                break
        else:
            return None
    except ValueError:
        return None
    is_whole = not text[expected:].strip(" \t\n\r")
    is_allowed = len(entries) <= MAX_TENSORS and METADATA not in names and max(map(len, names)) <= MAX_NAME
    return (entries, metadata) if is_whole and is_allowed else None


@lru_cache(4096)
def _form(dtype: str, extents: str) -> tuple[tuple[int, ...], int]:
    """Return a shape and its bytes; raises ValueError for anything unusual."""
    if not _PLAIN_SHAPE.fullmatch(extents):
        raise ValueError(extents)
    shape = tuple(map(int, extents.split(","))) if extents else ()
    if len(shape) > MAX_DIMENSIONS or math.prod(extent for extent in shape if extent) * 8 > MAX_SIZE_BYTES:
        raise ValueError(extents)
    try:
        return shape, tensor_size_bytes(dtype, shape)
    except InvalidInputError as error:
        raise ValueError(dtype) from error


def _parse_any(text: str, source: str) -> tuple[list[HeaderEntry], dict[str, str]]:
    cursor = Cursor(text)
    entries: list[HeaderEntry] = []
    metadata: dict[str, str] = {}
    for name in cursor.members(MAX_TENSORS + 2):
        if name == METADATA:
            for key in cursor.members(MAX_TENSORS):
                metadata[key] = cursor.string()
        else:
            entries.append(_parse_entry(name, cursor, source))
        if len(entries) > MAX_TENSORS:
            _refuse(source, f"more than {MAX_TENSORS} tensors")
    cursor.end()
    return entries, metadata


def _parse_entry(name: str, cursor: Cursor, source: str) -> HeaderEntry:
    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    offsets: tuple[int, ...] | None = None
    try:
        for field in cursor.members(3):
            if field == "dtype":
                dtype = cursor.string()
            elif field == "shape":
                shape = cursor.integers(MAX_DIMENSIONS)
            elif field == "data_offsets":
                offsets = cursor.integers(2)
            else:
                raise ValueError(f"the field {field[:80]!a} is unknown")
    except ValueError as error:
        _refuse(source, f"tensor {_quoted(name)}: {error}", cause=error)
    if dtype is None or shape is None or offsets is None or len(offsets) != 2:
        _refuse(source, f"tensor {_quoted(name)} needs a dtype, a shape and two data_offsets")
    start, end = offsets
    size = _size(name, dtype, shape, source)
    if end - start != size:
        _refuse(
            source,
            f"tensor '{name}': {dtype}{list(shape)} takes {size} bytes, but data_offsets are [{start}, {end}]",
        )
    return HeaderEntry(name, dtype, shape, start, end)


def _size(name: str, dtype: str, shape: tuple[int, ...], source: str) -> int:
    """Check name, dtype and shape; return the tensor's bytes."""
    if not (name.isascii() and name.isprintable() and 0 < len(name) <= MAX_NAME and ".." not in name):
        try:
            check_name(name, "a tensor")
        except InvalidInputError as error:
            _refuse(source, error.message, hint=error.hint, cause=error)
    if name == METADATA:
        _refuse(source, f"no tensor may be named '{METADATA}'", hint=None)
    if dtype not in BITS:
        _refuse(source, f"tensor '{name}': no dtype is named {dtype[:80]!a}", hint=did_you_mean(dtype[:80], BITS))
    if len(shape) > MAX_DIMENSIONS or math.prod(extent for extent in shape if extent) * 8 > MAX_SIZE_BYTES:
        _refuse(source, f"tensor '{name}': the shape {list(shape)} is larger than any real tensor", hint=None)
    try:
        return tensor_size_bytes(dtype, shape)
    except InvalidInputError as error:
        _refuse(source, f"tensor '{name}': {error.message}", hint=error.hint, cause=error)


def _check_tiling(entries: Iterable[HeaderEntry], source: str) -> None:
    expected, before = 0, "the beginning of the data"
    for entry in entries:
        if entry.start != expected:
            what = "overlaps with" if entry.start < expected else "leaves a hole after"
            _refuse(source, f"tensor '{entry.name}' starts at byte {entry.start}, not {expected}: it {what} {before}")
        expected, before = entry.end, f"'{entry.name}'"


def _quoted(name: str) -> str:
    return f"'{name[:80]}'" if name.isascii() and name.isprintable() else ascii(name[:80])


def _refuse(source: str, reason: str, *, hint: str | None = _HINT, cause: BaseException | None = None) -> NoReturn:
    raise InvalidInputError(f"'{source}': {reason}", kind="bad-safetensors", hint=hint) from cause
