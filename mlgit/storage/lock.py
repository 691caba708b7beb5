"""A lock that is a file, works between hosts, and outlives nobody.

The file is created exclusively and names its owner. A lock whose owner has died on this host is recognised and
broken, so nobody has to remove a file by hand after a crash. A lock of another host is never broken.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from mlgit.errors import ConflictError, InvalidInputError
from mlgit.fileio import file_system_error
from mlgit.storage.owner import Owner

EMPTY_GRACE_S = 60.0
"""A lock without content is broken after this time where the file system has no ``flock`` to tell its owner died."""


_held_here: set[tuple[int, int]] = set()
"""Locks this process holds, by device and inode; a file that names this process and is none of them was given up."""


class FileLock:
    """Holds a lock file while its block runs.

    Args:
        path: The lock file, ``main.lock``; its directory must exist.
        timeout_s: How long to wait for another holder, in seconds.

    Raises:
        ConflictError, FileNotFoundError, FileSystemError: On entry, as ``acquire``.
    """

    def __init__(self, path: Path, *, timeout_s: float = 10.0) -> None:
        self.path = path
        self.timeout_s = timeout_s
        self.recovered = False
        """Whether the lock of a dead process was broken to get this one."""
        self._identity: tuple[int, int] | None = None

    def acquire(self) -> Self:
        """Take the lock.

        Raises:
            ConflictError: Still held when the time is over; the message names the holder.
            FileNotFoundError: The lock file's directory does not exist.
            FileSystemError: The operating system refused.
        """
        deadline = time.monotonic() + self.timeout_s
        pause = 0.001
        try:
            while not self._try_once():
                if time.monotonic() >= deadline:
                    raise self._held()
                import random  # noqa: PLC0415 - few have to wait

                time.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 1.5, 0.05)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise file_system_error(error, "lock", self.path) from error
        return self

    def release(self) -> None:
        """Remove the lock file, if it still is this lock's.

        Raises:
            FileSystemError: The operating system refused; this process can take the lock again, others can when it
                has ended.
        """
        identity, self._identity = self._identity, None
        if identity is None:
            return
        _held_here.discard(identity)
        try:
            if identity == _identity_at(self.path):
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise file_system_error(error, "unlock", self.path) from error

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _try_once(self, attempts: int = 5) -> bool:
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except FileExistsError:
            if attempts == 0 or not break_if_stale(self.path):
                return False
            self.recovered = True
            return self._try_once(attempts - 1)
        try:
            self._identity = _identity(os.fstat(descriptor))
            _held_here.add(self._identity)
            _flock(descriptor)  # a process that found the file empty may be about to break it
            if self._identity != _identity_at(self.path):
                self.release()
                return False
            os.write(descriptor, Owner.current().encode().encode())
        except BaseException:
            self.release()
            raise
        finally:
            os.close(descriptor)
        return True

    def _held(self) -> ConflictError:
        try:
            holder = str(Owner.decode(self.path.read_text("utf-8", "replace")))
        except (OSError, InvalidInputError):
            holder = "another process"
        return ConflictError(
            f"'{self.path}' is held by {holder}",
            kind="locked",
            hint="try again when it has ended; if it does not exist any more, remove the file",
        )


def break_if_stale(path: Path) -> bool:
    """Remove a lock file whose owner has died.

    The file is removed only while this process holds ``flock`` on it and after a check that the name still leads to
    it; a second process that judged the same file then finds another one, or none.

    Args:
        path: The lock file.

    Returns:
        Whether the name is free, as far as is known.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        exclusive = _flock(descriptor)
        status = os.fstat(descriptor)
        if _identity(status) != _identity_at(path):
            return True
        content = os.read(descriptor, 4096).decode("utf-8", "replace")
        abandoned = _is_own(content) and _identity(status) not in _held_here
        if not abandoned and not _is_stale(content, exclusive=exclusive, age_s=time.time() - status.st_mtime):
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)


def _is_stale(content: str, *, exclusive: bool, age_s: float) -> bool:
    try:
        return Owner.decode(content).is_dead
    except InvalidInputError:  # its owner died before it wrote its name
        return exclusive or age_s > EMPTY_GRACE_S


def _is_own(content: str) -> bool:
    return content == Owner.current().encode()


def _flock(descriptor: int) -> bool:
    """Lock an open file against other processes of this host; False where the file system cannot."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _identity_at(path: Path) -> tuple[int, int] | None:
    try:
        return _identity(path.stat())
    except FileNotFoundError:
        return None
