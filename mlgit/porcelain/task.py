"""``mlgit task``: add, list, show and remove tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlgit.errors import AlreadyExistsError
from mlgit.objects import JsonValue
from mlgit.porcelain.config import settings_path
from mlgit.porcelain.open_model import data_path, find_definition, open_named_task, task_definitions
from mlgit.repository import Repository
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.kinds import open_task
from mlgit.tasks.task import Task
from mlgit.tomledit import set_value
from mlgit.worktree.model_file import MODEL_FILE


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """A task with its data looked at.

    Attributes:
        definition: What ``mlgit.toml`` says.
        data: Where its data lie on this machine, or None.
        digest: BLAKE3 of definition and data.
        classes: Names of the labels.
        domains: Domain -> number of images.
        ignored: Files of the data that were passed over.
    """

    definition: TaskDefinition
    data: Path | None
    digest: str
    classes: tuple[str, ...]
    domains: Mapping[str, int]
    ignored: tuple[str, ...] = field(default=())


def add_task(
    repository: Repository,
    name: str,
    *,
    kind: str,
    data: Path | None = None,
    test_domain: str | None = None,
    options: Mapping[str, JsonValue] | None = None,
) -> TaskSummary:
    """Define a task in ``mlgit.toml``; where its data lie goes into this repository's own settings.

    Args:
        repository: Where.
        name: The task's name.
        kind: A row of ``TASK_KINDS``.
        data: Where the data lie on this machine.
        test_domain: The domain that training and selection never see; None: all domains train.
        options: What else the kind needs.

    Raises:
        AlreadyExistsError: The name is taken.
        NotFoundError: No such kind, path or test domain.
        InvalidInputError: A name, option or data that cannot be used; nothing was written.
    """
    _check_new(repository, name)
    definition = TaskDefinition(name=name, kind=kind, test_domain=test_domain, options=options or {})
    place = None if data is None else data.absolute()
    summary = _summary(open_task(definition, place), place)
    with repository.lock():
        _check_new(repository, name)  # the data took their time
        if place is not None:
            set_value(settings_path(repository), ["tasks", name, "data"], str(place))
        set_value(repository.root / MODEL_FILE, ["tasks", name], definition.to_table())
    return summary


def list_tasks(repository: Repository) -> list[TaskDefinition]:
    """Return the definitions of all tasks, sorted by name; no data are read."""
    return list(task_definitions(repository).values())


def show_task(repository: Repository, name: str) -> TaskSummary:
    """Open a task and describe it.

    Raises:
        NotFoundError: No such task, or its data are not where they should be.
        InvalidInputError: Its data cannot be used.
    """
    return _summary(open_named_task(repository, name), data_path(repository, name))


def remove_task(repository: Repository, name: str) -> TaskDefinition:
    """Remove a task's definition; commits that name it stay as they are.

    Raises:
        NotFoundError: No such task.
    """
    definition = find_definition(repository, name)
    with repository.lock():
        set_value(repository.root / MODEL_FILE, ["tasks", name], None)
        if repository.settings.get(f"tasks.{name}.data") is not None:
            set_value(settings_path(repository), ["tasks", name], None)
    return definition


def _check_new(repository: Repository, name: str) -> None:
    if name in task_definitions(repository):
        raise AlreadyExistsError(
            f"a task '{name}' exists", kind="task-exists", hint=f"remove it first with `mlgit task rm {name}`"
        )


def _summary(task: Task, data: Path | None) -> TaskSummary:
    return TaskSummary(
        task.definition,
        data,
        task.digest,
        task.classes,
        {name: len(task.domain(name)) for name in task.domains},
        task.data.ignored,
    )
