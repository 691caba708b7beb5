"""Commits as candidates: their weights, the module that runs them and the data that may judge them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import torch

from mlgit.errors import InvalidInputError
from mlgit.evaluation.evaluator import selection_evaluator
from mlgit.evaluation.score import Evaluate
from mlgit.merging.candidate import Candidate
from mlgit.objects import Commit, CommitId, Manifest
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.judges import judges_of, unchanged, unnoticed
from mlgit.porcelain.lineage_rules import check_auxiliary, check_split, check_test_domain_unseen
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime, open_named_task
from mlgit.porcelain.probe import pretrained_commit, shared_probe
from mlgit.repository import Repository
from mlgit.tasks.task import Task
from mlgit.weights.accumulate import STATISTICS
from mlgit.weights.compatibility import check_compatible
from mlgit.weights.content import contents_of
from mlgit.weights.overlay import Overlay, part, with_contents
from mlgit.weights.stored import StoredWeights, load
from mlgit.weights.types import Weights

HELD_BYTES = 2**26
"""Candidates that are to be evaluated, and so read several times, are held when together they are at most this large.

Otherwise each look-up reads, and memory does not grow with number and size of the models.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Candidates of a merge, in canonical order.

    Attributes:
        ids: Their commits, sorted.
        manifests: Their states, in the same order.
        candidates: Their weights; empty when only headers were looked at.
        head: Name of the classifier's module; empty when unknown.
        head_source: The commit whose classifier all candidates got in the place of their own, if any.
        task: The task, if one was named.
        evaluate: Scores weights on its ID validation split, or None without a task.
        settle: Makes merged weights final: recomputes batch-norm statistics where they differ.
        recomputes: Whether it does.
        also_known_as: Is told that weights that were evaluated are now stored, so that they are not evaluated again.
    """

    ids: tuple[CommitId, ...]
    manifests: tuple[Manifest, ...]
    candidates: tuple[Candidate, ...] = ()
    head: str = ""
    head_source: CommitId | None = None
    task: Task | None = None
    evaluate: Evaluate | None = None
    settle: Callable[[Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]] = field(default=unchanged)
    recomputes: bool = False
    also_known_as: Callable[[Weights, Weights], None] = field(default=unnoticed)


class Members(NamedTuple):
    """The opened models: candidates and the source of their head, as in ``Pool``."""

    candidates: tuple[Candidate, ...]
    head_source: CommitId | None


def open_pool(
    repository: Repository,
    ids: Sequence[CommitId],
    *,
    task: str | None,
    featurizers_only: bool = False,
    recompute: bool | None = None,
    trial: int = 0,
    runtime: Runtime = DEFAULT_RUNTIME,
    headers_only: bool = False,
    actor: Actor = ANYONE,
) -> Pool:
    """Check that commits fit together and get them ready to be evaluated and averaged.

    Args:
        repository: Where.
        ids: The commits, sorted, each once.
        task: The task whose ID validation split judges, or None.
        featurizers_only: The candidates' classifiers play no part: all get the linear probe of the task, or without a
            task the classifier of the pretrained commit.
        recompute: Measure batch-norm statistics of whatever is evaluated anew on the training data; None: only when
            those of the candidates differ.
        trial: Number of the data split.
        runtime: Device and trust.
        headers_only: Stop after what can be told without reading a tensor.
        actor: For a new linear probe's commit.

    Raises:
        IncompatibleWeightsError: Names, shapes or dtypes differ.
        InvalidInputError: A candidate has seen what it must not have seen (see ``lineage_rules``), or the model cannot
            be run on the task.
        NotFoundError: No such task.
    """
    manifests = fitting(repository, ids, featurizers_only)
    head = (manifests[0].head or "") if manifests else ""
    if headers_only or not ids:
        return Pool(tuple(ids), manifests, head=head)
    opened = None if task is None else open_named_task(repository, task, runtime)
    if opened is not None:
        _check_lineage(repository, opened, ids, trial, auxiliary=featurizers_only)
    members = open_members(repository, ids, manifests, opened, featurizers_only, trial, runtime, actor)
    pool = Pool(tuple(ids), manifests, members.candidates, head, members.head_source)
    if opened is None:
        return pool
    anew = statistics_differ(manifests) if recompute is None else recompute
    classes = opened.num_classes if featurizers_only else None
    evaluator = partial(selection_evaluator, validation=opened.validation(trial))
    judges = judges_of(repository, opened, manifests[0], classes, anew, trial, runtime, evaluator)
    return replace(
        pool,
        task=opened,
        evaluate=judges.evaluate,
        settle=judges.settle,
        recomputes=anew,
        also_known_as=judges.also_known_as,
    )


def fitting(repository: Repository, ids: Sequence[CommitId], featurizers_only: bool) -> tuple[Manifest, ...]:
    """Return the states of commits after checking that they fit together.

    Raises:
        IncompatibleWeightsError: Names, shapes or dtypes differ.
        InvalidInputError: Only featurizers matter, and nothing says what the head is.
    """
    manifests = tuple(repository.manifest_of(commit_id) for commit_id in ids)
    head = (manifests[0].head or "") if manifests else ""
    if featurizers_only and not head:
        raise InvalidInputError(
            "nothing says which part of the model is its head",
            kind="no-head",
            hint='write `head = "fc"`, or what its name is, under `[model]` in mlgit.toml and commit it',
        )
    tensors = {commit_id.short: manifest.tensors for commit_id, manifest in zip(ids, manifests, strict=True)}
    check_compatible(tensors, ignore=(head + ".",) if featurizers_only else ())
    return manifests


def open_members(
    repository: Repository,
    ids: Sequence[CommitId],
    manifests: tuple[Manifest, ...],
    task: Task | None,
    featurizers_only: bool,
    trial: int,
    runtime: Runtime,
    actor: Actor,
) -> Members:
    """Return the weights of commits as candidates, all with the same classifier if only featurizers matter.

    Args:
        repository: Where.
        ids: The commits, sorted, each once; at least one.
        manifests: Their states, which fit together.
        task: The task, if they are to be evaluated.
        featurizers_only: Whether their own classifiers play no part.
        trial: Number of the data split.
        runtime: Device and trust.
        actor: For a new linear probe's commit.
    """
    weights = _weights(repository, manifests, several_times=task is not None)
    source = None
    if featurizers_only:
        head = f"{manifests[0].head}."
        source = _head_source(repository, task, ids[0], trial, runtime, actor)
        own = part(
            StoredWeights(repository.objects, repository.manifest_of(source)), lambda name: name.startswith(head)
        )
        weights = [Overlay(each, own, lambda name: not name.startswith(head)) for each in weights]
    scores = [_score(repository.commit_of(commit_id), task, trial) for commit_id in ids]
    candidates = tuple(
        Candidate(commit_id, own_weights, score, content=manifest.id)
        for commit_id, own_weights, score, manifest in zip(ids, weights, scores, manifests, strict=True)
    )
    return Members(candidates, source)


def _check_lineage(repository: Repository, task: Task, ids: Sequence[CommitId], trial: int, *, auxiliary: bool) -> None:
    """Refuse candidates that selection on this task must not use."""
    for commit_id in ids:
        check_test_domain_unseen(repository, task, commit_id, own_head=not auxiliary)
        if auxiliary:
            check_auxiliary(repository, task, commit_id)
        else:
            check_split(repository, task, commit_id, trial)


def statistics_differ(manifests: Sequence[Manifest]) -> bool:
    """Say whether the models have different running means or variances; no tensor is read."""
    first, *others = manifests
    names = [name for name in first.tensors if name.rpartition(".")[2] in STATISTICS]
    return any(other.tensors[name].id != first.tensors[name].id for other in others for name in names)


def _weights(repository: Repository, manifests: Sequence[Manifest], *, several_times: bool) -> list[Weights]:
    stored = [StoredWeights(repository.objects, manifest) for manifest in manifests]
    if not several_times or sum(manifest.size_bytes for manifest in manifests) > HELD_BYTES:
        return list(stored)
    return [
        with_contents(load(repository.objects, manifest), contents_of(each))
        for manifest, each in zip(manifests, stored, strict=True)
    ]


def _head_source(
    repository: Repository, task: Task | None, first: CommitId, trial: int, runtime: Runtime, actor: Actor
) -> CommitId:
    pretrained = pretrained_commit(repository, first)
    if task is None:
        return pretrained
    return shared_probe(repository, task, pretrained, trial=trial, runtime=runtime, actor=actor).id


def _score(commit: Commit, task: Task | None, trial: int) -> float | None:
    """Return the recorded ID validation accuracy when it was measured on this task and split."""
    if task is None or commit.task is None or commit.task.digest != task.digest:
        return None
    return commit.metrics.get("id_accuracy") if commit.made.get("trial", 0) == trial else None
