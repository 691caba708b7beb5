"""The mean of the weights that a network has had."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from mlgit.models.network import Network

_WIDE = {torch.complex64: torch.complex128, torch.complex32: torch.complex128}


def _wide(tensor: torch.Tensor) -> torch.dtype:
    if tensor.device.type == "mps":  # has no double precision
        return tensor.dtype if tensor.is_complex() else torch.float32
    return _WIDE.get(tensor.dtype, torch.float64 if not tensor.is_complex() else tensor.dtype)


class Mean:
    """Sums in double precision on the network's device, in the order of the steps.

    Whole numbers are not averaged: the network's of the moment count.

    Args:
        network: Must keep its tensors: they are changed in place only.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        state = network.module.state_dict()
        self._live = {name: each for name, each in state.items() if each.is_floating_point() or each.is_complex()}
        self.sums: dict[str, torch.Tensor] = {}
        self.count = 0

    def add(self) -> None:
        """Take the weights of the moment."""
        if not self.sums:
            self.sums = {name: each.detach().to(_wide(each), copy=True) for name, each in self._live.items()}
        else:
            for name, total in self.sums.items():
                total.add_(self._live[name])
        self.count += 1

    def set(self, sums: Mapping[str, torch.Tensor], count: int) -> None:
        """Go on from sums of so many weights."""
        self.sums = {name: each.to(self._live[name].device, copy=True) for name, each in sums.items()}
        self.count = count

    def clear(self) -> None:
        """Forget all."""
        self.sums, self.count = {}, 0

    def put(self) -> None:
        """Write the mean into the network."""
        for name, total in self.sums.items():
            self._live[name].copy_(total / self.count)

    def live(self) -> dict[str, torch.Tensor]:
        """Return a copy of what is averaged, as it is in the network, on its device."""
        return {name: each.detach().clone() for name, each in self._live.items()}

    def restore(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Write back what ``live`` returned."""
        for name, each in weights.items():
            self._live[name].copy_(each)
