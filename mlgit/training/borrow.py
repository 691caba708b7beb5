"""A network lent to a run and given back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mlgit.models.network import Network

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def norms(network: Network) -> dict[str, nn.modules.batchnorm._BatchNorm]:
    """Return the batch normalisations of a network by module name, in module order."""
    return {name: part for name, part in network.module.named_modules() if isinstance(part, _NORMS)}


@contextmanager
def borrowed(network: Network, device: torch.device) -> Iterator[None]:
    """Let the block change a network on ``device``; afterwards, however it ends, everything is as before.

    Restored are weights, device, head, dropout, gradients, what requires them, and the mode of every layer.

    Args:
        network: Whose module may be changed in any way but its architecture; another head is allowed.
        device: Where the block computes.
    """
    head, dropout = network.head_module, network.dropout
    home = head.weight.device
    weights = {name: tensor.detach().clone() for name, tensor in network.module.state_dict().items()}
    modes = [(part, part.training) for part in network.module.modules()]
    gradients = [(each, each.requires_grad, each.grad) for each in network.module.parameters()]
    try:
        network.to(device)
        yield
    finally:
        _put_head(network, head)
        network.set_dropout(dropout).to(home).load(weights)
        for part, mode in modes:
            part.training = mode
        for parameter, required, gradient in gradients:
            parameter.requires_grad_(required).grad = gradient


def _put_head(network: Network, head: nn.Linear) -> None:
    if network.head_module is not head:
        parent, _, name = network.head.rpartition(".")
        setattr(network.module.get_submodule(parent), name, head)
