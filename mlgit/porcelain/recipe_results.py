"""Where a repository keeps what its recipes came to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlgit.errors import ConflictError, CorruptObjectError, InvalidInputError
from mlgit.fileio import read_file, write_file
from mlgit.objects.encoding import parse_json
from mlgit.porcelain.in_progress import in_progress
from mlgit.recipes.results import Study
from mlgit.repository import Repository
from mlgit.storage.sealed import seal, unseal

FOLDER = "recipes"
FILE = "results.json"


def study_folder(repository: Repository, task: str, domain: str, name: str) -> Path:
    """Return the folder of a study: its results and its lock.

    Args:
        repository: Where.
        task: The task, without a test domain.
        domain: The test domain.
        name: Of the study.
    """
    return repository.folder / FOLDER / task / domain / name


def read_study(folder: Path) -> Study | None:
    """Return what a folder holds, or None.

    Raises:
        InvalidInputError: Its file cannot be read.
    """
    path = folder / FILE
    try:
        return Study.from_json(parse_json(unseal(read_file(path)), "the results of recipes"))
    except FileNotFoundError:
        return None
    except (CorruptObjectError, InvalidInputError, ValueError, KeyError) as error:
        raise InvalidInputError(
            f"'{path}' cannot be read: {error}",
            kind="bad-study",
            hint="remove the file and run the recipes again: finished runs are found by their branches",
        ) from error


def write_study(folder: Path, study: Study) -> None:
    """Keep a study; the caller holds its lock."""
    write_file(folder / FILE, seal(json.dumps(study.to_json()).encode("ascii")))


def studies(repository: Repository, *, task: str | None = None, name: str | None = None) -> tuple[Study, ...]:
    """Return all studies, by task, test domain and name.

    Args:
        repository: Where.
        task: Only those of this task, given without a test domain.
        name: Only those of this name.

    Raises:
        InvalidInputError: A file cannot be read.
    """
    folders = sorted(path.parent for path in (repository.folder / FOLDER).glob(f"*/*/*/{FILE}"))
    found = [study for study in map(read_study, folders) if study is not None]
    return tuple(each for each in found if task in (None, each.task) and name in (None, each.name))


@contextmanager
def studying(folder: Path) -> Iterator[None]:
    """Let no other process work on a study meanwhile.

    Raises:
        ConflictError: Another process does.
        FileSystemError: The operating system refused.
    """
    with in_progress(folder / "lock", folder / FILE, _refusal):
        yield


def _refusal(who: str) -> ConflictError:
    return ConflictError(
        f"recipes of this study are in progress: {who}",
        kind="study-in-progress",
        hint="wait for them, or give this study another `--name`",
    )
