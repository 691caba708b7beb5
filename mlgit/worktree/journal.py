"""What a checkout is about to rename, worked out before the first rename, for the journal."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlgit.fileio import file_system_error, sync_directory
from mlgit.objects import ObjectId
from mlgit.storage.journal import Journal, Move, Steps, identity


def away_name(number: int) -> str:
    """Return the name in the staging directory of the file that is moved out of the way as number so many."""
    return f"old-{number}"


def plan(
    staging: Path,
    moves: Sequence[tuple[Path, Path]],
    removals: Sequence[Path],
    deciding: str | None,
    created: Mapping[str, ObjectId],
) -> Steps:
    """Return what will be renamed, in order.

    Args:
        staging: The directory that holds the new files and takes the old ones; it lies in the repository's folder.
        moves: New files and where they go.
        removals: Files that go.
        deciding: The ref that moves when all files are in place; None for none.
        created: Refs that are created before.
    """
    root = staging.parent.parent
    planned: list[Move] = []
    directories: list[str] = []
    away: set[Path] = set()

    def move_away(place: Path) -> None:
        if place not in away and os.path.lexists(place):
            planned.append(Move(away_name(len(away)), place.relative_to(root).as_posix()))
            away.add(place)

    for place in removals:
        move_away(place)
    for source, destination in moves:
        move_away(destination)
        path = destination.relative_to(root)
        for parent in reversed(path.parents[:-1]):
            if parent.as_posix() not in directories and (root / parent in away or not (root / parent).is_dir()):
                directories.append(parent.as_posix())
        planned.append(Move(source.name, path.as_posix(), identity(source)))
    return Steps(deciding, staging.name, planned, directories, created)


@contextmanager
def journaled(journal: Journal, steps: Steps) -> Iterator[None]:
    """Keep a journal of the steps while the block takes them; where there are none, none is needed."""
    if not steps.moves and not steps.created:
        yield
        return
    if steps.staging is not None:
        try:
            sync_directory(journal.folder / steps.staging)
        except OSError as error:
            raise file_system_error(error, "write", journal.folder / steps.staging) from error
    with journal.during(steps):
        yield
