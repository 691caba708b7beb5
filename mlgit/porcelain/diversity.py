"""``mlgit diversity``: how differently models err."""

from __future__ import annotations

from collections.abc import Sequence

from mlgit.merging.diversity import Diversity
from mlgit.merging.diversity import diversity as measure
from mlgit.porcelain.evaluate import evaluate
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime
from mlgit.progress import Progress
from mlgit.repository import Repository


def diversity(
    repository: Repository,
    revisions: Sequence[str],
    *,
    task: str,
    split: str = "validation",
    trial: int = 0,
    runtime: Runtime = DEFAULT_RUNTIME,
    progress: Progress | None = None,
) -> Diversity:
    """Measure the diversity of the errors of several commits.

    Args:
        repository: Where.
        revisions: Revisions and globs of branches; at least two commits.
        task: The task.
        split: ``validation`` or ``test``; the paper reports the test domain.
        trial: Number of the data split.
        runtime: Device and trust.
        progress: Is told of models.

    Raises:
        InvalidInputError: Fewer than two commits, or models that cannot be run on the task.
        NotFoundError: No such revision or task.
    """
    scores = evaluate(
        repository, revisions, task=task, split=split, trial=trial, runtime=runtime, progress=progress
    ).scores
    return measure({commit_id: score.correct for commit_id, score in scores.items()})
