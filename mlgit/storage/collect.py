"""Removing what nothing needs: which packs can go, which are written anew, and the removal itself.

A pack is removed only when each of its objects is either not needed or in a pack that stays, and only while no writer
is at work. What a pack that stays needs to be decoded, the bases of its differences, stays too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from mlgit.errors import CorruptObjectError
from mlgit.fileio import file_system_error, sync_directory
from mlgit.objects import ObjectId
from mlgit.objects.ids import ID_TYPES
from mlgit.storage.catalogue import FOLDER as CATALOGUES
from mlgit.storage.encoder import Encoded
from mlgit.storage.guard import Guard
from mlgit.storage.marks import ID_BYTES, Marks
from mlgit.storage.pack import Pack
from mlgit.storage.pack_folder import PackFolder
from mlgit.storage.pack_format import KIND_NUMBERS, ObjectEntry, checksum
from mlgit.storage.pack_table import Mask, PackTable
from mlgit.storage.pack_writer import PackWriter, remove_stale

_FEW = 10_000
"""So many needed objects are looked up one by one rather than going through all packs."""
_KEPT_BYTES = 1 << 16
REWRITE_BELOW = 0.75
"""A pack is written anew when what is needed takes less than this share of it."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Some of the objects of a pack, one bit for each.

    Attributes:
        bits: By number, the first one highest.
        of: How many objects the pack has.
        count: How many of them are chosen.
    """

    bits: bytes
    of: int
    count: int

    @classmethod
    def from_mask(cls, mask: Mask) -> Self:
        """Return the objects for which the mask is true."""
        return cls(np.packbits(mask).tobytes(), len(mask), int(mask.sum()))

    def __len__(self) -> int:
        return self.count


@dataclass(frozen=True, slots=True)
class OldPack:
    """A pack that may be removed.

    Attributes:
        name: File name.
        identity: Device, inode and time of the last change, so that another pack of the same name is left alone.
        size_bytes: Its size.
        needed: The objects in it that were needed when it was judged; or their ids, 32 bytes each.
        kept_bytes: What a pack of these alone takes, about.
    """

    name: str
    identity: tuple[int, int, int]
    size_bytes: int
    needed: Chosen | frozenset[bytes]
    kept_bytes: int


@dataclass(frozen=True, slots=True)
class CollectionPlan:
    """What can go.

    Attributes:
        dead: Packs without any needed object.
        sparse: Packs to write anew, of which little is needed.
        packs: How many packs there are.
        young: How many of them are too young to be judged.
        damaged: What is wrong with packs that cannot be opened; they stay.
    """

    dead: tuple[OldPack, ...]
    sparse: tuple[OldPack, ...]
    packs: int
    young: int
    damaged: tuple[str, ...]

    @property
    def freed_bytes(self) -> int:
        """How many bytes the disk gains, about."""
        return sum(pack.size_bytes for pack in self.dead) + sum(
            pack.size_bytes - pack.kept_bytes for pack in self.sparse
        )


class Collector:
    """Finds and removes packs of one database.

    Args:
        folder: The packs.
    """

    def __init__(self, folder: PackFolder) -> None:
        self._folder = folder
        self._bases: dict[str, bytes] = {}
        self.needed = Marks()
        """The ids of what is needed; ``close`` adds what decodes it."""
        self.guard: Guard = folder.guard
        """Keeps writers away while packs are removed."""

    def tidy(self) -> None:
        """Remove what killed writers and collectors left.

        Raises:
            ConflictError: Another collector is at work.
            FileSystemError: The operating system refused.
        """
        with self.guard.holding():
            remove_stale(self._folder.root)
            remove_stale(self._folder.root / CATALOGUES)

    def tidy_catalogues(self) -> None:
        """Drop packs that are gone from the catalogues."""
        self._folder.prune_catalogue()

    def need(self, ids: Iterable[ObjectId]) -> None:
        """Take notice that objects are needed, and with them everything that decodes them.

        Raises:
            CorruptObjectError: An entry is damaged.
            FileSystemError: The operating system refused.
        """
        self.needed.add(b"".join(object_id.digest for object_id in ids))
        self.close()

    def close(self) -> None:
        """Take notice that everything is needed that decodes what is; a few new ones are looked up one by one.

        Raises:
            CorruptObjectError: An entry is damaged.
            FileSystemError: The operating system refused.
        """
        self._folder.refresh()
        new = self.needed.take_new()
        while new is None or new:
            if new is None or len(new) > _FEW * ID_BYTES:
                self._close_packs()
            else:
                self._close_objects(new)
            new = self.needed.take_new()

    def _close_packs(self) -> None:
        for name in self._folder.names():
            if self._bases_of(name) and (pack := self._folder.open_whole(name)) is not None:
                table = PackTable(pack)
                table.check()
                self.needed.add(table.bases(self.needed.mask(table.keys)))

    def _close_objects(self, ids: bytes) -> None:
        for at in range(0, len(ids), ID_BYTES):
            for located in self._folder.copies(ids[at : at + ID_BYTES]):
                if isinstance(located.source, Pack) and located.source.has_bases:
                    chunks = (located.chunk(place) for place in range(located.entry.chunk_count))
                    self.needed.add(b"".join({chunk.base for chunk in chunks if chunk.base is not None}))

    def young(self, grace_s: float) -> list[ObjectId]:
        """Take notice that everything in packs written less than ``grace_s`` seconds ago is needed.

        Returns:
            The ids of those of these objects that can lead to others.
        """
        found: list[ObjectId] = []
        for name in self._folder.names():
            if not _is_old(self._folder.root / name, grace_s) and (pack := self._folder.open_whole(name)) is not None:
                table = PackTable(pack)
                plain = table.of_kinds(KIND_NUMBERS["tensor"], KIND_NUMBERS["blob"])
                for ids in table.ids(plain):
                    self.needed.add(ids)
                found += (
                    ID_TYPES[pack.kind(number)].from_digest(pack.digest(number))
                    for number in np.flatnonzero(~plain).tolist()
                )
        return found

    def plan(self, *, grace_s: float) -> CollectionPlan:
        """Judge every pack by what ``need`` was told; nothing is changed.

        Args:
            grace_s: Packs younger than this stay as they are, in seconds.

        Raises:
            CorruptObjectError: An entry of a pack is damaged.
            FileSystemError: The operating system refused.
        """
        candidates: dict[str, OldPack] = {}
        young = 0
        names = self._folder.names()
        for name in names:
            if not _is_old(self._folder.root / name, grace_s):
                young += 1
            elif (pack := self._folder.open_whole(name)) is not None:
                judged = _judge(pack, self.needed)
                if judged is not None and judged.kept_bytes < REWRITE_BELOW * judged.size_bytes:
                    candidates[name] = judged
        chosen = self._removable(candidates)
        packs = [candidates[name] for name in sorted(chosen)]
        return CollectionPlan(
            dead=tuple(pack for pack in packs if not pack.needed),
            sparse=tuple(pack for pack in packs if pack.needed),
            packs=len(names),
            young=young,
            damaged=tuple(error.message for error in self._folder.damaged()),
        )

    def rewrite(self, old: OldPack) -> Path | None:
        """Copy what is needed of a pack into a new one, durably; the old one stays for now.

        Returns:
            The new pack; None when the old one is gone or a byte of it is damaged.

        Raises:
            FileSystemError: The operating system refused.
        """
        pack = self._folder.open_whole(old.name)
        if pack is None:
            return None
        with self.guard.holding():
            writer = PackWriter(self._folder.root)
            try:
                entries = [_copy(pack, pack.entry(number), writer) for number in _numbers(pack, old)]
                if not entries:
                    return None
                commits = [entry for entry in entries if entry.kind == "commit"]
                path = writer.publish(entries, main=(commits or entries)[-1].digest)
            except CorruptObjectError:
                return None
            finally:
                writer.abandon()
            _inherit_age(self._folder.root / old.name, path)
        self._folder.replaced(path.name)
        return path

    def remove(self, packs: Mapping[OldPack, Path | None]) -> list[OldPack]:
        """Remove packs, after judging them again; the caller keeps writers away, and has told ``need`` what is new.

        Args:
            packs: Which, and their copies; the copy of a pack that stays is removed.

        Returns:
            Those that were removed; the others are needed by now, or changed.

        Raises:
            FileSystemError: The operating system refused; some may have been removed.
        """
        self._folder.refresh()
        same = {pack.name: pack for pack in packs if identity(self._folder.root / pack.name) == pack.identity}
        chosen = self._removable(same)
        for pack, copy in packs.items():
            if pack.name in chosen:
                _unlink(self._folder.root / pack.name)
            elif copy is not None and pack.name in same:
                _unlink(copy)
        with suppress(OSError):  # a pack that comes back after a power cut does no harm
            sync_directory(self._folder.root)
        self._folder.refresh()
        return [same[name] for name in sorted(chosen)]

    def _removable(self, candidates: Mapping[str, OldPack]) -> set[str]:
        """Return the candidates of which nothing is needed but what was, or will be, copied.

        Packs that stay need the bases of their differences, whether these are needed otherwise or not: a writer that
        finds an object there does not store it again.
        """
        chosen = set(candidates)
        bases = Marks()
        staying = [name for name in self._folder.names() if name not in chosen]
        while staying:
            for name in staying:
                bases.add(self._bases_of(name))
            staying = [name for name in chosen if not self._is_spare(candidates[name], bases)]
            chosen.difference_update(staying)
        return {name for name in chosen if self._is_spare(candidates[name], bases)}

    def _bases_of(self, name: str) -> bytes | memoryview:
        """Return the ids of the bases of a pack, 32 bytes each; those of most packs are none, and that is kept."""
        if name in self._bases:
            return self._bases[name]
        pack = self._folder.open_whole(name)
        if pack is None:
            return b""
        if len(pack.base_table) < _KEPT_BYTES:
            self._bases[name] = bytes(pack.base_table)
        return pack.base_table

    def _is_spare(self, old: OldPack, bases: Marks) -> bool:
        pack = self._folder.open_whole(old.name)
        if pack is None:
            return False
        table = PackTable(pack)
        keys = table.keys
        return bool((_mask(pack, old) | ~(self.needed.mask(keys) | bases.mask(keys))).all())


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise file_system_error(error, "remove", path) from error


def _judge(pack: Pack, needed: Marks) -> OldPack | None:
    """Return what is needed of a pack; None when the pack is gone."""
    file = identity(pack.path)
    if file is None:
        return None
    table = PackTable(pack)
    table.check()
    here = needed.mask(table.keys)
    kept = pack.size_bytes - table.stored_bytes(~here) if here.any() else 0
    return OldPack(pack.path.name, file, pack.size_bytes, Chosen.from_mask(here), kept)


def _mask(pack: Pack, old: OldPack) -> Mask:
    """Return which objects of a pack were needed when it was judged; none when it is another pack by now."""
    if isinstance(old.needed, Chosen):
        if old.needed.of != pack.object_count:
            return np.zeros(pack.object_count, np.bool_)
        return np.unpackbits(np.frombuffer(old.needed.bits, np.uint8), count=pack.object_count).astype(np.bool_)
    chosen = (pack.digest(number) in old.needed for number in range(pack.object_count))
    return np.fromiter(chosen, np.bool_, pack.object_count)


def _numbers(pack: Pack, old: OldPack) -> list[int]:
    """Return the numbers of the needed objects, in the order of their chunks."""
    mask = _mask(pack, old)
    if isinstance(old.needed, Chosen):
        return PackTable(pack).by_place(mask)
    return sorted(np.flatnonzero(mask).tolist(), key=lambda number: pack.entry(number).first_chunk)


def _copy(pack: Pack, entry: ObjectEntry, writer: PackWriter) -> ObjectEntry:
    """Copy the stored bytes of an object, checked, and return its entry in the new pack.

    Raises:
        CorruptObjectError: They are damaged.
    """
    first = len(writer.chunks)
    for chunk in pack.chunks(entry):
        stored = memoryview(bytearray(chunk.stored))
        pack.read_stored(chunk, stored)
        if checksum(stored) != chunk.checksum:
            raise pack.damaged(chunk.offset, "a chunk does not match its checksum")
        writer.append(Encoded(stored, chunk.codec, chunk.raw, chunk.width, chunk.depth, chunk.base, chunk.checksum))
    return ObjectEntry(
        entry.digest, entry.kind, entry.size, first, entry.chunk_count, entry.chunk_exponent, entry.metadata
    )


def _is_old(path: Path, grace_s: float) -> bool:
    try:
        return grace_s <= 0 or time.time() - path.stat().st_mtime >= grace_s
    except OSError:
        return False


def identity(path: Path) -> tuple[int, int, int] | None:
    """Return what tells a file from another of the same name: device, inode and time of the last change; None: gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _inherit_age(old: Path, new: Path) -> None:
    """Give the copy the age of the original, so that its objects do not look new."""
    with suppress(OSError):
        status = old.stat()
        os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
