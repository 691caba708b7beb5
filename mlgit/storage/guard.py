"""Who relies on stored objects right now, so that none is collected from under a writer.

A writer leaves a file of its own in the folder of guards before it looks at what is stored, and removes it when a name
leads to what it wrote. A collector creates one file there before it looks for those of writers. Each writes before it
looks, and both look into the folder they write to, so at least one of two that meet sees the other: the writer then
steps back until the collector is done, which takes as long as removing files does. Why this is enough is told in
``docs/decisions/0010-garbage-collection.md``.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlgit.errors import ConflictError, InvalidInputError, MlgitError
from mlgit.fileio import file_system_error
from mlgit.storage.directories import make_directories
from mlgit.storage.lock import FileLock, break_if_stale
from mlgit.storage.owner import Owner

FOLDER = "guards"
_COLLECTOR = "collector.lock"
_PAUSE_S = 0.005


class Guard:
    """Keeps collectors away from writers, over any number of processes. Safe for use by several threads.

    Args:
        root: The folder of packs; the files are in a folder below it.
        timeout_s: How long a writer waits for a collector, in seconds.
    """

    def __init__(self, root: Path, *, timeout_s: float = 60.0) -> None:
        self.folder = root / FOLDER
        self.timeout_s = timeout_s
        self._change = threading.RLock()
        self._file: FileLock | None = None
        self._holders = 0
        self._pid = os.getpid()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """While the block runs, nothing is collected; blocks may be nested.

        Raises:
            ConflictError: A collector was at work all the time (kind ``locked``).
            FileSystemError: The operating system refused.
        """
        self._enter()
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def excluding(self, *, timeout_s: float) -> Iterator[None]:
        """While the block runs, no other process relies on anything that no name leads to.

        Args:
            timeout_s: How long to wait for writers, in seconds; new ones wait meanwhile.

        Raises:
            ConflictError: A writer was at work all the time; the message names it (kind ``locked``).
            FileSystemError: The operating system refused.
        """
        self._make_folder()
        deadline = time.monotonic() + timeout_s
        with FileLock(self.folder / _COLLECTOR, timeout_s=timeout_s):
            while writers := self._writers():
                if time.monotonic() >= deadline:
                    raise _busy(writers[0])
                time.sleep(_PAUSE_S)
            yield

    def _enter(self) -> None:
        with self._change:
            if self._pid != os.getpid():  # a fork took the file of its parent along
                self._pid, self._holders, self._file = os.getpid(), 0, None
            if self._holders == 0:
                self._file = self._acquire()
            self._holders += 1

    def _leave(self) -> None:
        with self._change:
            if self._pid != os.getpid():
                return
            self._holders -= 1
            if self._holders == 0 and self._file is not None:
                file, self._file = self._file, None
                with suppress(MlgitError):  # it says that this process is at work until it ends
                    file.release()

    def _acquire(self) -> FileLock:
        self._make_folder()
        collector = self.folder / _COLLECTOR
        deadline = time.monotonic() + self.timeout_s
        while True:
            file = FileLock(self.folder / f"{os.urandom(8).hex()}.lock").acquire()
            try:
                if not collector.exists() or self._broken(collector):
                    self._writers()  # removes what killed writers left
                    return file
            except BaseException:
                file.release()
                raise
            file.release()
            if time.monotonic() >= deadline:
                raise _busy(collector)
            time.sleep(_PAUSE_S)

    def _make_folder(self) -> None:
        try:
            make_directories(self.folder, self.folder.parent)
        except OSError as error:
            raise file_system_error(error, "create", self.folder) from error

    def _broken(self, path: Path) -> bool:
        try:
            return break_if_stale(path)
        except OSError as error:
            raise file_system_error(error, "unlock", path) from error

    def _writers(self) -> list[Path]:
        """Return the files of writers that live, or of which that cannot be known; remove the others."""
        try:
            found = [path for path in sorted(self.folder.glob("*.lock")) if path.name != _COLLECTOR]
        except OSError as error:
            raise file_system_error(error, "read", self.folder) from error
        own = self._file.path if self._file is not None else None
        return [path for path in found if path == own or not self._broken(path)]


def _busy(path: Path) -> ConflictError:
    try:
        holder = str(Owner.decode(path.read_text("utf-8", "replace")))
    except (OSError, InvalidInputError):
        holder = "another process"
    return ConflictError(
        f"{holder} is at work in '{path.parent.parent}'",
        kind="locked",
        hint=f"try again when it has ended; if it does not exist any more, remove '{path}'",
    )
