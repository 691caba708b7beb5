"""From a commit to a module that can run, and from a task's name to its data."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlgit.errors import InvalidInputError, NotFoundError, did_you_mean
from mlgit.models.factories import build
from mlgit.models.network import Network
from mlgit.objects import BlobFile, Manifest
from mlgit.porcelain.task_names import base_name, task_definitions
from mlgit.progress import NoProgress, Progress
from mlgit.repository import Repository
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.kinds import Place, open_task
from mlgit.tasks.task import Task
from mlgit.worktree.model_file import MODEL_FILE


@dataclass(frozen=True, slots=True)
class Runtime:
    """How models are run on this machine.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        trust_code: Whether a model factory or task may run code from outside mlgit.
    """

    device: str = "auto"
    trust_code: bool = False


DEFAULT_RUNTIME = Runtime()


def open_network(
    repository: Repository, manifest: Manifest, *, runtime: Runtime = DEFAULT_RUNTIME, num_classes: int | None = None
) -> Network:
    """Build the module of a manifest, with random weights.

    Args:
        repository: Its root is where ``python:`` and ``transformers:`` factories look for their files.
        manifest: Says factory and head, and by the head's shape the number of classes.
        runtime: Whether outside code may run.
        num_classes: Outputs; by default as many as the manifest's head has.

    Raises:
        InvalidInputError: The manifest names no factory, or the factory needs trust.
        NotFoundError: No such model.
        JobFailedError: Code from outside failed.
    """
    if manifest.factory is None:
        raise InvalidInputError(
            "this model has no factory: nothing says how to build the module for its weights",
            kind="no-factory",
            hint=f'write `[model]` with `factory = "torchvision:resnet50"` into {MODEL_FILE} and commit it',
        )

    def make(classes: int | None) -> Network:
        module = build(
            manifest.factory or "", num_classes=classes, trust_code=runtime.trust_code, search=repository.root
        )
        network = Network(module, manifest.head)
        if classes is not None and network.num_classes != classes:  # another layer than the factory's classifier
            network.replace_head(classes, seed=0)
        return network

    if num_classes is not None:
        return make(num_classes)
    network = make(None)
    entry = manifest.tensors.get(network.head + ".weight")
    if entry is None or len(entry.shape) != 2 or entry.shape[0] == network.num_classes:
        return network
    return make(entry.shape[0])


def find_definition(repository: Repository, name: str) -> TaskDefinition:
    """Return one task's definition.

    Args:
        repository: Where.
        name: Of a table in ``mlgit.toml``; ``NAME@DOMAIN`` is task ``NAME`` with the test domain ``DOMAIN``, whatever
            the table says. Whether there is such a domain is seen when the data are opened.

    Raises:
        NotFoundError: No task has this name; the hint says which branch defines it, if one does.
        InvalidInputError: Nothing stands behind the ``@``, or what cannot name a domain.
    """
    base, at, domain = name.partition("@")
    definitions = task_definitions(repository)
    if base not in definitions:
        raise _unknown_task(repository, base, definitions)
    if at and not domain:
        raise InvalidInputError(
            f"'{name}' names no test domain",
            kind="bad-name",
            hint=f"write `{base}@DOMAIN`, or `{base}` for the test domain of its table",
        )
    return definitions[base].with_test_domain(domain) if at else definitions[base]


def _unknown_task(repository: Repository, name: str, known: Iterable[str]) -> NotFoundError:
    branch = _branch_that_defines(repository, name)
    hint = did_you_mean(name, known) or f"add it with `mlgit task add {name}`"
    if branch is not None:
        hint = f"branch '{branch}' defines it: take its file with `mlgit restore -s {branch} {MODEL_FILE}`"
    return NotFoundError(f"no task is named '{name}'", kind="unknown-task", hint=hint)


def _branch_that_defines(repository: Repository, task: str) -> str | None:
    """Return the first branch whose ``mlgit.toml`` has this task, or None."""
    for branch, commit_id in repository.branches().items():
        for file in repository.manifest_of(commit_id).files:
            if file.path == MODEL_FILE and isinstance(file, BlobFile):
                with suppress(ValueError):  # not TOML, or not UTF-8
                    tasks = tomllib.loads(repository.objects.read(file.id).decode("utf-8")).get("tasks")
                    if isinstance(tasks, dict) and task in tasks:
                        return branch
    return None


def data_path(repository: Repository, name: str) -> Path | None:
    """Return where a task's data lie on this machine, if the settings say so; whatever its test domain is."""
    text = repository.settings.text(f"tasks.{base_name(name)}.data")
    return None if text is None else Path(text).expanduser()


def task_place(
    repository: Repository, data: Path | None, runtime: Runtime = DEFAULT_RUNTIME, progress: Progress | None = None
) -> Place:
    """Return what a task may use on this machine.

    Digests and decoded images are kept below ``data.cache``: a path, absolute or from the repository's root; ``off``
    for nowhere; ``.mlgit/cache`` unless it is set.

    Args:
        repository: Has the settings.
        data: Where the task's data lie.
        runtime: Whether outside code may run.
        progress: Is told of long work.
    """
    text = repository.settings.text("data.cache")
    cache = repository.folder / "cache" if text is None else repository.root / Path(text).expanduser()
    return Place(
        data=data,
        cache=None if text == "off" else cache,
        trust_code=runtime.trust_code,
        search=repository.root,
        progress=progress or NoProgress(),
    )


def open_named_task(
    repository: Repository, name: str, runtime: Runtime = DEFAULT_RUNTIME, progress: Progress | None = None
) -> Task:
    """Open a task with its data.

    Raises:
        NotFoundError: No such task, or its data are not where they should be.
        InvalidInputError: Its data cannot be used, or it runs code that is not trusted.
        JobFailedError: Code from outside failed.
    """
    definition = find_definition(repository, name)
    return open_task(definition, place=task_place(repository, data_path(repository, name), runtime, progress))
