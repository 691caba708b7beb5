"""Find the tracked files of a model directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from mlgit.errors import InvalidInputError
from mlgit.fileio import file_system_error
from mlgit.objects.manifest import check_path
from mlgit.worktree.ignore import PICKLES, ignored

FOLDER = ".mlgit"
TENSOR_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class Stat:
    """What tells without reading whether a file changed.

    Attributes:
        size_bytes: Length.
        mtime_ns: Last change of the content.
        ctime_ns: Last change of anything.
        inode: Which file it is.
    """

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Stat:
        """Return the state of ``path`` now."""
        found = path.lstat()
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not tracked though nothing ignores it.

    Attributes:
        path: Relative to the model directory.
        reason: Why.
    """

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """The files of a model directory.

    Attributes:
        files: Relative path -> state, sorted by path.
        skipped: What stays out, and why.
    """

    files: dict[str, Stat]
    skipped: tuple[Skipped, ...]


def scan(root: Path) -> Scan:
    """Look at every file below ``root`` without reading any.

    Raises:
        InvalidInputError: A name that cannot be tracked, or a repository inside the repository.
        FileSystemError: A directory cannot be read.
    """
    patterns = ignored(root)
    files: dict[str, Stat] = {}
    skipped: list[Skipped] = []
    for entry, path in _walk(root, patterns):
        _check_path(path)
        with suppress(FileNotFoundError):  # gone meanwhile, like the temporary file of a training script
            reason = _why_not(entry, path)
            if reason:
                skipped.append(Skipped(path, reason))
            else:
                files[path] = Stat.of(Path(entry.path))
    return Scan(dict(sorted(files.items())), tuple(sorted(skipped, key=lambda item: item.path)))


def _walk(root: Path, patterns: GitIgnoreSpec) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Yield every entry that is no directory and not ignored, with its relative path, in any order."""
    pending = [root]
    while pending:
        current = pending.pop()
        try:
            with os.scandir(current) as entries:
                found = list(entries)
        except OSError as error:
            raise file_system_error(error, "read", current) from error
        for entry in found:
            path = Path(entry.path).relative_to(root).as_posix()
            if entry.name == FOLDER:
                _refuse_nested(root, current)
            elif entry.is_dir(follow_symlinks=False):
                if not patterns.match_file(path + "/"):
                    pending.append(Path(entry.path))
            elif not patterns.match_file(path):
                yield entry, path


def _check_path(path: str) -> None:
    try:
        check_path(path)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{error.message}: such a file cannot be tracked",
            kind=error.kind,
            hint="rename it, or write a pattern that fits it into .mlgitignore",
        ) from error


def _refuse_nested(root: Path, current: Path) -> None:
    if current != root:
        raise InvalidInputError(
            f"'{current}' is a repository inside the repository '{root}'",
            kind="nested-repository",
            hint=f"move it out, or write '{current.relative_to(root).as_posix()}/' into .mlgitignore",
        )


def _why_not(entry: os.DirEntry[str], path: str) -> str | None:
    """Say why a file is not tracked, or None when it is."""
    if entry.is_symlink():
        return "a symbolic link"
    if not stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
        return "not a regular file"
    if path.lower().endswith(PICKLES):
        return f"a pickle may carry code; bring its weights in with `mlgit import {path}`"
    return None
