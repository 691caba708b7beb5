"""Which pack holds which object, for many packs at once: a copy of what their indexes say.

Without it, a miss would have to look into every pack, and a repository of ten thousand commits has ten thousand. The
file can be deleted at any time; one that is damaged or out of date only makes look-ups slower. Layout: magic, version,
number of packs, number of entries; 16 bytes per pack, its name; 36 bytes per entry, id and number of the pack, sorted;
the BLAKE3 of all that.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from struct import Struct

from blake3 import blake3

from mlgit.fileio import replacing
from mlgit.storage.pack import Pack

NAME = "catalogue"
PREFIX, SUFFIX = "pack-", ".pack"
_MAGIC = b"\x89MLGCT\r\n"
_VERSION = 1
_HEADER = Struct("<8sIIQ")
_ENTRY = Struct("<32sI")
_NAME_BYTES = 16
_DIGEST_BYTES = 32


class Catalogue:
    """A catalogue file, mapped.

    Args:
        data: The whole file, checked by ``load``.
    """

    def __init__(self, data: mmap | bytes) -> None:
        self._data = data
        _, _, packs, self.entry_count = _HEADER.unpack_from(data)
        self._entries_at = _HEADER.size + packs * _NAME_BYTES
        raw = [data[at : at + _NAME_BYTES] for at in range(_HEADER.size, self._entries_at, _NAME_BYTES)]
        self.names = [f"{PREFIX}{name.hex()}{SUFFIX}" for name in raw]
        """File names of the packs it covers."""

    @classmethod
    def load(cls, path: Path) -> Catalogue | None:
        """Map a catalogue; None when there is none, or none that can be used."""
        try:
            with path.open("rb") as stream:
                data = mmap(stream.fileno(), 0, access=ACCESS_READ)
        except (OSError, ValueError):
            return None
        return cls(data) if _is_sound(data) else None

    def find(self, digest: bytes) -> Iterator[str]:
        """Yield the names of the packs that hold an object."""
        for number in range(self._lower_bound(digest), self.entry_count):
            found, pack = self._entry(number)
            if found != digest:
                return
            yield self.names[pack]

    def from_prefix(self, start: bytes) -> Iterator[tuple[bytes, str]]:
        """Yield ids and names of packs, from the first id that is not below ``start``."""
        for number in range(self._lower_bound(start), self.entry_count):
            found, pack = self._entry(number)
            yield found, self.names[pack]

    def extended(self, packs: Iterable[Pack], existing: set[str]) -> bytes:
        """Return the bytes of a catalogue that covers these packs too, and none that does not exist any more."""
        kept = (pair for pair in self.from_prefix(b"") if pair[1] in existing)
        return build((*kept, *((pack.digest(n), pack.path.name) for pack in packs for n in range(pack.object_count))))

    def _entry(self, number: int) -> tuple[bytes, int]:
        digest, pack = _ENTRY.unpack_from(self._data, self._entries_at + number * _ENTRY.size)
        return digest, pack

    def _lower_bound(self, start: bytes) -> int:
        return bisect_left(range(self.entry_count), start, key=lambda number: self._entry(number)[0])


def build(pairs: Iterable[tuple[bytes, str]]) -> bytes:
    """Return the bytes of a catalogue.

    Args:
        pairs: Ids and the file names of the packs that hold them.
    """
    ordered = sorted(set(pairs))
    names = sorted({name for _, name in ordered})
    numbers = {name: number for number, name in enumerate(names)}
    data = bytearray(_HEADER.pack(_MAGIC, _VERSION, len(names), len(ordered)))
    for name in names:
        data += bytes.fromhex(name.removeprefix(PREFIX).removesuffix(SUFFIX))
    for digest, name in ordered:
        data += _ENTRY.pack(digest, numbers[name])
    return bytes(data + blake3(data).digest())


def write(root: Path, data: bytes) -> None:
    """Replace the catalogue in the folder of packs; not synced, since nothing is lost with it.

    Raises:
        FileSystemError: The operating system refused.
    """
    with replacing(root / NAME, durable=False) as stream:
        stream.write(data)


def signature(root: Path) -> tuple[int, int, int] | None:
    """Return what changes when the catalogue is replaced; None when there is none."""
    try:
        status = (root / NAME).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _is_sound(data: mmap) -> bool:
    if len(data) < _HEADER.size + _DIGEST_BYTES:
        return False
    magic, version, packs, entries = _HEADER.unpack_from(data)
    end = _HEADER.size + packs * _NAME_BYTES + entries * _ENTRY.size
    if (magic, version, len(data)) != (_MAGIC, _VERSION, end + _DIGEST_BYTES):
        return False
    return blake3(memoryview(data)[:end]).digest() == data[end:]
