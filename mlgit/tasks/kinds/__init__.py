"""Kinds of tasks: where data come from. Listing them imports no torch; opening a task does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlgit.errors import InvalidInputError
from mlgit.registry import Registry
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.kinds.kind import Surveys, TaskKind, configure
from mlgit.tasks.place import Place

if TYPE_CHECKING:
    from mlgit.tasks.examples import Survey
    from mlgit.tasks.task import Task  # imports torch

TASK_KINDS: Registry[type[TaskKind]] = Registry(
    noun="kind of task",
    group="mlgit.task_kinds",
    builtin={
        "digits": "mlgit.tasks.kinds.digits:DigitsKind",
        "imagefolder": "mlgit.tasks.kinds.imagefolder:ImageFolderKind",
        "mnist-domains": "mlgit.tasks.kinds.mnist_domains:MnistDomainsKind",
        "python": "mlgit.tasks.kinds.python_code:PythonKind",
        "wilds": "mlgit.tasks.kinds.wilds:WildsKind",
    },
)
"""Name -> class of kind; the class's fields are the options."""


def kind_of(definition: TaskDefinition) -> TaskKind:
    """Return the kind of a task with its options set; reads no data.

    Raises:
        NotFoundError: No such kind.
        InvalidInputError: Options the kind does not have or cannot use; all are named.
    """
    name, colon, rest = definition.kind.partition(":")
    if (name == "python") != bool(colon):
        raise InvalidInputError(
            f"'{definition.kind}' cannot be the kind of a task",
            kind="bad-kind",
            hint="code of your own is `python:package.module:callable`; other kinds have no colon",
        )
    if colon:
        from mlgit.tasks.kinds.python_code import PythonKind  # noqa: PLC0415 - imports torch; reading a table does not

        return PythonKind(callable=rest, options=definition.options)
    return configure(TASK_KINDS.get(name), definition)


def open_task(definition: TaskDefinition, data: Path | None = None, *, place: Place | None = None) -> Task:
    """Open a task.

    Args:
        definition: What the task is.
        data: Where its data lie on this machine; None for kinds that bring their own.
        place: What else may be used on this machine; its own ``data`` count if ``data`` is None. By default nothing is
            kept on disk and no code is trusted.

    Returns:
        The task; images may be read later, when they are asked for.

    Raises:
        NotFoundError: No such kind, test domain or path.
        InvalidInputError: Options or data that cannot be used.
        JobFailedError: Code from outside failed.
    """
    place = place or Place()
    return kind_of(definition).open(definition, place if data is None else replace(place, data=data))


def survey_task(definition: TaskDefinition, place: Place) -> Survey:
    """Look at every example of a task, whatever is remembered of it; one that cannot be read is named, not raised.

    Raises:
        NotFoundError: No such kind, test domain or path.
        InvalidInputError: Options that cannot be used, or data in which no examples can be found.
    """
    from mlgit.tasks.examples import Survey, examples_of  # noqa: PLC0415 - imports torch; reading a table does not

    kind = kind_of(definition)
    if isinstance(kind, Surveys):
        return kind.survey(definition, place)
    task = kind.open(definition, place)
    examples = tuple(example for domain in task.data.domains for example in examples_of(domain))
    return Survey(examples=examples, ignored=task.data.ignored, notes=task.data.notes)


__all__ = ["TASK_KINDS", "Place", "Surveys", "TaskKind", "kind_of", "open_task", "survey_task"]
