"""The bytes of a pack: header, chunks, index, footer. ``docs/format-pack.md`` is the specification.

Everything here is layout: fixed-size fields in, values out. What the fields may hold together is checked where a pack
is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import NamedTuple

from blake3 import blake3

MAGIC = b"\x89MLGPK\r\n"
END_MAGIC = b"MLGPKEND"
VERSION = 1

CHUNK_BYTES = 1 << 20
"""The chunk size this writer uses: small enough that all steps of a codec stay in a core's cache."""
DEFAULT_EXPONENT = CHUNK_BYTES.bit_length() - 1
MIN_EXPONENT, MAX_EXPONENT = 16, 22
"""Chunk sizes a reader accepts, as powers of two: 64 KiB to 4 MiB."""
MAX_DEPTH = 8
"""How many differences may stand between a chunk and its value; a reader refuses more."""
DEFAULT_DEPTH = 1
MAX_RECORD_BYTES = 1 << 26
"""Manifests, commits, tags and certificate results are read whole; larger ones are refused."""

HEADER = Struct("<8sII")
COUNTS = Struct("<IIII")
OBJECT = Struct("<32sQIIIHBB8s")
CHUNK = Struct("<QIIIBBBB8s")
FOOTER = Struct("<QQ32s8s8s")
BASE_BYTES = 32
CHECKSUM_BYTES = 8

KIND_NUMBERS = {"tensor": 1, "blob": 2, "manifest": 3, "commit": 4, "tag": 5, "certificate": 6}
KIND_NAMES = {number: name for name, number in KIND_NUMBERS.items()}

_ZEROS = bytes(8)


class ObjectEntry(NamedTuple):
    """One object of a pack.

    Attributes:
        digest: The 32 bytes of its id.
        kind: ``tensor``, ``blob``, ``manifest``, ``commit``, ``tag`` or ``certificate``.
        size: Bytes of its payload, decoded.
        first_chunk: Index of its first chunk in the pack's chunk table.
        chunk_count: How many chunks follow one another from there.
        chunk_exponent: All chunks but the last decode to 2 to this power bytes.
        metadata: For a tensor, canonical JSON of dtype and shape as in its preamble; else empty.
    """

    digest: bytes
    kind: str
    size: int
    first_chunk: int
    chunk_count: int
    chunk_exponent: int
    metadata: bytes


class ChunkEntry(NamedTuple):
    """One chunk of a pack.

    Attributes:
        offset: Where its stored bytes begin in the file.
        stored: How many stored bytes.
        raw: How many bytes they decode to.
        codec: Number of the codec.
        width: Bytes per element, for codecs that look at elements; else 1.
        depth: How many differences stand between this chunk and its value, 0 without a base.
        base: Id of the tensor whose chunk of the same place is the base, or None.
        checksum: First 8 bytes of the BLAKE3 of the stored bytes.
    """

    offset: int
    stored: int
    raw: int
    codec: int
    width: int
    depth: int
    base: bytes | None
    checksum: bytes


def checksum(stored: bytes | memoryview) -> bytes:
    """Return what a chunk entry keeps to tell where a pack is damaged."""
    return blake3(stored).digest(CHECKSUM_BYTES)


def chunk_count(size: int, exponent: int) -> int:
    """Return how many chunks a payload of ``size`` bytes has."""
    return (size + (1 << exponent) - 1) >> exponent


def build_index(objects: Iterable[ObjectEntry], chunks: Sequence[ChunkEntry]) -> bytes:
    """Return the index of a pack.

    Args:
        objects: In any order; ids must differ.
        chunks: In order of their offsets.
    """
    ordered = sorted(objects, key=lambda entry: entry.digest)
    bases = sorted({chunk.base for chunk in chunks if chunk.base is not None})
    numbers = {None: 0} | {base: number for number, base in enumerate(bases, 1)}
    metadata = bytearray()
    entries = bytearray()
    for entry in ordered:
        entries += OBJECT.pack(
            entry.digest,
            entry.size,
            entry.first_chunk,
            entry.chunk_count,
            len(metadata),
            len(entry.metadata),
            KIND_NUMBERS[entry.kind],
            entry.chunk_exponent,
            _ZEROS,
        )
        metadata += entry.metadata
    for chunk in chunks:
        entries += CHUNK.pack(
            chunk.offset,
            chunk.stored,
            chunk.raw,
            numbers[chunk.base],
            chunk.codec,
            chunk.width,
            chunk.depth,
            0,
            chunk.checksum,
        )
    counts = COUNTS.pack(len(ordered), len(chunks), len(bases), len(metadata))
    return b"".join((counts, entries, *bases, metadata))


def build_footer(index_offset: int, index: bytes) -> bytes:
    """Return the last bytes of a pack."""
    return FOOTER.pack(index_offset, len(index), blake3(index).digest(), _ZEROS, END_MAGIC)
