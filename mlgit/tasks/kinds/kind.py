"""The interface of a kind of task."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, runtime_checkable

from mlgit.errors import InvalidInputError, did_you_mean
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.place import Place

if TYPE_CHECKING:
    from mlgit.tasks.examples import Survey
    from mlgit.tasks.task import Task  # imports torch; listing kinds does not

K = TypeVar("K", bound="TaskKind")


@dataclass(frozen=True, kw_only=True)
class TaskKind(ABC):
    """Where the data of a task come from. Subclasses are final; their fields are the options."""

    name: ClassVar[str]
    """As in ``TASK_KINDS``."""
    summary: ClassVar[str]
    """One line for people."""
    needs_data: ClassVar[bool]
    """Whether a path on this machine must be given."""

    @abstractmethod
    def open(self, definition: TaskDefinition, place: Place) -> Task:
        """Find the data and check them.

        Args:
            definition: The task; its options are this object's fields.
            place: Where data lie on this machine, and what else may be used there.

        Raises:
            NotFoundError: No such path or test domain.
            InvalidInputError: Data that cannot be used, or code that is not trusted.
        """


@runtime_checkable
class Surveys(Protocol):
    """Kinds that can look at every example although the task cannot be opened."""

    def survey(self, definition: TaskDefinition, place: Place) -> Survey:
        """Read every example, whatever is remembered of it; name those that cannot be read."""


def configure(kind: type[K], definition: TaskDefinition) -> K:
    """Return ``kind`` with the options of ``definition``.

    Raises:
        InvalidInputError: The kind has no such option (all unknown ones are named), or a value does not fit.
    """
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = [key for key in definition.options if key not in known]
    if unknown:
        names = ", ".join(f"'{key}'" for key in unknown)
        raise InvalidInputError(
            f"tasks of kind '{kind.name}' have no option {names}",
            kind="unknown-option",
            hint=did_you_mean(unknown[0], known),
        )
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in definition.options.items()
    }
    return kind(**values)
