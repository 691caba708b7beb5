"""``mlgit commit --train``: fine-tune and commit; the weights are nowhere before."""

from __future__ import annotations

from mlgit.errors import InvalidInputError
from mlgit.porcelain.actor import ANYONE, Actor, check_text
from mlgit.porcelain.commit import CommitResult, Effort
from mlgit.porcelain.commit_run import commit_run
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime
from mlgit.porcelain.train import TrainOptions, start_here, trained
from mlgit.progress import Progress
from mlgit.repository import Repository


def train_and_commit(
    repository: Repository,
    task: str,
    message: str | None = None,
    *,
    start: str = "HEAD",
    options: TrainOptions | None = None,
    effort: Effort | None = None,
    runtime: Runtime = DEFAULT_RUNTIME,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
) -> CommitResult:
    """Fine-tune the weights of ``start`` on a task and commit the result on the current branch.

    The commit is that of ``train`` and then ``commit``; but killed at any moment it has happened or has not, and the
    same command goes on from where the run was saved last.

    Args:
        repository: Where.
        task: Name of the task.
        message: Why; by default ``fine-tune on TASK``.
        start: Revision to start from.
        options: How.
        effort: Favour speed or size; None: as the settings say.
        runtime: Device and trust.
        actor: Who and when.
        progress: Is told of steps and bytes.

    Raises:
        ConflictError, InvalidInputError, NotFoundError, JobFailedError: As ``train`` and ``commit``.
    """
    text = f"fine-tune on {task}" if message is None else message
    if not text.strip():
        raise InvalidInputError("a commit needs a message", kind="no-message", hint='give one with `-m "…"`')
    check_text(text, "the message")
    start_id = start_here(repository, start, options)
    with trained(
        repository, task, start=start_id, options=options, runtime=runtime, actor=actor, progress=progress
    ) as done:
        kept = done.kept
        return commit_run(repository, kept.weights, kept.run, text, effort=effort, actor=actor, progress=progress)
