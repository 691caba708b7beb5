"""Batch-norm statistics of given weights, measured anew."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from mlgit.errors import InvalidInputError
from mlgit.evaluation.determinism import deterministic_kernels
from mlgit.models.network import Network
from mlgit.tasks.split import TrainingSplit
from mlgit.training.borrow import borrowed, norms
from mlgit.training.randomness import generator_for
from mlgit.weights.overlay import Overlay
from mlgit.weights.stored import LazyWeights
from mlgit.weights.types import DTYPES, Weights, forms


def recompute_statistics(
    network: Network,
    weights: Weights,
    training: TrainingSplit,
    *,
    device: torch.device,
    batch_size: int = 256,
    seed: int = 0,
) -> Weights:
    """Return weights whose running means and variances were measured on a training split.

    An average of models whose statistics differ has activations that neither set describes. All training images, not
    augmented and mixed over the domains, are passed once in batches of nearly equal size; a statistic is the plain mean
    over the batches. The rest of the weights is returned as it was given, bit for bit; the network is left as it was.

    Args:
        network: The architecture; its weights do not matter.
        weights: Every parameter and buffer by name; left unchanged.
        training: The images.
        device: Where to compute.
        batch_size: Images per batch at most, at least 2; fewer than two images in all are refused.
        seed: Of the mixing.

    Returns:
        A new mapping, which reads what it is asked for where ``weights`` do; without batch normalisation in the
        network, equal to ``weights``.

    Raises:
        InvalidInputError: Too few images for a variance.
        IncompatibleWeightsError: The weights do not fit the network.

    Reference:
        Izmailov et al., UAI 2018, arXiv:1803.05407, section 3.2.
    """
    if batch_size < 2 or len(training) < 2:
        raise InvalidInputError(
            f"{len(training)} images in batches of {batch_size} have no variance",
            kind="batch-too-small",
            hint="use a batch size of 2 or more, on 2 or more images",
        )
    with borrowed(network, device), deterministic_kernels(), torch.no_grad():
        network.load(weights).module.eval()
        measured = {name: part for name, part in norms(network).items() if part.track_running_stats}
        momenta = {name: part.momentum for name, part in measured.items()}
        try:
            for part in measured.values():
                part.reset_running_stats()
                part.momentum = None  # the plain mean over batches
                part.train()
            if measured:
                _pass_all(network, training, device, batch_size, seed)
        finally:
            for name, part in measured.items():
                part.momentum = momenta[name]
        return _with_statistics(weights, measured)


def _pass_all(network: Network, training: TrainingSplit, device: torch.device, batch_size: int, seed: int) -> None:
    places = torch.cat(
        [
            torch.stack([torch.full((len(domain),), number), torch.arange(len(domain))], dim=1)
            for number, domain in enumerate(training.domains)
        ]
    )
    order = torch.randperm(len(places), generator=generator_for(seed, "statistics"))
    for chosen in places[order].tensor_split(-(-len(places) // batch_size)):
        images = [domain.images(chosen[chosen[:, 0] == n, 1]) for n, domain in enumerate(training.domains)]
        network.forward(torch.cat(images).to(device))


def _with_statistics(weights: Weights, measured: Mapping[str, nn.Module]) -> Weights:
    """Return the weights with the buffers of the measured layers, in the weights' dtypes."""
    known = forms(weights)
    new = {
        buffer: value.detach().to("cpu", DTYPES[known[buffer].dtype], copy=True)
        for name, part in measured.items()
        for buffer, value in part.named_buffers(prefix=name)
    }
    return Overlay(weights, new) if isinstance(weights, LazyWeights) else {**weights, **new}
