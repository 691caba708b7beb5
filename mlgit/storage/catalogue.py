"""Which pack holds which object, for many packs at once: a copy of what their indexes say.

Without it, a miss would have to look into every pack, and a repository of ten thousand commits has ten thousand. There
are a few files of very different sizes in a folder of their own: new packs are entered in a small one, and small ones
are merged into larger ones now and then (``catalogue_writer``). Each file can be deleted at any time; one that is
damaged or out of date only makes look-ups slower. A file is mapped, and only the few kilobytes that a look-up needs are
read and compared with their checksum. ``docs/format-pack.md`` is the specification.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from mmap import ACCESS_READ, mmap
from pathlib import Path
from struct import Struct

from blake3 import blake3

FOLDER = "catalogues"
PREFIX, SUFFIX = "pack-", ".pack"
MAGIC = b"\x89MLGCT\r\n"
VERSION = 2
HEADER = Struct("<8sIIQQ")
BUCKET = Struct("<Q8s")
ENTRY = Struct("<32sI")
SPAN = Struct("<IQQ")
NAME_BYTES = 16
DIGEST_BYTES = 32
CHECKSUM_BYTES = 8
MAX_BITS = 20


class DamagedCatalogueError(Exception):
    """A part of a catalogue does not match its checksum. Never leaves ``storage``."""


class Catalogue:
    """A catalogue file, mapped.

    Args:
        data: The whole file, its head checked by ``load``.
        name: Its file name.
    """

    def __init__(self, data: mmap | bytes, name: str) -> None:
        self.name = name
        self._data = data
        _, _, self._bits, self.pack_count, self.entry_count = HEADER.unpack_from(data)
        names_end = HEADER.size + self.pack_count * NAME_BYTES
        self._seed = blake3(data[HEADER.size : names_end]).digest()
        self._buckets_at = names_end + DIGEST_BYTES
        self._entries_at = self._buckets_at + (BUCKET.size << self._bits)

    @classmethod
    def load(cls, path: Path) -> Catalogue | None:
        """Map a catalogue; None when there is none, or none that can be used."""
        try:
            with path.open("rb") as stream:
                data = mmap(stream.fileno(), 0, access=ACCESS_READ)
        except (OSError, ValueError):
            return None
        return cls(data, path.name) if _has_sound_head(data) else None

    @cached_property
    def packs(self) -> list[str]:
        """File names of the packs it covers."""
        digits = self._data[HEADER.size : HEADER.size + self.pack_count * NAME_BYTES].hex()
        return [f"{PREFIX}{digits[at : at + 2 * NAME_BYTES]}{SUFFIX}" for at in range(0, len(digits), 2 * NAME_BYTES)]

    def find(self, digest: bytes) -> list[str]:
        """Return the names of the packs that hold an object.

        Raises:
            DamagedCatalogueError: What had to be read does not match its checksum.
        """
        entries = self.bucket(self._bucket_of(digest))
        found = []
        for number in range(_lower_bound(entries, digest), len(entries) // ENTRY.size):
            held, pack = ENTRY.unpack_from(entries, number * ENTRY.size)
            if held != digest:
                break
            found.append(self._pack(pack))
        return found

    def from_prefix(self, start: bytes) -> Iterator[tuple[bytes, str]]:
        """Yield ids and names of packs, from the first id that is not below ``start``, 32 bytes; raises as ``find``."""
        first = self._bucket_of(start)
        for number in range(first, 1 << self._bits):
            entries = self.bucket(number)
            begin = _lower_bound(entries, start) if number == first else 0
            for at in range(begin * ENTRY.size, len(entries), ENTRY.size):
                found, pack = ENTRY.unpack_from(entries, at)
                yield found, self._pack(pack)

    def bucket(self, number: int) -> bytes:
        """Return the entries whose ids start with these bits.

        Raises:
            DamagedCatalogueError: They do not match their checksum.
        """
        at = self._buckets_at + number * BUCKET.size
        first, checksum = BUCKET.unpack_from(self._data, at)
        end: int = self.entry_count
        if number + 1 < 1 << self._bits:
            end = BUCKET.unpack_from(self._data, at + BUCKET.size)[0]
        entries = self._data[self._entries_at + first * ENTRY.size : self._entries_at + end * ENTRY.size]
        if bucket_checksum(self._seed, number, first, end, entries) != checksum:
            raise DamagedCatalogueError(self.name)
        return entries

    def entries(self) -> memoryview:
        """Return all entries; raises as ``find``."""
        for number in range(1 << self._bits):
            self.bucket(number)
        return memoryview(self._data)[self._entries_at :]

    def _bucket_of(self, digest: bytes) -> int:
        number: int = int.from_bytes(digest[:4], "big") >> (32 - self._bits)
        return number

    def _pack(self, number: int) -> str:
        if number >= self.pack_count:
            raise DamagedCatalogueError(self.name)
        at = HEADER.size + number * NAME_BYTES
        return f"{PREFIX}{self._data[at : at + NAME_BYTES].hex()}{SUFFIX}"


def bucket_checksum(seed: bytes, number: int, first: int, end: int, entries: bytes) -> bytes:
    """Return the checksum of a bucket.

    Args:
        seed: BLAKE3 of the names of the packs.
        number: Of the bucket.
        first: Number of its first entry.
        end: Number of the entry after its last one.
        entries: Its bytes.
    """
    return blake3(seed + SPAN.pack(number, first, end) + entries).digest(CHECKSUM_BYTES)


def load_all(root: Path, loaded: dict[str, Catalogue]) -> dict[str, Catalogue]:
    """Return the catalogues there are, by file name.

    Args:
        root: The folder of packs.
        loaded: Those that were loaded before; equal names have equal content.
    """
    folder = root / FOLDER
    try:
        names = sorted(path.name for path in folder.iterdir() if not path.name.endswith(".tmp"))
    except OSError:
        return {}
    found = {name: loaded.get(name) or Catalogue.load(folder / name) for name in names}
    return {name: catalogue for name, catalogue in found.items() if catalogue is not None}


def _lower_bound(entries: bytes, start: bytes) -> int:
    return bisect_left(
        range(len(entries) // ENTRY.size), start, key=lambda number: entries[36 * number : 36 * number + 32]
    )


def _has_sound_head(data: mmap) -> bool:
    if len(data) < HEADER.size + DIGEST_BYTES + BUCKET.size:
        return False
    magic, version, bits, packs, entries = HEADER.unpack_from(data)
    if magic != MAGIC or version != VERSION or bits > MAX_BITS:
        return False
    head = HEADER.size + packs * NAME_BYTES
    if len(data) != head + DIGEST_BYTES + (BUCKET.size << bits) + entries * ENTRY.size:
        return False
    return blake3(data[:head]).digest() == data[head : head + DIGEST_BYTES]
