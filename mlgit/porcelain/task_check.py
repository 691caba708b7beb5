"""``mlgit task check``: are the data of a task what they were?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlgit.errors import InvalidInputError
from mlgit.history.ancestry import walk
from mlgit.objects import CommitId
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime, data_path, find_definition, task_place
from mlgit.porcelain.task_examples import record_examples, recorded_digest, recorded_examples
from mlgit.porcelain.task_names import base_name
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.examples import Differences, Example, compare, duplicates
from mlgit.tasks.kinds import Place, open_task, survey_task


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedState:
    """A state of the data that commits name.

    Attributes:
        digest: BLAKE3 of classes and data.
        commits: Those that name it, newest first.
        same: Whether the data are in this state now.
    """

    digest: str
    commits: tuple[CommitId, ...]
    same: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCheck:
    """What a check of the data found.

    Attributes:
        definition: The task.
        examples: How many can be read.
        data_digest: BLAKE3 of classes and data; None when the task cannot be opened.
        recorded: What commits were made with, newest first.
        expected: Digest that was recorded when the task was added, or last with ``record``; None if none was.
        compared: Digest of the examples that ``differences`` compares with; None when there are none.
        differences: What is different from them; None when there is nothing to compare with.
        unreadable: Name -> why.
        duplicates: Groups of examples with equal content.
        ignored: Files that are passed over.
        notes: What else is remarkable, for people.
    """

    definition: TaskDefinition
    examples: int
    data_digest: str | None
    recorded: tuple[RecordedState, ...]
    expected: str | None
    compared: str | None
    differences: Differences | None
    unreadable: Mapping[str, str]
    duplicates: tuple[tuple[Example, ...], ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether everything can be read and is as it was recorded last; True for data that were never recorded."""
        newest = next((state.digest for state in self.recorded), None)
        reference = self.expected or newest
        return not self.unreadable and self.data_digest is not None and reference in (None, self.data_digest)


def check_task(
    repository: Repository,
    name: str,
    *,
    record: bool = False,
    runtime: Runtime = DEFAULT_RUNTIME,
    progress: Progress | None = None,
) -> TaskCheck:
    """Read and decode every example of a task, and compare with what was recorded.

    Args:
        repository: Where.
        name: The task.
        record: Take the data as they are now for what later checks compare with, if they can be used.
        runtime: Whether the task may run code from outside.
        progress: Is told of files.

    Raises:
        NotFoundError: No such task, or its data are not where they should be.
        InvalidInputError: The data are in no layout in which examples could be found, or the task runs code that is
            not trusted.
        JobFailedError: Code from outside failed.
    """
    definition = find_definition(repository, name)
    place = task_place(repository, data_path(repository, name), runtime, progress)
    survey = survey_task(definition, place)
    digest = None if survey.unreadable else _data_digest(repository, definition, place, record=record)
    recorded = _recorded(repository, name, digest)
    expected = recorded_digest(repository, name)
    candidates = [each for each in (expected, *(state.digest for state in recorded)) if each is not None]
    compared, before = next(
        ((each, found) for each in candidates if (found := recorded_examples(repository, each)) is not None),
        (None, None),
    )
    broken = [each for each in before or () if each.name in survey.unreadable]  # neither missing nor changed
    return TaskCheck(
        definition=definition,
        examples=len(survey.examples),
        data_digest=digest,
        recorded=recorded,
        expected=expected,
        compared=compared,
        differences=None if before is None else compare(before, [*survey.examples, *broken]),
        unreadable=survey.unreadable,
        duplicates=duplicates(survey.examples),
        ignored=survey.ignored,
        notes=survey.notes,
    )


def _data_digest(repository: Repository, definition: TaskDefinition, place: Place, *, record: bool) -> str | None:
    try:
        task = open_task(definition, place=place)
    except InvalidInputError:  # what is wrong with it was listed, or is said when it is used
        if record:
            raise
        return None
    if record:
        with repository.lock():
            record_examples(repository, task)
    return task.data_digest


def _recorded(repository: Repository, name: str, digest: str | None) -> tuple[RecordedState, ...]:
    starts = [*repository.branches().values(), *([repository.head] if repository.head else [])]
    states: dict[str, list[CommitId]] = {}
    for commit_id, commit in walk(repository.commit_of, starts):
        data_digest = commit.made.get("data_digest")
        if commit.task is not None and base_name(commit.task.name) == base_name(name) and isinstance(data_digest, str):
            states.setdefault(data_digest, []).append(commit_id)
    return tuple(
        RecordedState(digest=each, commits=tuple(commits), same=each == digest) for each, commits in states.items()
    )
