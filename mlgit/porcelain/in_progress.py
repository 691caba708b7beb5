"""Work that only one process may do at a time, and what a killed one left of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlgit.errors import ConflictError
from mlgit.fileio import file_system_error
from mlgit.storage.lock import FileLock


@contextmanager
def in_progress(
    lock: Path, written: Path, refusal: Callable[[str], ConflictError], *, wait_s: float = 0.0
) -> Iterator[None]:
    """Let no other process do the same work meanwhile.

    Args:
        lock: The file that says who does it; its folder is made when it is missing.
        written: The file that is replaced on the way: what a killed process left half written of it is removed.
        refusal: Makes the error for when another process does it, from words that say who.
        wait_s: How long to wait for that one.

    Raises:
        ConflictError: Another process does.
        FileSystemError: The operating system refused.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_system_error(error, "create", lock.parent) from error
    held = FileLock(lock, timeout_s=wait_s)
    try:
        held.acquire()
    except ConflictError as error:
        raise refusal(error.message) from error
    try:
        for leftover in written.parent.glob(f".{written.name}.*.tmp"):
            leftover.unlink(missing_ok=True)
        yield
    finally:
        held.release()
