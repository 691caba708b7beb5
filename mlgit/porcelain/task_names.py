"""How a task is called: by its name in ``mlgit.toml``, or as ``NAME@DOMAIN`` with another test domain."""

from __future__ import annotations

from mlgit.repository import Repository
from mlgit.tasks.definition import TaskDefinition
from mlgit.worktree.model_file import MODEL_FILE, read_model_file


def task_definitions(repository: Repository) -> dict[str, TaskDefinition]:
    """Return the tasks that ``mlgit.toml`` in the working directory defines, by name."""
    tables = read_model_file(repository.root / MODEL_FILE).tasks
    return {name: TaskDefinition.from_table(name, table) for name, table in sorted(tables.items())}


def base_name(name: str) -> str:
    """Return the name in ``mlgit.toml`` of a task that may be written ``NAME@DOMAIN``."""
    return name.partition("@")[0]


def recorded_name(repository: Repository, name: str) -> str:
    """Return what commits call a task: ``NAME@DOMAIN`` is ``NAME`` where the table has this test domain anyway."""
    base, at, domain = name.partition("@")
    definition = task_definitions(repository).get(base) if at else None
    return base if definition is not None and definition.test_domain == domain else name
