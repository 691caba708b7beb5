"""Kinds of tasks: where data come from. Listing them imports no torch; opening a task does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlgit.registry import Registry
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.kinds.kind import TaskKind, configure

if TYPE_CHECKING:
    from mlgit.tasks.task import Task  # imports torch

TASK_KINDS: Registry[type[TaskKind]] = Registry(
    noun="kind of task",
    group="mlgit.task_kinds",
    builtin={
        "digits": "mlgit.tasks.kinds.digits:DigitsKind",
        "imagefolder": "mlgit.tasks.kinds.imagefolder:ImageFolderKind",
    },
)
"""Name -> class of kind; the class's fields are the options."""


def kind_of(definition: TaskDefinition) -> TaskKind:
    """Return the kind of a task with its options set; reads no data.

    Raises:
        NotFoundError: No such kind.
        InvalidInputError: Options the kind does not have or cannot use; all are named.
    """
    return configure(TASK_KINDS.get(definition.kind), definition)


def open_task(definition: TaskDefinition, data: Path | None = None) -> Task:
    """Open a task.

    Args:
        definition: What the task is.
        data: Where its data lie on this machine; None for kinds that bring their own.

    Returns:
        The task; images may be read later, when they are asked for.

    Raises:
        NotFoundError: No such kind, test domain or path.
        InvalidInputError: Options or data that cannot be used.
    """
    return kind_of(definition).open(definition, data)


__all__ = ["TASK_KINDS", "TaskKind", "kind_of", "open_task"]
