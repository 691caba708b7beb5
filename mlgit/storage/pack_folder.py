"""All packs of a database: which exist, which are open, and in which one an object lies."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mlgit.errors import CorruptObjectError
from mlgit.fileio import file_system_error
from mlgit.storage.located import Located
from mlgit.storage.pack import Pack

PREFIX, SUFFIX = "pack-", ".pack"
HINT_DIGITS = 16
_OPEN_PACKS = 128


def pack_name(main: bytes, index_digest: bytes) -> str:
    """Return the file name of a pack.

    Args:
        main: Id of the object that is looked for first: the commit, if there is one.
        index_digest: Digest of the index, so that equal content has an equal name.
    """
    return f"{PREFIX}{main.hex()[:HINT_DIGITS]}{index_digest.hex()[:HINT_DIGITS]}{SUFFIX}"


def _is_pack(name: str) -> bool:
    return name.startswith(PREFIX) and name.endswith(SUFFIX)


class PackFolder:
    """The packs in one folder, those of other processes included.

    Packs never change. They come while others write, which a miss notices, and go when ``gc`` or ``repack`` ends,
    which opening one notices. Safe for use by several threads.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.RLock()
        self._names: dict[str, None] = {}
        self._hints: dict[str, list[str]] = {}
        self._open: OrderedDict[str, Pack] = OrderedDict()
        self._damaged: dict[str, CorruptObjectError] = {}

    def refresh(self) -> list[str]:
        """List the folder again and return the names that are new.

        Raises:
            FileSystemError: The operating system refused.
        """
        try:
            with os.scandir(self.root) as entries:
                names = [name for entry in entries if _is_pack(name := entry.name)]
        except OSError as error:
            raise file_system_error(error, "read", self.root) from error
        with self._lock:
            for name in (*set(self._names).difference(names), *self._damaged):
                self._forget(name)  # a damaged one may have been mended meanwhile
            new = sorted(set(names).difference(self._names))
            for name in new:
                self._names[name] = None
                self._hints.setdefault(name[len(PREFIX) :][:HINT_DIGITS], []).append(name)
        return new

    def replaced(self, name: str) -> None:
        """Take notice of a pack that this process has just written, perhaps in place of a damaged one."""
        with self._lock:
            if name in self._names:
                self._forget(name)
            self.refresh()

    def _forget(self, name: str) -> None:
        if name in self._names:
            del self._names[name]
            self._hints[name[len(PREFIX) :][:HINT_DIGITS]].remove(name)
        self._open.pop(name, None)
        self._damaged.pop(name, None)

    def find(self, digest: bytes, *, refresh: bool = True) -> Located | None:
        """Return one place of an object, or None.

        Args:
            digest: The 32 bytes of its id.
            refresh: On a miss, look for packs that other processes have added.

        Raises:
            CorruptObjectError: The entry found is damaged. A pack that cannot be opened at all is passed over.
        """
        found = next(self.copies(digest), None)
        if found is None and refresh:
            found = next(self._search(self.refresh(), digest), None)
        return found

    def contains(self, digest: bytes) -> bool:
        """Whether an undamaged entry of this object is in a pack that is known."""
        with suppress(CorruptObjectError):
            return self.find(digest, refresh=False) is not None
        return False

    def copies(self, digest: bytes) -> Iterator[Located]:
        """Yield every place of an object that is known."""
        with self._lock:
            likely = list(self._hints.get(digest.hex()[:HINT_DIGITS], ()))
            recent = list(reversed(self._open))
            names = dict.fromkeys((*likely, *recent, *self._names))
        yield from self._search(names, digest)

    def _search(self, names: Iterator[str] | list[str] | dict[str, None], digest: bytes) -> Iterator[Located]:
        for name in names:
            pack = self.open(name)
            number = None if pack is None else pack.find(digest)
            if pack is not None and number is not None:
                with self._lock:
                    if name in self._open:
                        self._open.move_to_end(name)
                yield Located(pack, pack.entry(number))

    def open(self, name: str) -> Pack | None:
        """Return a pack by name, or None when it is gone or damaged."""
        with self._lock:
            pack = self._open.get(name)
            if pack is not None or name in self._damaged:
                return pack
            try:
                pack = Pack(self.root / name)
            except FileNotFoundError:
                return None
            except CorruptObjectError as error:
                self._damaged[name] = error
                return None
            self._open[name] = pack
            if len(self._open) > _OPEN_PACKS:
                self._open.popitem(last=False)
            return pack

    def names(self) -> list[str]:
        """Return the names of all packs there are now, sorted."""
        self.refresh()
        return sorted(self._names)

    def packs(self) -> Iterator[Pack]:
        """Yield all packs that can be opened, by name."""
        for name in self.names():
            pack = self.open(name)
            if pack is not None:
                yield pack

    def damaged(self) -> list[CorruptObjectError]:
        """Return what is wrong with the packs that could not be opened so far."""
        with self._lock:
            return [self._damaged[name] for name in sorted(self._damaged)]
