"""All packs of a database: which exist, which are open, and in which one an object lies."""

from __future__ import annotations

import os
import re
import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from mlgit.errors import CorruptObjectError, FileSystemError
from mlgit.fileio import file_system_error
from mlgit.storage import catalogue
from mlgit.storage.catalogue import PREFIX, SUFFIX, Catalogue, DamagedCatalogueError
from mlgit.storage.guard import Guard
from mlgit.storage.located import Located
from mlgit.storage.pack import Pack

HINT_DIGITS = 16
_PACK_NAME = re.compile(rf"{PREFIX}[0-9a-f]{{32}}{re.escape(SUFFIX)}")
_OPEN_PACKS = 256
_RECENT_PACKS = 3
"""Packs that are looked into first: a model's tensors lie in few, its bases in another one."""
_LISTINGS = 10
"""How often the folder is listed for one object at most: a listing made while packs are replaced may show neither the
old nor the new one, the next one shows the new."""
_UNCOVERED = 128
"""How many packs may be outside the catalogues before they are entered; fewer than stay open, so that looking
through them needs no file to be opened twice."""
_LARGE_PACK = 10_000
"""A pack of so many objects is entered at once, so that nobody has to look through its index for what is not there."""


def pack_name(main: bytes, index_digest: bytes) -> str:
    """Return the file name of a pack.

    Args:
        main: Id of the object that is looked for first: the commit, if there is one.
        index_digest: Digest of the index, so that equal content has an equal name.
    """
    return f"{PREFIX}{main.hex()[:HINT_DIGITS]}{index_digest.hex()[:HINT_DIGITS]}{SUFFIX}"


class PackFolder:
    """The packs in one folder, those of other processes included.

    Packs never change. They come while others write, which a miss notices, and go when they are collected, which
    opening one notices. Safe for use by several threads.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.guard = Guard(root)
        """Keeps what a writer relies on from being collected."""
        self._lock = threading.RLock()
        self._names: frozenset[str] = frozenset()
        self._uncovered: list[str] = []
        self._catalogues: dict[str, Catalogue] = {}
        self._is_fresh = False
        self._open: OrderedDict[str, Pack] = OrderedDict()
        self._damaged: dict[str, CorruptObjectError] = {}
        self._recent: tuple[Pack, ...] = ()

    def refresh(self) -> bool:
        """List the folder again. Packs that were damaged are tried again: they may have been mended.

        Returns:
            Whether other packs are there than the last time.

        Raises:
            FileSystemError: The operating system refused.
        """
        with self._lock:
            self._load_catalogues()
        covered = {name for each in self._catalogues.values() for name in each.packs}
        try:
            listed = set(os.listdir(self.root))  # noqa: PTH208 - a path for each would take longest of all
        except OSError as error:
            raise file_system_error(error, "read", self.root) from error
        uncovered = {name for name in listed - covered if _PACK_NAME.fullmatch(name)}
        names = frozenset(covered & listed | uncovered)
        with self._lock:
            changed = names != self._names
            self._names = names
            self._damaged.clear()
            for name in set(self._open).difference(names):
                del self._open[name]
            self._recent = tuple(pack for pack in self._recent if pack.path.name in self._open)
            self._uncovered = sorted(uncovered)
            return changed

    def _load_catalogues(self) -> None:
        self._catalogues = catalogue.load_all(self.root, self._catalogues)
        self._is_fresh = True

    def _drop(self, damaged: DamagedCatalogueError) -> None:
        """Do without a catalogue; its packs count as new until it is written again."""
        with suppress(OSError):
            (self.root / catalogue.FOLDER / str(damaged)).unlink(missing_ok=True)
        with self._lock:
            gone = self._catalogues.pop(str(damaged), None)
            covered = {name for each in self._catalogues.values() for name in each.packs}
            lost = () if gone is None else self._names.intersection(gone.packs) - covered
            self._uncovered = sorted({*self._uncovered, *lost})

    def replaced(self, name: str) -> None:
        """Take notice of a pack that this process has just written, perhaps in place of a damaged one."""
        with self._lock:
            self._open.pop(name, None)
            self._recent = tuple(pack for pack in self._recent if pack.path.name != name)
            self._damaged.pop(name, None)
            if name not in self._names:  # new lists, since others may be going through the old ones
                self._names = self._names | {name}
                self._uncovered = sorted([*self._uncovered, name])
            pack = self.open(name)
            if len(self._uncovered) > _UNCOVERED or (pack is not None and pack.object_count >= _LARGE_PACK):
                self.write_catalogue()

    def write_catalogue(self) -> None:
        """Enter the packs that are in no catalogue; where they cannot be written, they are done without."""
        from mlgit.storage import catalogue_writer  # noqa: PLC0415 - needs numpy, which most runs do not

        with self._lock:
            packs = self._opened(self._uncovered)
            with suppress(FileSystemError):
                catalogue_writer.update(self.root, self._catalogues.values(), packs, self._names)
                self.refresh()

    def prune_catalogue(self) -> None:
        """Drop what catalogues say of packs that do not exist any more, once that is half of one."""
        from mlgit.storage import catalogue_writer  # noqa: PLC0415 - needs numpy, which most runs do not

        self.refresh()
        if any(catalogue_writer.is_worth_pruning(each, self._names) for each in self._catalogues.values()):
            self.write_catalogue()

    def find(self, digest: bytes) -> Located | None:
        """Return one place of an object, or None, after looking for packs that other processes have added.

        Args:
            digest: The 32 bytes of its id.

        Raises:
            CorruptObjectError: The entry found is damaged. A pack that cannot be opened at all is passed over.
            FileSystemError: The operating system refused.
        """
        return self._recent_place(digest) or next(self.copies_anywhere(digest), None)

    def _recent_place(self, digest: bytes) -> Located | None:
        """Look into the packs used last, without the cost of a generator."""
        for pack in self._recent:
            number = pack.find(digest)
            if number is not None:
                return Located(pack, pack.entry(number))
        return None

    def copies_anywhere(self, digest: bytes) -> Iterator[Located]:
        """Yield every place of an object; when none is known, look for packs that other processes have added.

        Raises:
            CorruptObjectError, FileSystemError: As ``find``.
        """
        for _ in range(_LISTINGS):
            found = False
            for located in self.copies(digest):
                found = True
                yield located
            if found or not self.refresh():
                break
        else:
            return
        if not found:
            yield from self.copies(digest)

    def contains(self, digest: bytes) -> bool:
        """Whether an undamaged entry of this object is in a pack that is known; the folder is not listed again."""
        with suppress(CorruptObjectError):
            if self._recent_place(digest) is not None:
                return True
            return next(self.copies(digest), None) is not None
        return False

    def copies(self, digest: bytes) -> Iterator[Located]:
        """Yield every place of an object that is known, the likely ones first.

        Raises:
            CorruptObjectError, FileSystemError: As ``find``.
        """
        recent, seen, is_known = self._recent, set(), False
        for pack in recent:
            number = pack.find(digest)
            if number is not None:
                is_known = True
                yield Located(pack, pack.entry(number))
            seen.add(pack.path.name)
        candidates: list[str] = []
        for name in self._candidates(digest):
            candidates.append(name)
            if name in seen:
                continue
            seen.add(name)
            found = self.open(name)
            number = None if found is None else found.find(digest)
            if found is not None and number is not None:
                self._recent = (found, *recent[: _RECENT_PACKS - 1])
                is_known = True
                yield Located(found, found.entry(number))
        if not is_known:
            self._verify(candidates)

    def _verify(self, names: Iterable[str]) -> None:
        """Compare indexes with their digests, since what is not in them counts; what is wrong is in ``damaged``."""
        with self._lock:
            unverified = [name for name in names if name in self._open and not self._open[name].is_verified]
        for name in unverified:
            self.open_whole(name)

    def _candidates(self, digest: bytes) -> Iterator[str]:
        """Yield the packs an object may be in: named after it, in the catalogue, used of late, not in the catalogue."""
        start = PREFIX + digest.hex()[:HINT_DIGITS]
        with self._lock:
            if not self._is_fresh:  # most of what is asked for is in a catalogue, and then no folder is listed
                self._load_catalogues()
            uncovered, known = self._uncovered, list(self._catalogues.values())
        for place in range(bisect_left(uncovered, start), len(uncovered)):
            if not uncovered[place].startswith(start):
                break
            yield uncovered[place]
        for each in known:
            try:
                yield from each.find(digest)
            except DamagedCatalogueError as damaged:
                self._drop(damaged)
                uncovered = self._uncovered
        with self._lock:
            recent = set(self._open)
        yield from (name for name in uncovered if name in recent)
        yield from uncovered

    def open(self, name: str) -> Pack | None:
        """Return a pack by name, or None when it is gone or damaged."""
        with self._lock:
            pack = self._open.get(name)
            if pack is not None:
                self._open.move_to_end(name)
                return pack
            if name in self._damaged:
                return None
            try:
                pack = self._open[name] = Pack(self.root / name, verify_later=True)
            except FileNotFoundError:
                return None
            except CorruptObjectError as error:
                self._damaged[name] = error
                return None
            if len(self._open) > _OPEN_PACKS:
                self._open.popitem(last=False)
            return pack

    def open_whole(self, name: str) -> Pack | None:
        """Return a pack as ``open``, its whole index compared with its digest."""
        pack = self.open(name)
        if pack is not None and not pack.is_verified:
            try:
                pack.verify()
            except CorruptObjectError as error:
                with self._lock:
                    self._open.pop(name, None)
                    self._recent = tuple(each for each in self._recent if each is not pack)
                    self._damaged[name] = error
                return None
        return pack

    def names(self) -> list[str]:
        """Return the names of all packs there are now, sorted."""
        self.refresh()
        return sorted(self._names)

    def packs(self) -> Iterator[Pack]:
        """Yield all packs that can be opened, by name."""
        return self._opened(self.names())

    def _opened(self, names: Iterable[str]) -> Iterator[Pack]:
        return (pack for name in names if (pack := self.open_whole(name)) is not None)

    def with_prefix(self, prefix: str) -> dict[bytes, str]:
        """Return ids and kinds of all objects whose ids start with these hexadecimal digits, at most 64."""
        self.refresh()
        start = bytes.fromhex(prefix.ljust(64, "0"))
        found: dict[bytes, str] = {}
        for each in list(self._catalogues.values()):
            try:
                for digest, name in each.from_prefix(start):
                    if not digest.hex().startswith(prefix):
                        break
                    pack = None if digest in found else self.open(name)
                    if pack is not None and (number := pack.find(digest)) is not None:
                        found[digest] = pack.kind(number)
            except DamagedCatalogueError as damaged:
                self._drop(damaged)
        return found | _kinds(self._opened(self._uncovered), start, prefix)

    def damaged(self) -> list[CorruptObjectError]:
        """Return what is wrong with the packs that could not be opened since the folder was listed."""
        with self._lock:
            return [self._damaged[name] for name in sorted(self._damaged)]


def _kinds(packs: Iterable[Pack], start: bytes, prefix: str) -> dict[bytes, str]:
    found: dict[bytes, str] = {}
    for pack in packs:
        for number in range(pack.lower_bound(start), pack.object_count):
            if not pack.digest(number).hex().startswith(prefix):
                break
            found[pack.digest(number)] = pack.kind(number)
    return found
