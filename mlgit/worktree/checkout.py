"""Put a manifest's files into the model directory: all of them, or none."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlgit.errors import ConflictError
from mlgit.fileio import file_system_error, sync_directory
from mlgit.objects import BlobFile, Manifest, TensorFile
from mlgit.progress import NoProgress, Progress
from mlgit.repository import Repository
from mlgit.worktree.index import write_index
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
        with destination.open("xb") as stream:
            for part in _parts(repository, manifest, file):
                stream.write(part)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise file_system_error(error, "write", destination) from error


def _parts(
    repository: Repository, manifest: Manifest, file: TensorFile | BlobFile
) -> Iterator[bytes | bytearray | memoryview]:
    if isinstance(file, BlobFile):
        yield from repository.objects.stream(file.id)
        return
    header = stored_header(repository, file)
    yield len(header.raw).to_bytes(8, "little")
    yield header.raw
    for entry in header.entries:
        yield from repository.objects.stream(manifest.tensors[entry.name].id)


def checkout(
    repository: Repository,
    manifest: Manifest,
    *,
    paths: Iterable[str],
    remove: Iterable[str] = (),
    then: Callable[[], None] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the named files of a manifest and remove others; on any error the directory is as it was.

    All contents are written and verified beside the destination first; only then are files renamed into place.

    Args:
        repository: Where; the caller holds its worktree lock.
        manifest: The state to take files from.
        paths: Which of its files to write.
        remove: Relative paths to remove.
        then: Called when the files are in place; when it raises, they are put back. Moves the ref that goes with them.
        progress: Is told of files.

    Raises:
        CorruptObjectError: A stored object is damaged.
        ConflictError: A directory stands where a file must go, or a link on the way.
        FileSystemError: The operating system refused.
    """
    wanted = set(paths)
    files = [file for file in manifest.files if file.path in wanted]
    with _staging(repository) as staging:
        moves: list[tuple[Path, Path]] = []
        with (progress or NoProgress()).task("writing", len(files)) as bar:
            for number, file in enumerate(files):
                _check_way(repository.root, file.path)
                write_file_of(repository, manifest, file, staging / f"new-{number}")
                moves.append((staging / f"new-{number}", repository.root / file.path))
                bar.advance(1, file.path)
        _swap(moves, [repository.root / path for path in remove], staging, then)
    remove_empty_directories(repository.root, remove)


@contextmanager
def _staging(repository: Repository) -> Iterator[Path]:
    """Make a private directory on the same file system, and remove it afterwards."""
    staging = repository.folder / f"staging-{secrets.token_hex(6)}"
    try:
        staging.mkdir()
    except OSError as error:
        raise file_system_error(error, "write", staging) from error
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_way(root: Path, path: str) -> None:
    """Refuse to write through a link or over a directory."""
    place = root / path
    for parent in reversed(place.relative_to(root).parents[:-1]):
        if (root / parent).is_symlink() or (root / parent).is_file():
            raise ConflictError(
                f"'{root / parent}' is in the way of '{path}'", kind="path-in-the-way", hint="move it away"
            )
    if place.is_dir() and not place.is_symlink():
        raise ConflictError(
            f"the directory '{place}' is in the way of a file", kind="path-in-the-way", hint="move it away"
        )


def _swap(moves: list[tuple[Path, Path]], removals: list[Path], staging: Path, then: Callable[[], None] | None) -> None:
    """Rename new files into place and old ones away; undo it all when one step fails."""
    done: list[tuple[Path, Path]] = []  # (where it is now, where it was)
    try:
        _move_all(moves, removals, staging, done)
        if then is not None:
            then()
    except BaseException as error:
        for now, before in reversed(done):
            with suppress(FileNotFoundError):
                now.rename(before)
        if isinstance(error, OSError):
            raise file_system_error(error, "move files into", staging.parent.parent) from error
        raise


def _move_all(
    moves: list[tuple[Path, Path]], removals: list[Path], staging: Path, done: list[tuple[Path, Path]]
) -> None:
    """Do the renames, writing each into ``done`` before it is made: an interrupt may arrive between the two."""

    def move(source: Path, destination: Path) -> None:
        done.append((destination, source))
        source.rename(destination)

    for number, place in enumerate([*removals, *(destination for _, destination in moves)]):
        if place.is_symlink() or place.exists():
            move(place, staging / f"old-{number}")
    for source, destination in moves:
        destination.parent.mkdir(parents=True, exist_ok=True)
        move(source, destination)
    for directory in {place.parent for place in [*removals, *(destination for _, destination in moves)]}:
        if directory.is_dir():
            sync_directory(directory)


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


def remember(repository: Repository, manifest: Manifest, paths: Iterable[str] | None = None) -> None:
    """Write the index: the working files equal ``manifest`` (or those of ``paths`` do)."""
    wanted = {file.path for file in manifest.files} if paths is None else set(paths)
    states = {}
    for path in wanted:
        with suppress(OSError):
            states[path] = Stat.of(repository.root / path)
    write_index(repository, manifest.id, states)
