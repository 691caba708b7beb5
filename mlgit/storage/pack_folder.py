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
from mlgit.storage.catalogue import PREFIX, SUFFIX, Catalogue
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
"""How many packs may be outside the catalogue before it is written anew; fewer than stay open, so that looking
through them needs no file to be opened twice."""


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
        self._names: list[str] = []
        self._uncovered: list[str] = []
        self._catalogue: Catalogue | None = None
        self._catalogue_signature: tuple[int, int, int] | None = None
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
        try:
            with os.scandir(self.root) as entries:
                names = sorted(entry.name for entry in entries if _PACK_NAME.fullmatch(entry.name))
        except OSError as error:
            raise file_system_error(error, "read", self.root) from error
        with self._lock:
            changed = names != self._names
            self._names = names
            self._damaged.clear()
            for name in set(self._open).difference(names):
                del self._open[name]
            self._recent = tuple(pack for pack in self._recent if pack.path.name in self._open)
            found = catalogue.signature(self.root)
            if found != self._catalogue_signature:
                self._catalogue = Catalogue.load(self.root / catalogue.NAME)
                self._catalogue_signature = found
            covered = self._catalogue.names if self._catalogue else ()
            self._uncovered = sorted(set(names).difference(covered))
            return changed

    def replaced(self, name: str) -> None:
        """Take notice of a pack that this process has just written, perhaps in place of a damaged one."""
        with self._lock:
            self._open.pop(name, None)
            self._recent = tuple(pack for pack in self._recent if pack.path.name != name)
            self._damaged.pop(name, None)
            if name not in self._names:  # new lists, since others may be going through the old ones
                self._names = sorted([*self._names, name])
                self._uncovered = sorted([*self._uncovered, name])
            if len(self._uncovered) > _UNCOVERED:
                self._write_catalogue()

    def _write_catalogue(self) -> None:
        packs = (pack for name in self._uncovered if (pack := self.open(name)) is not None)
        old = self._catalogue or Catalogue(catalogue.build(()))
        with suppress(FileSystemError):  # it only makes things faster
            catalogue.write(self.root, old.extended(packs, set(self._names)))
            self.refresh()

    def find(self, digest: bytes) -> Located | None:
        """Return one place of an object, or None, after looking for packs that other processes have added.

        Args:
            digest: The 32 bytes of its id.

        Raises:
            CorruptObjectError: The entry found is damaged. A pack that cannot be opened at all is passed over.
            FileSystemError: The operating system refused.
        """
        return next(self.copies_anywhere(digest), None)

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
            return next(self.copies(digest), None) is not None
        return False

    def copies(self, digest: bytes) -> Iterator[Located]:
        """Yield every place of an object that is known, the likely ones first.

        Raises:
            CorruptObjectError, FileSystemError: As ``find``.
        """
        recent, seen = self._recent, set()
        for pack in recent:
            number = pack.find(digest)
            if number is not None:
                yield Located(pack, pack.entry(number))
            seen.add(pack.path.name)
        for name in self._candidates(digest):
            if name in seen:
                continue
            seen.add(name)
            found = self.open(name)
            number = None if found is None else found.find(digest)
            if found is not None and number is not None:
                self._recent = (found, *recent[: _RECENT_PACKS - 1])
                yield Located(found, found.entry(number))

    def _candidates(self, digest: bytes) -> Iterator[str]:
        """Yield the packs an object may be in: named after it, in the catalogue, used of late, not in the catalogue."""
        start = PREFIX + digest.hex()[:HINT_DIGITS]
        with self._lock:
            names, uncovered, known = self._names, self._uncovered, self._catalogue
        for place in range(bisect_left(names, start), len(names)):
            if not names[place].startswith(start):
                break
            yield names[place]
        if known is not None:
            yield from known.find(digest)
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
                pack = self._open[name] = Pack(self.root / name)
            except FileNotFoundError:
                return None
            except CorruptObjectError as error:
                self._damaged[name] = error
                return None
            if len(self._open) > _OPEN_PACKS:
                self._open.popitem(last=False)
            return pack

    def names(self) -> list[str]:
        """Return the names of all packs there are now, sorted."""
        self.refresh()
        return self._names

    def packs(self) -> Iterator[Pack]:
        """Yield all packs that can be opened, by name."""
        return self._opened(self.names())

    def _opened(self, names: Iterable[str]) -> Iterator[Pack]:
        return (pack for name in names if (pack := self.open(name)) is not None)

    def with_prefix(self, prefix: str) -> dict[bytes, str]:
        """Return ids and kinds of all objects whose ids start with these hexadecimal digits, at most 64."""
        self.refresh()
        start = bytes.fromhex(prefix.ljust(64, "0"))
        found: dict[bytes, str] = {}
        if self._catalogue is not None:
            for digest, name in self._catalogue.from_prefix(start):
                if not digest.hex().startswith(prefix):
                    break
                found |= _kinds(self._opened([name]), digest, digest.hex())
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
