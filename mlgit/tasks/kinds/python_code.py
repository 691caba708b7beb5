"""Data of the user's own code: ``python:package.module:callable``, only when the code is trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np
import torch

from mlgit.errors import InvalidInputError
from mlgit.models.foreign import ForeignCode
from mlgit.models.python_code import find_callable
from mlgit.objects.encoding import JsonValue
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.kinds.kind import TaskKind
from mlgit.tasks.place import Place
from mlgit.tasks.split import DomainData
from mlgit.tasks.task import Task, TaskData
from mlgit.tasks.tensors import TensorDomain

_KEYS = {"domains", "classes", "mean", "std"}


@final
@dataclass(frozen=True, kw_only=True)
class PythonKind(TaskKind):
    """Data that a function of yours returns; it is called as ``callable(data, **options)``.

    ``data`` is the path that was given with ``--data``, or None. The function returns

    - a mapping with ``domains``: name -> (inputs, labels), tensors or NumPy arrays with one entry per example; labels
      are whole numbers from 0. uint8 inputs are scaled to 0 to 1, others are taken as they are: images, or anything
      else that the model takes. Further keys, all optional: ``classes``, the names of the labels; ``mean`` and ``std``,
      numbers or one per channel, subtracted and divided by after scaling;
    - or a ``mlgit.tasks.task.TaskData``, for data that are read when they are needed, or augmented in
      a way of their own.

    It must return the same on every machine and in every run: the digest covers all inputs and labels.

    Attributes:
        callable: What follows ``python:`` in the kind of the task.
        options: All options of the task.
    """

    name: ClassVar[str] = "python"
    summary: ClassVar[str] = "your own code, python:module:callable; needs --trust-code"
    needs_data: ClassVar[bool] = False

    callable: str = ""
    options: Mapping[str, JsonValue] = field(default_factory=dict)

    def open(self, definition: TaskDefinition, place: Place) -> Task:
        """Import the code, call it, and check what it returns.

        Raises:
            InvalidInputError: The code is not trusted, the text is malformed, or the result cannot be used.
            NotFoundError: No such module, callable or test domain.
            JobFailedError: The code raised something.
        """
        what = f"python:{self.callable}"
        if not place.trust_code:
            raise InvalidInputError(
                f"task '{definition.name}': '{what}' runs code that is not mlgit's",
                kind="untrusted-code",
                hint="read the code; if you trust it, pass `--trust-code`",
            )
        outside = ForeignCode(f"'{what}'", "the code of the task raised this; run it by itself to see where")
        with find_callable(self.callable, place.search) as function, outside:
            returned = function(place.data, **self.options)
        return Task(definition, task_data(returned, what))


def task_data(returned: object, what: str) -> TaskData:
    """Return the data of a task from what a function returned.

    Args:
        returned: See ``PythonKind``.
        what: The function, for error messages.

    Raises:
        InvalidInputError: It cannot be used.
    """
    if isinstance(returned, TaskData):
        return returned
    if not isinstance(returned, Mapping) or not isinstance(returned.get("domains"), Mapping):
        raise _wrong(what, f"returned {type(returned).__name__}, not a mapping with 'domains'")
    unknown = sorted(str(key) for key in returned if key not in _KEYS)
    if unknown:
        raise _wrong(what, f"returned a mapping with '{unknown[0]}'; known: {', '.join(sorted(_KEYS))}")
    mean, std = _numbers(what, "mean", returned.get("mean", 0.0)), _numbers(what, "std", returned.get("std", 1.0))
    domains = [_domain(what, name, pair, mean, std) for name, pair in returned["domains"].items()]
    domains.sort(key=lambda domain: domain.name)
    shapes = {domain.shape for domain in domains}
    if len(shapes) != 1:
        raise _wrong(what, f"returned examples of {len(shapes)} different shapes")
    classes = returned.get("classes")
    if classes is None:
        highest = max((int(domain.labels.max()) for domain in domains if len(domain)), default=-1)
        classes = [str(label) for label in range(highest + 1)]
    if isinstance(classes, (str, bytes)) or not all(isinstance(name, str) for name in classes):
        raise _wrong(what, "returned 'classes' that are no list of names")
    together: tuple[DomainData, ...] = tuple(domains)
    return TaskData(domains=together, classes=tuple(classes), input_shape=shapes.pop())


def _domain(what: str, name: object, pair: object, mean: torch.Tensor, std: torch.Tensor) -> TensorDomain:
    if not isinstance(name, str) or not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise _wrong(what, f"returned domain {str(name)[:80]!a}, which is not a name with (inputs, labels)")
    inputs, labels = (_tensor(what, name, each) for each in pair)
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise _wrong(what, f"returned labels of domain '{name}' that are no list of whole numbers")
    return TensorDomain(name, inputs, labels.to(torch.int64), mean=mean, std=std)


def _tensor(what: str, name: str, values: object) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().contiguous()
    try:
        array = np.asarray(values)
        return torch.from_numpy(np.array(array, order="C"))
    except (TypeError, ValueError) as error:
        raise _wrong(what, f"returned values in domain '{name}' that are no tensor: {error}") from error


def _numbers(what: str, key: str, values: object) -> torch.Tensor:
    try:
        return torch.as_tensor(values, dtype=torch.float32).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise _wrong(what, f"returned '{key}' that is no number: {error}") from error


def _wrong(what: str, said: str) -> InvalidInputError:
    return InvalidInputError(
        f"'{what}' {said}", kind="bad-task-data", hint="docs/datasets.md says what such a function returns"
    )
