"""What scores weights on the data of a task and makes them final."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from mlgit.evaluation.evaluator import Evaluator
from mlgit.evaluation.score import Evaluate, Score, score
from mlgit.models.device import resolve_device
from mlgit.objects import Manifest
from mlgit.porcelain.evaluate import check_classes
from mlgit.porcelain.open_model import Runtime, open_network
from mlgit.porcelain.predictions import remembered
from mlgit.repository import Repository
from mlgit.tasks.task import Task
from mlgit.training.statistics import recompute_statistics
from mlgit.weights.accumulate import STATISTICS
from mlgit.weights.content import derived_content, tensor_content, weights_content
from mlgit.weights.overlay import with_contents
from mlgit.weights.types import Weights


def unchanged(weights: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """Return the weights as they are."""
    return weights


def unnoticed(weights: Weights, stored: Weights) -> None:
    """Do nothing."""
    del weights, stored


class Judges(NamedTuple):
    """What scores weights, makes them final, and is told where they were stored."""

    evaluate: Evaluate
    settle: Callable[[Weights], Weights]
    also_known_as: Callable[[Weights, Weights], None]


def judges_of(
    repository: Repository,
    task: Task,
    manifest: Manifest,
    classes: int | None,
    recompute: bool,
    trial: int,
    runtime: Runtime,
    make_evaluator: Callable[..., Evaluator],
) -> Judges:
    """Return what scores weights and what makes them final.

    Args:
        repository: Remembers predictions.
        task: Its training data give new batch-norm statistics.
        manifest: A state with the architecture.
        classes: How many classes the head is to have; None: as many as the state's.
        recompute: Whether batch-norm statistics are measured anew before weights are scored.
        trial: Number of the data split.
        runtime: Device and trust.
        make_evaluator: Returns the evaluator of a network on the split that may judge, given ``device`` and
            ``remembered``: ``selection_evaluator`` wherever something is selected.

    Raises:
        InvalidInputError: The model tells other classes apart than the task, or cannot be built.
    """
    network = open_network(repository, manifest, runtime=runtime, num_classes=classes)
    check_classes(network, task, "the models' classifier")
    device = resolve_device(runtime.device)
    memory = remembered(repository, manifest, network)
    evaluator = make_evaluator(network, device=device, remembered=memory)
    if not recompute:
        return Judges(evaluator, unchanged, evaluator.also_known_as)
    training = task.training(trial)
    spare = open_network(repository, manifest, runtime=runtime, num_classes=classes)

    def settle(weights: Weights) -> Weights:
        settled = recompute_statistics(spare, weights, training, device=device)
        return with_contents(settled, recomputed(weights, training.digest))

    def evaluate(weights: Weights) -> Score:
        key = weights_content(weights, recomputed(weights, training.digest))
        return score(evaluator.predict(lambda: settle(weights), key=key))

    def also_known_as(weights: Weights, stored: Weights) -> None:
        evaluator.also_known_as(with_contents(weights, recomputed(weights, training.digest)), stored)

    return Judges(evaluate, settle, also_known_as)


def recomputed(weights: Weights, data: str) -> dict[str, str | None]:
    """Return what names the tensors of weights whose batch-norm statistics are measured anew.

    Args:
        weights: Which.
        data: Digest of the training data.
    """
    whole = weights_content(weights)
    if whole is None:
        return {}
    return {
        name: derived_content(whole, "statistics", data, name)
        if name.rpartition(".")[2] in STATISTICS
        else tensor_content(weights, name)
        for name in weights
    }
