"""``mlgit task``: add, list, show and remove tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlgit.errors import AlreadyExistsError, InvalidInputError
from mlgit.objects import JsonValue
from mlgit.porcelain.config import settings_path
from mlgit.porcelain.open_model import (
    DEFAULT_RUNTIME,
    Runtime,
    data_path,
    find_definition,
    open_named_task,
    task_place,
)
from mlgit.porcelain.task_examples import record_examples
from mlgit.porcelain.task_names import task_definitions
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.examples import ListsExamples, duplicates
from mlgit.tasks.kinds import open_task
from mlgit.tasks.presets import PRESETS, deviations, find_preset
from mlgit.tasks.task import Task
from mlgit.tomledit import set_value
from mlgit.worktree.model_file import MODEL_FILE

DEFAULT_KIND = "imagefolder"
_SHOWN = 10


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
        notes: What else is remarkable about the data, for people.
    """

    definition: TaskDefinition
    data: Path | None
    digest: str
    classes: tuple[str, ...]
    domains: Mapping[str, int]
    ignored: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())


def add_task(
    repository: Repository,
    name: str,
    *,
    kind: str | None = None,
    preset: str | None = None,
    data: Path | None = None,
    test_domain: str | None = None,
    options: Mapping[str, JsonValue] | None = None,
    runtime: Runtime = DEFAULT_RUNTIME,
    progress: Progress | None = None,
) -> TaskSummary:
    """Define a task in ``mlgit.toml``; where its data lie goes into this repository's own settings.

    Args:
        repository: Where.
        name: The task's name; without ``kind`` and ``preset``, the name of a preset stands for that preset.
        kind: A row of ``TASK_KINDS``; by default that of the preset, or ``imagefolder``.
        preset: A row of ``PRESETS``: the kind and options of a published dataset.
        data: Where the data lie on this machine.
        test_domain: The domain that training and selection never see; None: all domains train.
        options: What else the kind needs; they go before those of the preset.
        runtime: Whether the task may run code from outside.
        progress: Is told of files.

    Raises:
        AlreadyExistsError: The name is taken.
        NotFoundError: No such kind, preset, path or test domain.
        InvalidInputError: A name, option or data that cannot be used; nothing was written.
        JobFailedError: Code from outside failed; nothing was written.
    """
    _check_new(repository, name)
    definition = _definition(name, kind, preset, test_domain, options or {})
    place = None if data is None else data.absolute()
    task = open_task(definition, place=task_place(repository, place, runtime, progress))
    summary = _summary(task, place)
    with repository.lock():
        _check_new(repository, name)  # the data took their time
        if place is not None:
            set_value(settings_path(repository), ["tasks", name, "data"], str(place))
            record_examples(repository, task)
        set_value(repository.root / MODEL_FILE, ["tasks", name], definition.to_table())
    return summary


def list_tasks(repository: Repository) -> list[TaskDefinition]:
    """Return the definitions of all tasks, sorted by name; no data are read."""
    return list(task_definitions(repository).values())


def show_task(
    repository: Repository, name: str, *, runtime: Runtime = DEFAULT_RUNTIME, progress: Progress | None = None
) -> TaskSummary:
    """Open a task and describe it.

    Raises:
        NotFoundError: No such task, or its data are not where they should be.
        InvalidInputError: Its data cannot be used, or it runs code that is not trusted.
        JobFailedError: Code from outside failed.
    """
    return _summary(open_named_task(repository, name, runtime, progress), data_path(repository, name))


def remove_task(repository: Repository, name: str) -> TaskDefinition:
    """Remove a task's definition; commits that name it stay as they are.

    Raises:
        NotFoundError: No such task.
        InvalidInputError: The name is ``NAME@DOMAIN``; no table has it.
    """
    definition = find_definition(repository, name)
    if "@" in name:
        raise InvalidInputError(
            f"task '{name}' has no table of its own", kind="bad-name", hint=f"remove task '{definition.base_name}'"
        )
    with repository.lock():
        set_value(repository.root / MODEL_FILE, ["tasks", name], None)
        if repository.settings.get(f"tasks.{name}.data") is not None:
            set_value(settings_path(repository), ["tasks", name], None)
    return definition


def _definition(
    name: str, kind: str | None, preset: str | None, test_domain: str | None, options: Mapping[str, JsonValue]
) -> TaskDefinition:
    if preset is None and kind is None and name in PRESETS:
        preset = name
    if preset is None:
        return TaskDefinition(name=name, kind=kind or DEFAULT_KIND, test_domain=test_domain, options=options)
    known = find_preset(preset)
    merged = {**(known.task_options if kind in (None, known.kind) else {}), **options}
    return TaskDefinition(
        name=name, kind=kind or known.kind, test_domain=test_domain, options=merged, preset=known.name
    )


def _check_new(repository: Repository, name: str) -> None:
    if "@" in name:
        base = name.partition("@")[0]
        raise InvalidInputError(
            f"'{name[:80]}' cannot name a new task: it is how task '{base[:80]}' is called with another test domain",
            kind="bad-name",
            hint=f"add it as `{base}`; `--task {name}` then needs no table of its own",
        )
    if name in task_definitions(repository):
        raise AlreadyExistsError(
            f"a task '{name}' exists", kind="task-exists", hint=f"remove it first with `mlgit task rm {name}`"
        )


def _summary(task: Task, data: Path | None) -> TaskSummary:
    domains = {name: len(task.domain(name)) for name in task.domains}
    return TaskSummary(
        task.definition,
        data,
        task.digest,
        task.classes,
        domains,
        task.data.ignored,
        (*task.data.notes, *_deviations(task.definition, task.classes, domains), *_duplicates(task)),
    )


def _deviations(definition: TaskDefinition, classes: tuple[str, ...], domains: Mapping[str, int]) -> tuple[str, ...]:
    preset = None if definition.preset is None else PRESETS.get(definition.preset)
    return () if preset is None else deviations(preset, classes, domains)


def _duplicates(task: Task) -> list[str]:
    """Name examples that are there twice; only of data whose digests are known without reading them."""
    listed = [domain for domain in task.data.domains if isinstance(domain, ListsExamples)]
    groups = duplicates(example for domain in listed for example in domain.examples())
    shown = [f"equal content: {', '.join(example.name for example in group)}" for group in groups[:_SHOWN]]
    return shown + ([f"equal content: {len(groups) - _SHOWN} more groups"] if len(groups) > _SHOWN else [])
