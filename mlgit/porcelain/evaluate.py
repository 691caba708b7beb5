"""``mlgit evaluate``: accuracy of commits, and of their ensemble, per domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlgit.errors import InvalidInputError
from mlgit.evaluation.evaluator import Evaluator
from mlgit.evaluation.score import Predictions, Score, ensemble, score
from mlgit.models.device import resolve_device
from mlgit.models.network import Network
from mlgit.objects import CommitId, Manifest
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime, open_named_task, open_network
from mlgit.progress import NoProgress, Progress
from mlgit.repository import Repository
from mlgit.tasks.split import TestSplit, ValidationSplit
from mlgit.tasks.task import Task
from mlgit.weights.stored import load

SPLITS = ("validation", "test")


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """Scores on one split of a task.

    Attributes:
        task: The task's name.
        split: ``validation`` or ``test``.
        scores: Score of each commit, in the order asked for.
        ensemble: Score of the mean of their probabilities, if asked for.
    """

    task: str
    split: str
    scores: dict[CommitId, Score]
    ensemble: Score | None


def evaluate(
    repository: Repository,
    revisions: Sequence[str],
    *,
    task: str,
    split: str = "validation",
    together: bool = False,
    trial: int = 0,
    runtime: Runtime = DEFAULT_RUNTIME,
    progress: Progress | None = None,
) -> EvaluateResult:
    """Score commits on a task.

    Args:
        repository: Where.
        revisions: Revisions and globs of branches.
        task: The task.
        split: ``validation`` (of the training domains) or ``test`` (the test domain).
        together: Score their ensemble as well.
        trial: Number of the data split.
        runtime: Device and trust.
        progress: Is told of models.

    Raises:
        InvalidInputError: An unknown split, a task without a test domain, or models that cannot be run on it.
        NotFoundError: No such revision or task.
    """
    opened = open_named_task(repository, task, runtime, progress)
    found = predict_commits(
        repository,
        repository.resolve_many(revisions),
        choose_split(opened, split, trial),
        opened,
        runtime=runtime,
        progress=progress,
    )
    scores = {commit_id: score(predictions) for commit_id, predictions in found.items()}
    whole = score(ensemble(list(found.values()))) if together else None
    return EvaluateResult(task, split, scores, whole)


def choose_split(task: Task, split: str, trial: int) -> ValidationSplit | TestSplit:
    """Return a task's split by name.

    Raises:
        InvalidInputError: No such split, or the task has no test domain.
    """
    if split not in SPLITS:
        raise InvalidInputError(f"no split is named '{split}'", kind="unknown-split", hint="use validation or test")
    return task.validation(trial) if split == "validation" else task.test()


def predict_commits(
    repository: Repository,
    ids: Sequence[CommitId],
    split: ValidationSplit | TestSplit,
    task: Task,
    *,
    runtime: Runtime = DEFAULT_RUNTIME,
    progress: Progress | None = None,
) -> dict[CommitId, tuple[Predictions, ...]]:
    """Return what each commit predicts on a split; data and module stay loaded while the architecture is the same.

    Raises:
        InvalidInputError: A model tells another number of classes apart than the task, or cannot be built.
    """
    evaluators: dict[object, Evaluator] = {}
    found = {}
    with (progress or NoProgress()).task("evaluating", len(ids)) as bar:
        for commit_id in ids:
            manifest = repository.manifest_of(commit_id)
            kind = _architecture(manifest)
            if kind not in evaluators:
                network = open_network(repository, manifest, runtime=runtime)
                check_classes(network, task, commit_id.short)
                evaluators[kind] = Evaluator(network, split, resolve_device(runtime.device))
            found[commit_id] = evaluators[kind].predict(load(repository.objects, manifest), key=manifest.id)
            bar.advance(1, commit_id.short)
    return found


def check_classes(network: Network, task: Task, name: str) -> None:
    """Refuse to judge a model by a task with other classes: its outputs mean something else.

    Raises:
        InvalidInputError: The numbers of classes differ.
    """
    if network.num_classes != task.num_classes:
        raise InvalidInputError(
            f"{name} tells {network.num_classes} classes apart, task '{task.name}' has {task.num_classes}",
            kind="class-count",
            hint="name the task the model was trained on",
        )


def _architecture(manifest: Manifest) -> object:
    """Return what must be equal for two commits to run in the same module."""
    return manifest.factory, manifest.head, tuple((name, entry.shape) for name, entry in manifest.tensors.items())
