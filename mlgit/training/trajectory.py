"""Averages of the weights along one run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import final

import torch

from mlgit.models.network import Network
from mlgit.objects import JsonValue
from mlgit.training.mean import Mean
from mlgit.training.method import Method
from mlgit.training.snapshot import Snapshot


class Trajectory(ABC):
    """Watches the weights of a run go by.

    Args:
        network: Whose weights; it is trained in place.
        method: Has the parameters.
    """

    def __init__(self, network: Network, method: Method) -> None:
        self.network = network
        self.method = method

    @abstractmethod
    def updated(self, step: int) -> None:
        """Take notice of an update.

        Args:
            step: Its number, from 0.
        """

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Let the network have, within the block, the weights that an evaluation measures."""
        yield

    @property
    def measures_live(self) -> bool:
        """Whether ``measured`` leaves the weights of the moment, so that averages can share their evaluation."""
        return type(self).measured is Trajectory.measured

    def evaluated(self, step: int, id_loss: float) -> None:
        """Take notice of an evaluation.

        Args:
            step: The last update before it.
            id_loss: Loss on ID validation data of what was measured, in nats.
        """
        del step, id_loss

    @property
    def is_finished(self) -> bool:
        """Whether no later weights can matter, so that the run may end."""
        return False

    def result(self) -> Mapping[str, torch.Tensor] | None:
        """Return the weights the run is for, CPU tensors; None: those that were measured are."""
        return None

    def record(self) -> dict[str, JsonValue]:
        """Return what the record of the run should say."""
        return {}

    def state(self) -> Snapshot:
        """Return all that the rest depends on."""
        return Snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from what ``state`` returned."""
        del snapshot


@final
class NoAverage(Trajectory):
    """The weights as they are."""

    def updated(self, step: int) -> None:
        """Do nothing."""


@final
class MovingAverage(Trajectory):
    """The mean of the weights after each update from ``average_from`` on, each counted once.

    It is what evaluations measure and what the best of is kept. Before it begins, the weights of the moment are.

    Reference:
        Arpit et al., "Ensemble of Averages", NeurIPS 2022, arXiv:2110.10832.
    """

    def __init__(self, network: Network, method: Method) -> None:
        super().__init__(network, method)
        self._mean = Mean(network)

    def updated(self, step: int) -> None:
        """Take the weights."""
        if step >= self.method.average_from:
            self._mean.add()

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Let the network have the mean."""
        if not self._mean.count:
            yield
            return
        live = self._mean.live()
        try:
            with torch.no_grad():
                self._mean.put()
            yield
        finally:
            with torch.no_grad():
                self._mean.restore(live)

    @property
    def measures_live(self) -> bool:
        """Whether the mean has not begun."""
        return not self._mean.count

    def record(self) -> dict[str, JsonValue]:
        """Return how many weights were averaged in all."""
        return {"averaged": self._mean.count}

    def state(self) -> Snapshot:
        """Return the sums."""
        return Snapshot(dict(self._mean.sums), {"count": self._mean.count})

    def restore(self, snapshot: Snapshot) -> None:
        """Set the sums."""
        self._mean.set(snapshot.tensors, int(str(snapshot.values["count"])))
