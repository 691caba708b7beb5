"""Evaluates many weights on one split: module and data stay loaded, weights are swapped."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import final

import torch

from mlgit.errors import InvalidInputError
from mlgit.evaluation.cache import Remembered
from mlgit.evaluation.determinism import deterministic_kernels
from mlgit.evaluation.loaded import BATCH_SIZE, MAX_LOADED_BYTES, LoadedDomain, check_domains, load_domains, predict
from mlgit.evaluation.numerics import numerics
from mlgit.evaluation.score import Predictions, Score, score
from mlgit.models.network import Network
from mlgit.objects.encoding import JsonValue
from mlgit.tasks.split import DomainData, TestSplit, ValidationSplit
from mlgit.weights.content import weights_content
from mlgit.weights.types import Weights

_CACHED = 64


@final
class Evaluator:
    """Predicts and scores weights on a split; an ``Evaluate`` function.

    The network is the evaluator's from now on: it is moved to the device, and each evaluation overwrites its weights.
    Equal weights give equal bits on the same device with the same number of threads. Images are decoded at the first
    evaluation that is not remembered, and stay decoded.

    Args:
        network: The architecture; its weights do not matter.
        split: What to evaluate on. Selection code gets its evaluator from ``selection_evaluator``.
        device: Where to compute.
        batch_size: Images in one forward pass, at least 1; fewer when images are large.
        max_loaded_bytes: Bound of the decoded images that are kept on the device; the others are decoded each time.
        remembered: Predictions on disk, or None to compute all of them.

    Attributes:
        computed: How many sets of weights were passed through the network so far, for at least one domain.

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
        remembered: Remembered | None = None,
    ) -> None:
        if not isinstance(split, ValidationSplit | TestSplit):
            raise _wrong_split(split, "evaluation", "a validation or a test split")
        check_domains(split.domains, batch_size)
        self.computed = 0
        self._network = network.to(device)
        self._domains = split.domains
        self._device = device
        self._batch_size = batch_size
        self._max_loaded_bytes = max_loaded_bytes
        self._loaded: tuple[LoadedDomain, ...] = ()
        self._remembered = remembered
        self._cache: OrderedDict[str, tuple[Predictions, ...]] = OrderedDict()

    def predict(self, weights: Weights | Callable[[], Weights], *, key: str | None = None) -> tuple[Predictions, ...]:
        """Return the class probabilities of every example.

        Args:
            weights: Every parameter and buffer of the network by name, or what returns them and is called only if they
                are needed; left unchanged.
            key: Names these weights, as ``weights_content`` does; by default what that returns. What has a key is not
                computed again: the last 64 are held, and ``remembered`` has those of earlier processes. The same key
                must always come with the same weights.

        Returns:
            One entry per domain of the split.

        Raises:
            IncompatibleWeightsError: Names or shapes are not those of the network.
            InvalidInputError: The network has fewer classes than the split.
        """
        content = weights_content(weights) if key is None and isinstance(weights, Mapping) else key
        if content is None:
            return tuple(self._computed(weights, range(len(self._domains))).values())
        if content in self._cache:
            self._cache.move_to_end(content)
            return self._cache[content]
        predictions = self._looked_up(weights, content)
        self._cache[content] = predictions
        if len(self._cache) > _CACHED:
            self._cache.popitem(last=False)
        return predictions

    def __call__(self, weights: Weights, *, key: str | None = None) -> Score:
        """Return how often the weights are right; see ``predict``."""
        return score(self.predict(weights, key=key))

    def also_known_as(self, weights: Weights, other: Weights) -> None:
        """Remember what is known of some weights under the name of others that hold the same bits.

        Args:
            weights: Weights that were evaluated, or not: then nothing happens.
            other: The same bits, named otherwise: stored, as a rule.
        """
        old, new = weights_content(weights), weights_content(other)
        if old is None or new is None or old == new or old not in self._cache:
            return
        self._cache[new] = self._cache[old]
        if self._remembered is not None:
            for domain, part in zip(self._domains, self._cache[old], strict=True):
                self._remembered.cache.keep(self._disk_key(self._remembered, new, domain), part)

    def _looked_up(self, weights: Weights | Callable[[], Weights], content: str) -> tuple[Predictions, ...]:
        """Return what is on disk, and compute the rest."""
        memory = self._remembered
        if memory is None:
            return tuple(self._computed(weights, range(len(self._domains))).values())
        keys = [self._disk_key(memory, content, domain) for domain in self._domains]
        found = {
            number: part
            for number, (key, domain) in enumerate(zip(keys, self._domains, strict=True))
            if (part := memory.cache.find(key, domain)) is not None
        }
        missing = [number for number in range(len(keys)) if number not in found]
        for number, part in self._computed(weights, missing).items() if missing else ():
            memory.cache.keep(keys[number], part)
            found[number] = part
        return tuple(found[number] for number in range(len(keys)))

    def _computed(self, weights: Weights | Callable[[], Weights], numbers: range | list[int]) -> dict[int, Predictions]:
        """Pass the images of some domains through the network."""
        self._network.load(weights if isinstance(weights, Mapping) else weights()).eval()
        if not self._loaded:
            self._loaded = load_domains(
                self._domains, self._device, batch_size=self._batch_size, max_bytes=self._max_loaded_bytes
            )
        with deterministic_kernels():
            predictions = predict(self._network, [self._loaded[number] for number in numbers])
        self.computed += 1
        return dict(zip(numbers, predictions, strict=True))

    def _disk_key(self, memory: Remembered, content: str, domain: DomainData) -> bytes:
        how: dict[str, JsonValue] = {**numerics(self._device), "batch_size": self._batch_size}
        return memory.key(content, domain, how)


def selection_evaluator(
    network: Network,
    validation: ValidationSplit,
    device: torch.device,
    *,
    batch_size: int = BATCH_SIZE,
    max_loaded_bytes: int = MAX_LOADED_BYTES,
    remembered: Remembered | None = None,
) -> Evaluator:
    """Return the evaluator that selection may use: the one on ID validation data.

    Args:
        network: The architecture.
        validation: The validation parts of the training domains; nothing else is taken, whatever the types say.
        device: Where to compute.
        batch_size: See ``Evaluator``.
        max_loaded_bytes: See ``Evaluator``.
        remembered: See ``Evaluator``.

    Raises:
        InvalidInputError: ``validation`` is another kind of split.
    """
    if not isinstance(validation, ValidationSplit):
        raise _wrong_split(validation, "selection", "the ID validation split")
    return Evaluator(
        network,
        validation,
        device,
        batch_size=batch_size,
        max_loaded_bytes=max_loaded_bytes,
        remembered=remembered,
    )


def _wrong_split(split: object, purpose: str, wanted: str) -> InvalidInputError:
    return InvalidInputError(
        f"{purpose} was handed a {type(split).__name__}", kind="wrong-split", hint=f"{purpose} may only see {wanted}"
    )
