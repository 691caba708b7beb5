"""Measures models and averages of them on ID validation data and on the test domain, for reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mlgit.evaluation.evaluator import Evaluator
from mlgit.evaluation.score import Evaluate, Predictions, Score, ensemble, score
from mlgit.models.device import resolve_device
from mlgit.objects import CommitId
from mlgit.porcelain.evaluate import check_classes
from mlgit.porcelain.judges import recomputed
from mlgit.porcelain.open_model import Runtime, open_network
from mlgit.porcelain.pool import HELD_BYTES, statistics_differ
from mlgit.porcelain.predictions import remembered
from mlgit.progress import NoProgress, Progress
from mlgit.repository import Repository
from mlgit.tasks.task import Task
from mlgit.training.statistics import recompute_statistics
from mlgit.weights.arithmetic import lazy_average
from mlgit.weights.content import contents_of, weights_content
from mlgit.weights.overlay import Overlay, part, with_contents
from mlgit.weights.stored import StoredWeights, load
from mlgit.weights.types import Weights

Where = Literal["test", "validation"]
PLACES: tuple[Where, ...] = ("test", "validation")


@dataclass(frozen=True, slots=True)
class Measured:
    """How often a model is right.

    Attributes:
        test: On the whole test domain.
        validation: On ID validation data.
    """

    test: Score
    validation: Score

    def on(self, where: Where) -> Score:
        """Return one of the two."""
        return self.test if where == "test" else self.validation

    def accuracy(self, where: Where) -> float:
        """Return the accuracy as results of recipes have it: on ID validation data the mean over the domains."""
        return self.test.accuracy if where == "test" else self.validation.macro


class Laboratory:
    """Measures weights on a target; data stay decoded, the module stays loaded, and predictions are remembered.

    Args:
        repository: Where.
        task: The target, with a test domain.
        like: A commit with the architecture of all that is measured and the target's classes.
        trial: Number of the data split.
        runtime: Device and trust.
        progress: Is told of what is measured.

    Raises:
        InvalidInputError: The model cannot be run on the task, or the task has no test domain.
    """

    def __init__(
        self,
        repository: Repository,
        task: Task,
        like: CommitId,
        *,
        trial: int,
        runtime: Runtime,
        progress: Progress | None = None,
    ) -> None:
        manifest = repository.manifest_of(like)
        network = open_network(repository, manifest, runtime=runtime)
        check_classes(network, task, like.short)
        self.repository = repository
        self.task = task
        self.head = network.head
        self.progress = progress or NoProgress()
        self._training = task.training(trial)
        self._test = task.test().names
        self._spare = open_network(repository, manifest, runtime=runtime)
        self._device = resolve_device(runtime.device)
        memory = remembered(repository, manifest, network)
        split = task.evaluation_split(trial=trial)
        self._evaluator = Evaluator(network, split, self._device, remembered=memory)
        self._held: dict[CommitId, Weights] = {}
        self._held_bytes = 0

    @property
    def computed(self) -> int:
        """How many sets of weights were passed through the network, for at least one domain."""
        return self._evaluator.computed

    def model(self, commit_id: CommitId) -> Weights:
        """Return a commit's weights; held as long as there is room, otherwise read when they are asked for."""
        if commit_id not in self._held:
            manifest = self.repository.manifest_of(commit_id)
            stored = StoredWeights(self.repository.objects, manifest)
            if self._held_bytes + manifest.size_bytes > HELD_BYTES:
                return stored
            self._held[commit_id] = with_contents(load(self.repository.objects, manifest), contents_of(stored))
            self._held_bytes += manifest.size_bytes
        return self._held[commit_id]

    def with_head(self, commit_id: CommitId, head: CommitId) -> Weights:
        """Return a commit's featurizer with the classifier of another commit."""
        above = part(self.model(head), self._in_head)
        return Overlay(self.model(commit_id), above, lambda name: not self._in_head(name))

    def measure(self, weights: Weights, *, anew: bool = False) -> Measured:
        """Return how often weights are right; see ``predict``."""
        return self._scored(self.predict(weights, anew=anew))

    def measure_mean(self, ids: Sequence[CommitId]) -> Measured:
        """Return how often the uniform average of commits is right, made as ``merge`` makes it: in canonical order."""
        if len(ids) == 1:
            return self.measure(self.model(ids[0]))
        ordered = sorted(ids, key=lambda commit_id: (self.repository.commit_of(commit_id).manifest, commit_id))
        anew = self.statistics_differ(ids)
        averaged = lazy_average(
            [self.model(each) for each in ordered],
            [1 / len(ids)] * len(ids),
            statistics="first" if anew else "require-equal",
        )
        return self.measure(averaged, anew=anew)

    def measure_ensemble(self, members: Sequence[Sequence[Predictions]]) -> Measured:
        """Return how often the mean of predictions is right."""
        return self._scored(ensemble(members))

    def evaluate(self, where: Where, *, anew: bool = False) -> Evaluate:
        """Return what scores weights in one of the two places; see ``predict``."""
        return lambda weights: self.measure(weights, anew=anew).on(where)

    def predict(self, weights: Weights, *, anew: bool = False) -> tuple[Predictions, ...]:
        """Return what weights say about every example; what is remembered is not computed.

        Args:
            weights: Which.
            anew: Measure batch-norm statistics on the training data first.
        """
        if not anew:
            return self._evaluator.predict(weights)
        key = weights_content(weights, recomputed(weights, self._training.digest))
        return self._evaluator.predict(
            lambda: recompute_statistics(self._spare, weights, self._training, device=self._device), key=key
        )

    def statistics_differ(self, ids: Sequence[CommitId]) -> bool:
        """Say whether commits have different batch-norm statistics; no tensor is read."""
        return statistics_differ([self.repository.manifest_of(commit_id) for commit_id in ids])

    def _in_head(self, name: str) -> bool:
        return name.startswith(self.head + ".")

    def _scored(self, predictions: Sequence[Predictions]) -> Measured:
        in_test = [part.domain in self._test for part in predictions]
        test, validation = (
            [each for each, tested in zip(predictions, in_test, strict=True) if tested is wanted]
            for wanted in (True, False)
        )
        return Measured(score(test), score(validation))
