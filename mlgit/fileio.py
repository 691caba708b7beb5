"""Files written so that a crash leaves the old content or the new one, never half of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mlgit.errors import FileSystemError, InvalidInputError

_HINTS = {
    errno.ENOSPC: "free some space and run the command again",
    errno.EDQUOT: "free some of your quota and run the command again",
    errno.EROFS: "the file system is read-only: work on a copy, or remount it",
    errno.EACCES: "check the permissions of the path",
    errno.EPERM: "check the permissions of the path",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
}


def random_hex() -> str:
    """Return twelve hexadecimal digits for a name that nobody else has; ``secrets`` would import half of OpenSSL."""
    return os.urandom(6).hex()


def file_system_error(error: OSError, doing: str, path: Path) -> FileSystemError:
    """Turn an OSError into the error a user should see.

    Args:
        error: What the operating system said.
        doing: What was tried, as in ``cannot {doing} {path}``: ``write``, ``read``.
        path: Where.

    Returns:
        An error with the path, the reason and what to do; raise it from ``error``.
    """
    reason = (error.strerror or str(error)).lower()
    return FileSystemError(
        f"cannot {doing} '{path}': {reason}",
        hint=_HINTS.get(error.errno or 0, "nothing was changed; run the command again when the cause is gone"),
    )


def sync_directory(path: Path) -> None:
    """Make renames and new names in ``path`` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (
            errno.EINVAL,
            errno.ENOTSUP,
        ):  # file systems that cannot sync a directory say so
            raise
    finally:
        os.close(descriptor)


def write_at(descriptor: int, start: int, offset: int, data: memoryview) -> None:
    """Write bytes at a place of an open file, whole.

    Args:
        descriptor: The file.
        start: Where something begins in the file.
        offset: Where the bytes belong, counted from there.
        data: The bytes.

    Raises:
        OSError: The operating system refused.
    """
    place = start + offset
    while data:
        count = os.pwrite(descriptor, data, place)
        data, place = data[count:], place + count


def read_at(descriptor: int, start: int, offset: int, target: memoryview) -> None:
    """Fill a buffer with the bytes at a place of an open file.

    Args:
        descriptor: The file.
        start: Where something begins in the file.
        offset: Where the bytes stand, counted from there.
        target: Writable; filled whole.

    Raises:
        InvalidInputError: The file ends before that: it was cut while it was read (kind ``file-changed``).
        OSError: The operating system refused.
    """
    place = start + offset
    while target:
        count = os.preadv(descriptor, [target], place)
        if not count:
            raise InvalidInputError(f"a file ends at byte {place}, in the middle of a tensor", kind="file-changed")
        target, place = target[count:], place + count


@contextmanager
def replacing(path: Path, *, durable: bool = True, temporary_name: str | None = None) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` when the block ends well, and vanishes otherwise.

    Args:
        path: The final name; its directory must exist.
        durable: Sync file and directory before and after the rename, so that a power cut cannot undo it.
        temporary_name: What to call the file until then; by default a random name.

    Yields:
        A binary file, writable and readable.

    Raises:
        FileSystemError: The operating system refused; ``path`` is as it was.
    """
    temporary = path.with_name(temporary_name or f".{path.name[:100]}.{random_hex()}.tmp")
    try:
        try:
            with temporary.open("x+b") as stream:
                yield stream
                stream.flush()
                if durable:
                    os.fsync(stream.fileno())
            is_new = not os.path.lexists(path)
            temporary.replace(path)
            if durable:
                _sync_name(path, is_new=is_new)
        except OSError as error:
            raise file_system_error(error, "write", path) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_name(path: Path, *, is_new: bool) -> None:
    """Make a name survive a power cut; where that is refused, a new name goes again."""
    try:
        sync_directory(path.parent)
    except OSError:
        if is_new:
            with suppress(OSError):
                path.unlink()
        raise


def write_file(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace the content of ``path``, a small file, by ``data`` at once.

    Raises:
        FileSystemError: The operating system refused; ``path`` is as it was.
    """
    try:
        before = path.read_bytes() if durable else None
    except OSError:
        before = None
    try:
        with replacing(path, durable=durable) as stream:
            stream.write(data)
    except FileSystemError:
        if durable:
            _put_back(path, before)
        raise


def _put_back(path: Path, before: bytes | None) -> None:
    """Undo a replacement that was made and then could not be synced."""
    with suppress(OSError, FileSystemError):
        if before is None:
            path.unlink(missing_ok=True)
        elif path.read_bytes() != before:
            write_file(path, before, durable=False)


def read_file(path: Path) -> bytes:
    """Return the content of ``path``.

    Raises:
        FileSystemError: The operating system refused. A missing file raises FileNotFoundError as usual.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise file_system_error(error, "read", path) from error
