"""Put a manifest's files into the model directory: all of them, or none."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

from mlgit.errors import ConflictError
from mlgit.fileio import file_system_error, sync_directory, write_at
from mlgit.interrupts import held_back
from mlgit.objects import BlobFile, Manifest, ObjectId, TensorFile
from mlgit.progress import NoProgress, Progress
from mlgit.repository import Repository
from mlgit.storage.journal import STAGING
from mlgit.storage.ref_values import HEAD
from mlgit.worktree.index import write_index
from mlgit.worktree.journal import away_name, journaled, plan
from mlgit.worktree.scan import Stat
from mlgit.worktree.snapshot import stored_header


def write_file_of(repository: Repository, manifest: Manifest, file: TensorFile | BlobFile, destination: Path) -> None:
    """Write one committed file, byte for byte as it was committed.

    Args:
        repository: Where the objects are.
        manifest: The state that holds the file.
        file: Which file.
        destination: A path that does not exist yet.

    Raises:
        CorruptObjectError: A stored object is damaged; the destination must be thrown away.
        FileSystemError: The operating system refused.
    """
    try:
        with destination.open("xb", buffering=0) as stream:
            if isinstance(file, BlobFile):
                repository.objects.write_all(stream.fileno(), [(file.id, 0, file.size_bytes)])
            else:
                _write_tensors(repository, manifest, file, stream.fileno())
            os.fsync(stream.fileno())
    except OSError as error:
        raise file_system_error(error, "write", destination) from error


def _write_tensors(repository: Repository, manifest: Manifest, file: TensorFile, descriptor: int) -> None:
    header = stored_header(repository, manifest, file)
    write_at(descriptor, 0, 0, memoryview(header.prefix))
    start = header.data_offset
    repository.objects.write_all(
        descriptor,
        ((manifest.tensors[entry.name].id, start + entry.start, entry.end - entry.start) for entry in header.entries),
    )


def checkout(
    repository: Repository,
    manifest: Manifest,
    *,
    paths: Iterable[str],
    remove: Iterable[str] = (),
    then: Callable[[], None] | None = None,
    deciding: str = HEAD,
    created: Mapping[str, ObjectId] = MappingProxyType({}),
    progress: Progress | None = None,
) -> None:
    """Write the named files of a manifest and remove others; on any error the directory is as it was.

    All contents are written and verified beside the destination first; only then are files renamed into place. A
    process that is killed between the renames leaves a journal, by which the next one takes them back.

    Args:
        repository: Where; the caller holds its worktree lock.
        manifest: The state to take files from.
        paths: Which of its files to write.
        remove: Relative paths to remove.
        then: Called when the files are in place; when it raises, they are put back. Moves the ref that goes with them.
        deciding: The ref that ``then`` moves, last of all it does to refs: by that a killed process is judged.
        created: Refs that ``then`` creates before.
        progress: Is told of files.

    Raises:
        CorruptObjectError: A stored object is damaged.
        ConflictError: A directory stands where a file must go, or a link on the way.
        FileSystemError: The operating system refused.
    """
    wanted, gone = set(paths), set(remove)
    files = [file for file in manifest.files if file.path in wanted]
    with _staging(repository) as staging:
        moves: list[tuple[Path, Path]] = []
        with (progress or NoProgress()).task("writing", len(files)) as bar:
            for number, file in enumerate(files):
                _check_way(repository.root, file.path, gone)
                write_file_of(repository, manifest, file, staging / f"new-{number}")
                moves.append((staging / f"new-{number}", repository.root / file.path))
                bar.advance(1, file.path)
        removals = [repository.root / path for path in gone]
        steps = plan(staging, moves, removals, None if then is None else deciding, created)
        with held_back(), journaled(repository.journal, steps):
            _swap(_Swap(staging), moves, removals, then)
    remove_empty_directories(repository.root, gone)


@contextmanager
def _staging(repository: Repository) -> Iterator[Path]:
    """Make a private directory on the same file system, and remove it afterwards.

    Others like it were left by processes that were killed: the caller holds the worktree lock.
    """
    staging = repository.folder / f"{STAGING}{secrets.token_hex(6)}"
    try:
        for leftover in repository.folder.glob(f"{STAGING}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        staging.mkdir()
    except OSError as error:
        raise file_system_error(error, "write", staging) from error
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_way(root: Path, path: str, gone: Collection[str]) -> None:
    """Refuse to write through a link, or over a file or directory that stays."""
    place = root / path
    for parent in reversed(place.relative_to(root).parents[:-1]):
        there = root / parent
        if there.is_symlink() or (there.exists() and not there.is_dir() and parent.as_posix() not in gone):
            raise _in_the_way(there)
    if _is_directory(place) and any(
        found.relative_to(root).as_posix() not in gone for found in place.rglob("*") if not _is_directory(found)
    ):
        raise _in_the_way(place)


def _is_directory(place: Path) -> bool:
    return place.is_dir() and not place.is_symlink()


def _in_the_way(place: Path) -> ConflictError:
    return ConflictError(
        f"'{place}' is in the way of the files to be written", kind="path-in-the-way", hint="move it away"
    )


class _Swap:
    """Moves that can be undone.

    Args:
        staging: Takes what is moved away.
    """

    def __init__(self, staging: Path) -> None:
        self.staging = staging
        self._undo: list[Callable[[], object]] = []
        self._away = 0

    def move(self, source: Path, destination: Path) -> None:
        """Rename a file or directory."""
        source.rename(destination)
        self._undo.append(lambda: destination.rename(source))

    def away(self, place: Path) -> None:
        """Move what stands at ``place`` out of the way, if anything does."""
        if place.is_symlink() or place.exists():
            self.move(place, self.staging / away_name(self._away))
            self._away += 1

    def make_directories(self, path: Path) -> None:
        """Create a directory and those above it that are missing."""
        missing = [directory for directory in (path, *path.parents) if not directory.exists()]
        for directory in reversed(missing):
            directory.mkdir()
            self._undo.append(directory.rmdir)

    def undo(self) -> None:
        """Take all of it back, the last step first."""
        for step in reversed(self._undo):
            with suppress(OSError):
                step()


def _swap(swap: _Swap, moves: list[tuple[Path, Path]], removals: list[Path], then: Callable[[], None] | None) -> None:
    """Rename new files into place and old ones away; undo it all when one step fails."""
    try:
        for place in removals:
            swap.away(place)
        for source, destination in moves:
            swap.away(destination)  # a directory here holds no files any more: _check_way has seen to it
            swap.make_directories(destination.parent)
            swap.move(source, destination)
        for directory in {place.parent for place in [*removals, *(destination for _, destination in moves)]}:
            if directory.is_dir():
                sync_directory(directory)
        if then is not None:
            then()
    except BaseException as error:
        swap.undo()
        if isinstance(error, OSError):
            raise file_system_error(error, "move files into", swap.staging.parent.parent) from error
        raise


def remove_empty_directories(root: Path, removed: Iterable[str]) -> None:
    """Remove the directories that became empty when files went, up to but without ``root``."""
    for path in removed:
        directory = (root / path).parent
        while directory != root:
            try:
                directory.rmdir()
            except OSError:
                break
            directory = directory.parent


def remember(
    repository: Repository,
    manifest: Manifest,
    paths: Iterable[str] | None = None,
    *,
    seen: Mapping[str, Stat] | None = None,
) -> None:
    """Write the index: the working files equal ``manifest`` (or those of ``paths`` do).

    Args:
        repository: Where.
        manifest: The state.
        paths: The files that have it; None for all.
        seen: States of files that were read and not written, at the time of reading.
    """
    states = dict(seen or {})
    for path in {file.path for file in manifest.files} if paths is None else paths:
        if path not in states:
            with suppress(OSError):
                states[path] = Stat.of(repository.root / path)
    write_index(repository, manifest.id, states)
