"""What a run computes on: images and the whole network, or features and the head alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from mlgit.evaluation.loaded import MAX_LOADED_BYTES, LoadedDomain, load_domains, predict
from mlgit.evaluation.score import Predictions
from mlgit.models.network import Network
from mlgit.tasks.split import TrainingSplit, ValidationSplit
from mlgit.training.batches import Batches, ResidentBatches, Sampler, batches_of, is_plain

_FLOAT_BYTES = 4
Function = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What the loop computes on.

    Attributes:
        forward: From the inputs of a batch to logits.
        batches: Training batches.
        predict: Predictions on the ID validation split with the weights of the moment, in evaluation mode.
        domains: Training domains, equally many examples of each in a batch, one after the other.
    """

    forward: Function
    batches: Batches
    predict: Callable[[], tuple[Predictions, ...]]
    domains: int = 1


def image_inputs(
    network: Network,
    training: TrainingSplit,
    validation: ValidationSplit,
    sampler: Sampler,
    *,
    seed: int,
    device: torch.device,
) -> Inputs:
    """Return inputs for training all of a network.

    Args:
        network: On the device.
        training: What to draw from.
        validation: What to predict.
        sampler: Chooses the examples.
        seed: Of augmentation.
        device: Where to.
    """
    held_out = load_domains(validation.domains, device)
    batches = batches_of(training.domains, sampler, seed=seed, device=device)
    return Inputs(
        forward=network.forward,
        batches=batches,
        predict=lambda: predict(network.forward, held_out),
        domains=len(training.domains),
    )


def feature_inputs(
    network: Network,
    training: TrainingSplit,
    validation: ValidationSplit,
    sampler: Sampler,
    *,
    seed: int,
    device: torch.device,
) -> Inputs:
    """Return inputs for training the head of a network whose featurizer is frozen in evaluation mode.

    What stays the same in all steps is computed once: features of the validation images, and of the training images
    when augmentation changes nothing. The batches hold the same examples as without this; see ``image_inputs``.
    """
    if not _features_fit(network, len(training) + len(validation)):
        return image_inputs(network, training, validation, sampler, seed=seed, device=device)
    head = network.head_module
    held_out = _featurized(network, load_domains(validation.domains, device))
    forward: Function = network.forward
    if is_plain(training.domains):
        forward, batches = head, _feature_batches(network, training, sampler, device)
    else:
        batches = batches_of(training.domains, sampler, seed=seed, device=device)
    return Inputs(
        forward=forward,
        batches=batches,
        predict=lambda: predict(head, held_out),
        domains=len(training.domains),
    )


def _feature_batches(network: Network, training: TrainingSplit, sampler: Sampler, device: torch.device) -> Batches:
    features = _featurized(network, load_domains(training.domains, device))
    inputs = [torch.cat(list(domain.batches())) for domain in features]
    return ResidentBatches(inputs, [domain.labels for domain in features], sampler)


def _features_fit(network: Network, count: int) -> bool:
    return count * network.num_features * _FLOAT_BYTES <= MAX_LOADED_BYTES


def _featurized(network: Network, domains: Sequence[LoadedDomain]) -> list[LoadedDomain]:
    network.module.eval()
    return [domain.mapped(network.features) for domain in domains]
