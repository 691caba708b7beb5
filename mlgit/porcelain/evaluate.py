"""``mlgit evaluate``: accuracy of commits, and of their ensemble, per domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from mlgit.errors import InvalidInputError, did_you_mean
from mlgit.evaluation.evaluator import Evaluator
from mlgit.evaluation.score import Predictions, Score, ensemble, score
from mlgit.evaluation.statistics import Interval, binomial_interval
from mlgit.models.device import resolve_device
from mlgit.models.network import Network
from mlgit.objects import CommitId, Manifest
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime, open_named_task, open_network
from mlgit.porcelain.predictions import remembered
from mlgit.progress import NoProgress, Progress
from mlgit.repository import Repository
from mlgit.tasks.split import DomainData, TestSplit, ValidationSplit
from mlgit.tasks.task import Task
from mlgit.weights.content import weights_content
from mlgit.weights.stored import StoredWeights, load

SPLITS = ("validation", "test", "unseen")
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """Scores on one split of a task.

    Attributes:
        task: The task's name.
        split: ``validation``, ``test`` or ``unseen``.
        scores: Score of each commit, in the order asked for.
        ensemble: Score of the mean of their probabilities, if asked for.
        sizes: Examples of each domain, in the scores' order.
        computed: How many commits were passed through the network; the others were remembered.
    """

    task: str
    split: str
    scores: dict[CommitId, Score]
    ensemble: Score | None
    sizes: dict[str, int]
    computed: int


@dataclass(frozen=True, slots=True)
class Intervals:
    """How sure a score is, each number by itself: exact binomial (Clopper-Pearson) intervals.

    Attributes:
        accuracy: Of the share of all examples.
        per_domain: Of the share within each domain.
    """

    accuracy: Interval
    per_domain: dict[str, Interval]


def intervals(found: Score, sizes: Mapping[str, int], confidence: float = CONFIDENCE) -> Intervals:
    """Return the intervals of a score.

    Args:
        found: The score.
        sizes: Examples of each domain.
        confidence: Of each interval, between 0 and 1.
    """
    parts = torch.split(found.correct, [sizes[name] for name in found.per_domain])
    return Intervals(
        binomial_interval(int(found.correct.sum()), len(found.correct), confidence),
        {
            name: binomial_interval(int(part.sum()), len(part), confidence)
            for name, part in zip(found.per_domain, parts, strict=True)
        },
    )


def evaluate(
    repository: Repository,
    revisions: Sequence[str],
    *,
    task: str,
    split: str = "validation",
    domains: Sequence[str] = (),
    together: bool = False,
    trial: int = 0,
    runtime: Runtime = DEFAULT_RUNTIME,
    progress: Progress | None = None,
) -> EvaluateResult:
    """Score commits on a task; what was computed before, by whatever verb, is not computed again.

    Args:
        repository: Where.
        revisions: Revisions and globs of branches.
        task: The task.
        split: See ``choose_split``.
        domains: Domains of the split; none means all.
        together: Score their ensemble as well.
        trial: Number of the data split.
        runtime: Device and trust.
        progress: Is told of models.

    Raises:
        InvalidInputError: An unknown split, a task without a test domain, or models that cannot be run on it.
        NotFoundError: No such revision, task or domain.
    """
    opened = open_named_task(repository, task, runtime, progress)
    chosen = choose_split(opened, split, trial, domains)
    ids = repository.resolve_many(revisions)
    counts: list[int] = []
    found = predict_commits(repository, ids, chosen, opened, runtime=runtime, progress=progress, counts=counts)
    scores = {commit_id: score(predictions) for commit_id, predictions in found.items()}
    whole = score(ensemble(list(found.values()))) if together else None
    sizes = {domain.name: len(domain) for domain in chosen.domains}
    return EvaluateResult(task, split, scores, whole, sizes, sum(counts))


def choose_split(task: Task, split: str, trial: int, domains: Sequence[str] = ()) -> ValidationSplit | TestSplit:
    """Return a task's split by name.

    Args:
        task: The task.
        split: ``validation`` (the held-out part of the training domains), ``test`` (all of the test domain), or
            ``unseen`` (both: of every domain what training has not seen).
        trial: Number of the data split.
        domains: Domains of the split; none means all.

    Raises:
        InvalidInputError: No such split, the task has no test domain, or a domain that is not in the split.
        NotFoundError: The task has no such domain.
    """
    if split not in SPLITS:
        raise InvalidInputError(
            f"no split is named '{split}'", kind="unknown-split", hint=did_you_mean(split, SPLITS) or "use validation"
        )
    for name in domains:
        task.domain(name)
    if split == "validation":
        validation = task.validation(trial)
        return ValidationSplit(_named(validation.domains, domains, split)) if domains else validation
    test = task.test() if split == "test" else task.evaluation_split(trial=trial)
    return TestSplit(_named(test.domains, domains, split)) if domains else test


def _named(parts: Sequence[DomainData], names: Sequence[str], split: str) -> tuple[DomainData, ...]:
    known = [part.name for part in parts]
    outside = sorted(set(names) - set(known))
    if outside:
        raise InvalidInputError(
            f"domain '{outside[0]}' has no images in the {split} split, which has: {', '.join(known)}",
            kind="domain-not-in-split",
            hint="use `--split unseen`, which has all domains",
        )
    return tuple(part for part in parts if part.name in names)


def predict_commits(
    repository: Repository,
    ids: Sequence[CommitId],
    split: ValidationSplit | TestSplit,
    task: Task,
    *,
    runtime: Runtime = DEFAULT_RUNTIME,
    progress: Progress | None = None,
    counts: list[int] | None = None,
) -> dict[CommitId, tuple[Predictions, ...]]:
    """Return what each commit predicts on a split; data and module stay loaded while the architecture is the same.

    Args:
        repository: Where; remembers the predictions.
        ids: The commits.
        split: The images.
        task: Whose they are.
        runtime: Device and trust.
        progress: Is told of models.
        counts: Gets, for each architecture, how many commits were computed and not remembered.

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
                memory = remembered(repository, manifest, network)
                evaluators[kind] = Evaluator(network, split, resolve_device(runtime.device), remembered=memory)
            key = weights_content(StoredWeights(repository.objects, manifest))
            found[commit_id] = evaluators[kind].predict(partial(load, repository.objects, manifest), key=key)
            bar.advance(1, commit_id.short)
    if counts is not None:
        counts.extend(evaluator.computed for evaluator in evaluators.values())
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
