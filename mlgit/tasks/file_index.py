"""Digests of files, remembered by size, times and inode so that unchanged files are not read again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from mlgit.errors import FileSystemError, InvalidInputError
from mlgit.fileio import file_system_error, replacing
from mlgit.progress import NoProgress, Progress
from mlgit.tasks.decoding import opened

_PART = 2**20
_SETTLED_NS = 2_000_000_000
"""A file changed so shortly before it was read could change again without another time: it is read again."""
_STAMP = 4  # size, modified, changed, inode


@dataclass(frozen=True, slots=True)
class File:
    """What is known of one file.

    Attributes:
        digest: BLAKE3 of its bytes, hexadecimal; empty when there is no such file.
        problem: Why it is no image, or None. Only its beginning was looked at.
    """

    digest: str
    problem: str | None = None


class FileIndex:
    """Reads files, and remembers what it read.

    Args:
        root: Directory of the data.
        memory: Folder for what is remembered, or None to remember nothing. It may be deleted at any time.
        progress: Is told of files.
    """

    def __init__(self, root: Path, memory: Path | None = None, progress: Progress | None = None) -> None:
        self._root = root
        place = blake3(os.fsencode(root.resolve())).hexdigest()[:32]
        self._file = None if memory is None else memory / f"{place}.files.npz"
        self._progress = progress or NoProgress()

    def read(self, paths: Sequence[str], *, afresh: bool = False) -> list[File]:
        """Return what is known of each file, reading those that are new or have changed.

        Args:
            paths: Relative to the root.
            afresh: Read all files, whatever is remembered.
        """
        known = {} if afresh else self._remembered()
        stamps = [_stamp(self._root / path) for path in paths]
        found: list[File | None] = [
            known[path][1] if path in known and known[path][0] == stamp else None
            for path, stamp in zip(paths, stamps, strict=True)
        ]
        wanted = [row for row, file in enumerate(found) if file is None]
        if wanted:
            started_ns = time.time_ns()
            for row, file in zip(wanted, self._all_read([paths[row] for row in wanted]), strict=True):
                found[row] = file
            kept = [row for row in range(len(paths)) if _is_settled(stamps[row], started_ns)]
            self._remember([(paths[row], stamps[row], found[row]) for row in kept])
        return [file for file in found if file is not None]

    def _all_read(self, paths: Sequence[str]) -> Iterator[File]:
        with (
            ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
            self._progress.task("hashing files", len(paths)) as bar,
        ):
            rest = iter(paths)
            while part := list(islice(rest, 1024)):
                for file in pool.map(self._read, part):
                    bar.advance()
                    yield file

    def _read(self, path: str) -> File:
        problem = None
        try:
            with opened(self._root / path):
                pass
        except InvalidInputError as error:
            problem = error.message
        return File(_digest(self._root / path), problem)

    def _remembered(self) -> dict[str, tuple[tuple[int, ...], File]]:
        if self._file is None:
            return {}
        try:
            with self._file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                paths = arrays["paths"].tobytes().decode("utf-8").split("\n")
                stamps, digests = arrays["stamps"].tolist(), arrays["digests"]
        except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile):
            return {}
        if not len(paths) == len(stamps) == len(digests):
            return {}
        hexadecimal = digests.tobytes().hex()
        return {
            path: (tuple(stamp), File(hexadecimal[64 * row : 64 * row + 64]))
            for row, (path, stamp) in enumerate(zip(paths, stamps, strict=True))
        }

    def _remember(self, rows: Sequence[tuple[str, tuple[int, ...], File | None]]) -> None:
        """Write down the files that are images; to remember is an advantage, not a duty."""
        good = [(path, stamp, file) for path, stamp, file in rows if file is not None and file.problem is None]
        if self._file is None or not good:
            return
        text = "\n".join(path for path, _, _ in good).encode("utf-8")
        arrays: dict[str, NDArray[np.generic]] = {
            "paths": np.frombuffer(text, np.uint8),
            "stamps": np.array([stamp for _, stamp, _ in good], np.uint64).reshape(-1, _STAMP),
            "digests": np.frombuffer(bytes.fromhex("".join(file.digest for _, _, file in good)), np.uint8).reshape(
                -1, 32
            ),
        }
        with suppress(FileSystemError, OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self._file, durable=False) as stream:
                np.savez(stream, allow_pickle=False, **arrays)


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_size, max(status.st_mtime_ns, 0), max(status.st_ctime_ns, 0), status.st_ino


def _is_settled(stamp: tuple[int, ...], read_ns: int) -> bool:
    return bool(stamp) and stamp[1] + _SETTLED_NS < read_ns


def _digest(path: Path) -> str:
    state = blake3()
    try:
        with path.open("rb") as stream:
            while part := stream.read(_PART):
                state.update(part)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise file_system_error(error, "read", path) from error
    return state.hexdigest()
