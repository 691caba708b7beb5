"""The linear probe: a new head on a frozen featurizer."""

from __future__ import annotations

import torch

from mlgit.models.network import Network
from mlgit.progress import Progress
from mlgit.tasks.split import TrainingSplit, ValidationSplit, seed_hash
from mlgit.training.borrow import borrowed
from mlgit.training.hyper import HyperParameters
from mlgit.training.result import RunResult
from mlgit.training.run import train


def linear_probe(
    network: Network,
    training: TrainingSplit,
    validation: ValidationSplit,
    hyper: HyperParameters,
    *,
    num_classes: int,
    seed: int,
    device: torch.device,
    progress: Progress | None = None,
) -> RunResult:
    """Train a new head for a task on frozen features; the network is left as it was.

    One such head, shared by all runs on a task, is what makes their weights fit to be averaged. The featurizer is in
    evaluation mode throughout and comes out with the same bits; what never changes during the run is featurized once.

    Args:
        network: Its featurizer is used, its head is not.
        training: What gradients see.
        validation: What selects; the same domains.
        hyper: The numbers; ``freeze_steps`` has no effect.
        num_classes: Of the task; outputs of the new head, at least 1.
        seed: Of the head's initialisation, of sampling, augmentation and dropout; 0 to 2**53 - 1.
        device: Where to compute.
        progress: Told of each step.

    Returns:
        The featurizer of ``network`` with the best and the last head, and the record of the run.

    Raises:
        InvalidInputError: See ``train``.
        JobFailedError: See ``train``.

    Reference:
        Ramé et al., "Model Ratatouille", ICML 2023, arXiv:2212.10445; Kumar et al., ICLR 2022, arXiv:2202.10054.
    """
    with borrowed(network, device):
        network.replace_head(num_classes, seed=seed_hash(seed, "head"))
        return train(network, training, validation, hyper, seed=seed, device=device, head_only=True, progress=progress)
