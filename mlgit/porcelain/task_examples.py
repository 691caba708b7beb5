"""What every example of a task was when its data were recorded: one file per state of the data, in this copy only."""

from __future__ import annotations

from pathlib import Path

from mlgit.errors import InvalidInputError
from mlgit.fileio import file_system_error, read_file, write_file
from mlgit.porcelain.config import settings_path
from mlgit.porcelain.task_names import base_name
from mlgit.repository import Repository
from mlgit.tasks.examples import Example, decode_examples, encode_examples, examples_of
from mlgit.tasks.task import Task
from mlgit.tomledit import set_value


def record_examples(repository: Repository, task: Task) -> None:
    """Write down all examples of a task as what later checks compare with.

    Raises:
        FileSystemError: The operating system refused.
    """
    path = _path(repository, task.data_digest)
    if not path.exists():
        examples = (example for domain in task.data.domains for example in examples_of(domain))
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise file_system_error(error, "create", path.parent) from error
        write_file(path, encode_examples(examples))
    set_value(settings_path(repository), ["tasks", task.definition.base_name, "digest"], task.data_digest)


def recorded_digest(repository: Repository, name: str) -> str | None:
    """Return the digest of the data that were recorded last, or None."""
    return repository.settings.text(f"tasks.{base_name(name)}.digest")


def recorded_examples(repository: Repository, data_digest: str) -> tuple[Example, ...] | None:
    """Return the examples of one state of data, or None when they were not written down here, or not readably."""
    if len(data_digest) != 64 or not data_digest.isalnum():
        return None
    try:
        return decode_examples(read_file(_path(repository, data_digest)))
    except (FileNotFoundError, InvalidInputError):
        return None


def _path(repository: Repository, data_digest: str) -> Path:
    return repository.folder / "data" / f"{data_digest}.examples"
