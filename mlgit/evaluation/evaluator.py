"""Evaluates many weights on one split: module and data stay loaded, weights are swapped."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import final

import torch

from mlgit.errors import InvalidInputError
from mlgit.evaluation.determinism import deterministic_kernels
from mlgit.evaluation.loaded import BATCH_SIZE, MAX_LOADED_BYTES, load_domains, predict
from mlgit.evaluation.score import Predictions, Score, score
from mlgit.models.network import Network
from mlgit.tasks.split import TestSplit, ValidationSplit
from mlgit.weights.types import Weights

_CACHED = 64


@final
class Evaluator:
    """Predicts and scores weights on a split; an ``Evaluate`` function.

    The network is the evaluator's from now on: it is moved to the device, and each evaluation overwrites its weights.
    Equal weights give equal bits on the same device with the same number of threads.

    Args:
        network: The architecture; its weights do not matter.
        split: What to evaluate on. Selection code gets its evaluator from ``selection_evaluator``.
        device: Where to compute.
        batch_size: Images in one forward pass, at least 1; fewer when images are large.
        max_loaded_bytes: Bound of the decoded images that are kept on the device; the others are decoded each time.

    Raises:
        InvalidInputError: The split is none that may be evaluated on, has no domain or an empty one.
    """

    def __init__(
        self,
        network: Network,
        split: ValidationSplit | TestSplit,
        device: torch.device,
        *,
        batch_size: int = BATCH_SIZE,
        max_loaded_bytes: int = MAX_LOADED_BYTES,
    ) -> None:
        if not isinstance(split, ValidationSplit | TestSplit):
            raise _wrong_split(split, "evaluation", "a validation or a test split")
        self._network = network.to(device)
        self._domains = load_domains(split.domains, device, batch_size=batch_size, max_bytes=max_loaded_bytes)
        self._cache: OrderedDict[Hashable, tuple[Predictions, ...]] = OrderedDict()

    def predict(self, weights: Weights, *, key: Hashable | None = None) -> tuple[Predictions, ...]:
        """Return the class probabilities of every example.

        Args:
            weights: Every parameter and buffer of the network by name; left unchanged.
            key: Names these weights, for example a manifest id. The last 64 keys are remembered and not computed
                again; the same key must always come with the same weights.

        Returns:
            One entry per domain of the split.

        Raises:
            IncompatibleWeightsError: Names or shapes are not those of the network.
            InvalidInputError: The network has fewer classes than the split.
        """
        if key is not None and key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        self._network.load(weights).eval()
        with deterministic_kernels():
            predictions = predict(self._network, self._domains)
        if key is not None:
            self._cache[key] = predictions
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        return predictions

    def __call__(self, weights: Weights, *, key: Hashable | None = None) -> Score:
        """Return how often the weights are right; see ``predict``."""
        return score(self.predict(weights, key=key))


def selection_evaluator(
    network: Network,
    validation: ValidationSplit,
    device: torch.device,
    *,
    batch_size: int = BATCH_SIZE,
    max_loaded_bytes: int = MAX_LOADED_BYTES,
) -> Evaluator:
    """Return the evaluator that selection may use: the one on ID validation data.

    Args:
        network: The architecture.
        validation: The validation parts of the training domains; nothing else is taken, whatever the types say.
        device: Where to compute.
        batch_size: See ``Evaluator``.
        max_loaded_bytes: See ``Evaluator``.

    Raises:
        InvalidInputError: ``validation`` is another kind of split.
    """
    if not isinstance(validation, ValidationSplit):
        raise _wrong_split(validation, "selection", "the ID validation split")
    return Evaluator(network, validation, device, batch_size=batch_size, max_loaded_bytes=max_loaded_bytes)


def _wrong_split(split: object, purpose: str, wanted: str) -> InvalidInputError:
    return InvalidInputError(
        f"{purpose} was handed a {type(split).__name__}", kind="wrong-split", hint=f"{purpose} may only see {wanted}"
    )
