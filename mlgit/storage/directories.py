"""Folders that survive a power cut, and the files below them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from mlgit.fileio import file_system_error, sync_directory

_ATTEMPTS = 20


def make_directories(path: Path, root: Path) -> None:
    """Make a folder and those above it, below ``root``, and sync every new name.

    Args:
        path: The folder; it may exist.
        root: An existing folder above it.

    Raises:
        FileExistsError: A file stands where a folder is needed; NotADirectoryError means the same.
        FileSystemError: The operating system refused.
    """
    try:
        for attempt in range(_ATTEMPTS):
            try:
                _make(path, root)
            except FileNotFoundError:  # somebody removed an empty folder above it meanwhile
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return
    except (FileExistsError, NotADirectoryError):
        raise
    except OSError as error:
        raise file_system_error(error, "create", path) from error


def _make(path: Path, root: Path) -> None:
    missing = []
    while path != root and not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        try:
            folder.mkdir()
        except FileExistsError:
            if not folder.is_dir():
                raise
        sync_directory(folder.parent)


def files_below(folder: Path, root: Path) -> Iterator[str]:
    """Yield the paths of all files below ``folder``, relative to ``root`` with ``/``; hidden ones are left out."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        start = Path(place).relative_to(root).as_posix()
        yield from (f"{start}/{name}" for name in files if not name.startswith("."))


def remove_empty(folder: Path) -> bool:
    """Remove a folder that holds nothing but empty folders; say whether it is gone.

    Raises:
        FileSystemError: The operating system refused for another reason than content.
    """
    for place, _, files in os.walk(folder, topdown=False):
        if files:
            return False
        try:
            Path(place).rmdir()
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):  # somebody put something there meanwhile
                return False
            raise file_system_error(error, "remove", Path(place)) from error
    return True
