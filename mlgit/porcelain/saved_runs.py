"""Runs that were saved on their way and are not finished: which there are, and what keeps their state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mlgit.errors import ConflictError, CorruptObjectError, InvalidInputError
from mlgit.fileio import read_file, sync_directory, write_file
from mlgit.objects import CommitId, JsonValue, ManifestId
from mlgit.objects.encoding import parse_json
from mlgit.porcelain.in_progress import in_progress
from mlgit.porcelain.task_names import recorded_name
from mlgit.repository import Repository
from mlgit.storage.sealed import seal, unseal

FOLDER = "runs"
_SUFFIX = ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRun:
    """An unfinished run.

    Attributes:
        key: Hexadecimal digest of all that the run depends on.
        manifest: Its state: tensors and one file of JSON.
        task: Name of the task it trains on.
        start: Where it started.
        step: Updates made when it was saved.
        steps: Updates planned.
    """

    key: str
    manifest: ManifestId
    task: str
    start: CommitId
    step: int
    steps: int


def _path(repository: Repository, key: str) -> Path:
    return repository.folder / FOLDER / (key + _SUFFIX)


def write_saved(repository: Repository, run: SavedRun) -> None:
    """Remember a run, in the place of what was known of it; the caller holds ``repository.keeping``.

    It is ``working_on`` the run, too.
    """
    path = _path(repository, run.key)
    content: dict[str, JsonValue] = {
        "manifest": run.manifest,
        "task": run.task,
        "start": run.start,
        "step": run.step,
        "steps": run.steps,
    }
    write_file(path, seal(json.dumps(content).encode("ascii")))


def read_saved(repository: Repository, key: str) -> SavedRun | None:
    """Return an unfinished run, or None.

    Raises:
        InvalidInputError: Its file cannot be read.
    """
    path = _path(repository, key)
    try:
        fields = parse_json(unseal(read_file(path)), "a saved run")
        return SavedRun(
            key=key,
            manifest=ManifestId(fields.text("manifest")),
            task=fields.text("task"),
            start=CommitId(fields.text("start")),
            step=fields.integer("step"),
            steps=fields.integer("steps"),
        )
    except FileNotFoundError:
        return None
    except (CorruptObjectError, InvalidInputError, ValueError) as error:
        raise InvalidInputError(
            f"'{path}' cannot be read: {error}",
            kind="bad-run",
            hint="remove the file; the run it described then starts anew",
        ) from error


def saved_runs(repository: Repository) -> list[SavedRun]:
    """Return all unfinished runs, by key.

    Raises:
        InvalidInputError: A file cannot be read.
    """
    keys = sorted(path.name.removesuffix(_SUFFIX) for path in (repository.folder / FOLDER).glob(f"*{_SUFFIX}"))
    return [run for key in keys if (run := read_saved(repository, key)) is not None]


def drop_saved(repository: Repository, key: str) -> None:
    """Forget a run: it is finished or given up. Its state becomes garbage."""
    path = _path(repository, key)
    with suppress(FileNotFoundError):
        path.unlink()
        sync_directory(path.parent)


def abandon_runs(repository: Repository, task: str) -> list[SavedRun]:
    """Give up the unfinished runs on a task.

    Args:
        repository: Where.
        task: Name of the task.

    Returns:
        The runs that were given up.

    Raises:
        ConflictError: A process is at work on one of them; those before it are given up.
        InvalidInputError: A file cannot be read.
    """
    dropped, name = [], recorded_name(repository, task)
    for run in saved_runs(repository):
        if run.task == name:
            with working_on(repository, run.key):
                drop_saved(repository, run.key)
            dropped.append(run)
    return dropped


@contextmanager
def working_on(repository: Repository, key: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Let no other process work on a run meanwhile.

    Args:
        repository: Where.
        key: Identity of the run.
        wait_s: How long to wait for another process.

    Raises:
        ConflictError: Another process does.
        FileSystemError: The operating system refused.
    """
    folder = repository.folder / FOLDER
    with in_progress(folder / f"{key}.lock", folder / f"{key}{_SUFFIX}", _refusal, wait_s=wait_s):
        yield


def _refusal(who: str) -> ConflictError:
    return ConflictError(
        f"this run is in progress: {who}",
        kind="run-in-progress",
        hint="wait for it, or train with another `--seed`",
    )
