"""``mlgit clone``: copy a repository with its history, and check out its current branch."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from mlgit.errors import AlreadyExistsError, CorruptObjectError, InvalidInputError
from mlgit.fileio import file_system_error, sync_directory
from mlgit.interrupts import held_back
from mlgit.objects import CommitId, ObjectId
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.config import settings_path
from mlgit.progress import NoProgress, Progress
from mlgit.repository import (
    CERTIFICATES,
    DEFAULT_BRANCH,
    FOLDER,
    HEADS,
    PROBES,
    REMOTES,
    TAGS,
    Repository,
    check_outside,
    new_directories,
)
from mlgit.storage.owner import remove_abandoned, temporary_name
from mlgit.tomledit import set_value
from mlgit.worktree.checkout import checkout, remember

_TEMPORARY = ".mlgit-clone-"


@dataclass(frozen=True, slots=True)
class CloneResult:
    """A new copy.

    Attributes:
        repository: It.
        source: Where it came from.
        branch: Short name of the checked-out branch.
        commit: The commit there, or None when the source has none.
    """

    repository: Repository
    source: Path
    branch: str
    commit: CommitId | None


def clone(
    source: Path,
    directory: Path | None = None,
    *,
    user_settings: Path | None = None,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
) -> CloneResult:
    """Copy a repository; the copy appears complete or not at all.

    The source's branches become ``origin/…``; its tags, probes and certificate results keep their names.

    Args:
        source: A repository on this machine.
        directory: Where to; by default the source's name in the current directory. Must be missing or empty.
        user_settings: The user's own settings file.
        actor: For the reflog.
        progress: Is told of packs.

    Raises:
        NotFoundError: ``source`` is no repository.
        AlreadyExistsError: ``directory`` is not empty, or lies inside a repository.
        CorruptObjectError: An object of the current branch is damaged in the source.
        FileSystemError: The operating system refused; nothing is left behind.
    """
    origin = Repository(source, user_settings=user_settings)
    place = Path(os.path.realpath(directory if directory is not None else Path.cwd() / origin.root.name))
    _check_place(origin, place)
    branch = (origin.refs.head().branch or HEADS + DEFAULT_BRANCH).removeprefix(HEADS)
    try:
        inside = place.exists()  # an empty directory stays the same one: somebody may stand in it
        with new_directories(place if inside else place.parent):
            temporary = place / temporary_name(_TEMPORARY) if inside else _beside(place)
            try:
                copy = Repository.create(temporary, branch=branch, user_settings=user_settings)
                names = _names(origin, branch)  # before the packs: what is committed meanwhile is in neither
                _copy_packs(origin, copy, progress or NoProgress())
                for name, value in names.items():
                    reason = f"clone: from {origin.root}"
                    copy.refs.update(name, value, expected=None, who=actor.who(copy), when=actor.when(), reason=reason)
                set_value(settings_path(copy), ["remote", "origin", "url"], str(origin.root))
                _first_checkout(copy, progress)
                if inside:
                    _appear(temporary, place)
                else:
                    _take_place(temporary, place)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise file_system_error(error, "clone into", place) from error
    opened = Repository(place, user_settings=user_settings)
    return CloneResult(opened, origin.root, branch, opened.head)


def _check_place(origin: Repository, place: Path) -> None:
    if place.is_dir():
        remove_abandoned(place, _TEMPORARY)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise AlreadyExistsError(
            f"'{place}' exists and is not empty", kind="path-exists", hint="choose another directory"
        )
    if place.is_relative_to(origin.root):
        raise InvalidInputError(f"'{place}' lies inside the repository it would copy", hint="choose a place outside")
    check_outside(place)


def _names(origin: Repository, branch: str) -> dict[str, ObjectId]:
    """Return the refs of the copy, by full name."""
    renamed = {HEADS: f"{REMOTES}origin/", TAGS: TAGS, PROBES: PROBES, CERTIFICATES: CERTIFICATES}
    found = {
        destination + name: value
        for prefix, destination in renamed.items()
        for name, value in origin.named(prefix).items()
    }
    head = origin.head
    return found if head is None else {**found, HEADS + branch: head}


def _beside(place: Path) -> Path:
    """Return a place for the copy beside its own; what killed clones left there goes."""
    start = f".{place.name[:100]}."
    remove_abandoned(place.parent, start)
    return place.parent / temporary_name(start)


def _take_place(temporary: Path, place: Path) -> None:
    """Let the finished copy appear."""
    with held_back():
        temporary.rename(place)
        try:
            sync_directory(place.parent)
        except OSError:
            place.rename(temporary)
            raise


def _appear(temporary: Path, place: Path) -> None:
    """Move everything up into ``place``, the repository itself last; all of it or nothing."""
    done: list[str] = []
    with held_back():
        try:
            for name in sorted((item.name for item in temporary.iterdir()), key=lambda name: name == FOLDER):
                (temporary / name).rename(place / name)
                done.append(name)
            sync_directory(place)
            sync_directory(place.parent)
        except BaseException:
            for name in done:
                (place / name).rename(temporary / name)
            raise


def _copy_packs(origin: Repository, copy: Repository, progress: Progress) -> None:
    paths = origin.objects.pack_paths()
    with progress.task("copying", sum(path.stat().st_size for path in paths)) as bar:
        for path in paths:
            destination = copy.folder / "objects" / path.name
            with path.open("rb") as reader, destination.open("xb") as writer:
                shutil.copyfileobj(reader, writer, 1 << 22)
                writer.flush()
                os.fsync(writer.fileno())
            bar.advance(path.stat().st_size, path.name)
    sync_directory(copy.folder / "objects")
    for problem in copy.objects.check_packs():
        raise CorruptObjectError(f"'{origin.root}' is damaged: {problem}", hint="run `mlgit fsck` there")


def _first_checkout(copy: Repository, progress: Progress | None) -> None:
    if copy.head is None:
        return
    manifest = copy.manifest_of(copy.head)
    with copy.lock():
        checkout(copy, manifest, paths=[file.path for file in manifest.files], progress=progress)
        remember(copy, manifest)
