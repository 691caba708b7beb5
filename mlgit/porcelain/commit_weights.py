"""Commit a state dict from Python, without a file in between."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from mlgit.errors import InvalidInputError
from mlgit.objects import JsonValue, Parent, Role, Stage, TaskRef
from mlgit.porcelain.actor import ANYONE, Actor, check_text
from mlgit.porcelain.commit import CommitResult
from mlgit.porcelain.commit_run import commit_run
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime, open_named_task
from mlgit.porcelain.pending_run import PendingRun
from mlgit.repository import Repository


def commit_weights(
    repository: Repository,
    weights: Mapping[str, torch.Tensor],
    message: str,
    *,
    task: str | None = None,
    stage: Stage | None = None,
    metrics: Mapping[str, float] | None = None,
    made: Mapping[str, JsonValue] | None = None,
    actor: Actor = ANYONE,
    runtime: Runtime = DEFAULT_RUNTIME,
) -> CommitResult:
    """Write a state dict into the working directory and commit it.

    Args:
        repository: Where.
        weights: Name -> tensor.
        message: Why.
        task: The task they were trained on, if any; its data are looked at for their digest.
        stage: By default ``pretrain`` for the first commit; then ``target`` or ``auxiliary`` by whether the task has a
            test domain, and ``snapshot`` without a task.
        metrics: Measured values.
        made: How they were made.
        actor: Who and when.
        runtime: Whether a task may run code from outside.

    Raises:
        InvalidInputError: No weights, a tensor that cannot be stored, or no message.
        NotFoundError: No such task.
        ConflictError: Weights in the working directory are not committed.
    """
    if not message.strip():
        raise InvalidInputError("a commit needs a message", kind="no-message", hint="say why in `message`")
    check_text(message, "the message")
    if not weights:
        raise InvalidInputError("there are no weights to commit", kind="nothing-to-commit")
    opened = None if task is None else open_named_task(repository, task, runtime)
    head = repository.head
    by_task = Stage.SNAPSHOT if opened is None else Stage.TARGET if opened.test_domain else Stage.AUXILIARY
    digest = {} if opened is None else {"data_digest": opened.data_digest}
    run = PendingRun(
        stage=stage or (by_task if head is not None else Stage.PRETRAIN),
        task=None if opened is None else TaskRef(opened.name, opened.digest),
        parents=() if head is None else (Parent(head, Role.INIT),),
        made={**digest, **(made or {})},
        metrics=metrics or {},
    )
    return commit_run(repository, weights, run, message, actor=actor)
