"""SWAD: the mean over the stretch of a run in which its validation loss stays low."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch

from mlgit.models.network import Network
from mlgit.objects import JsonValue
from mlgit.objects.encoding import Fields
from mlgit.training.mean import Mean
from mlgit.training.method import Method
from mlgit.training.snapshot import Snapshot, prefixed
from mlgit.training.trajectory import Trajectory

Sums = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of evaluations.

    Attributes:
        start: The first one that belongs to it.
        end: The first one that is not known to belong to it.
        closed: Whether ``end`` is known not to.
    """

    start: int
    end: int
    closed: bool


def find_window(losses: Sequence[float], method: Method, *, over: bool) -> Window | None:
    """Return the stretch that SWAD averages.

    It opens with the oldest of ``swad_converge`` evaluations in a row, when that has the lowest loss of them. The
    threshold is their mean times 1 + ``swad_tolerance``. An evaluation belongs to the stretch unless its loss and those
    of the following ones, ``swad_patience`` in all, are above the threshold; the first that does not ends it.

    Args:
        losses: ID validation loss of each evaluation so far.
        method: Has the three numbers.
        over: Whether there will be no more evaluations: then the last ones are judged by the fewer that follow.

    Returns:
        The stretch as far as it is decided; None when none has opened.
    """
    for start in range(len(losses) - method.swad_converge + 1):
        first = losses[start : start + method.swad_converge]
        if first[0] <= min(first):
            return _extend(losses, start, sum(first) / len(first) * (1 + method.swad_tolerance), method, over=over)
    return None


def _extend(losses: Sequence[float], start: int, threshold: float, method: Method, *, over: bool) -> Window:
    for end in range(start, len(losses)):
        following = losses[end : end + method.swad_patience]
        if len(following) < method.swad_patience and not over:
            return Window(start, end, closed=False)
        if min(following) > threshold:
            return Window(start, end, closed=True)
    return Window(start, len(losses), closed=False)


@final
class Swad(Trajectory):
    """The mean of the weights after every update within the window of ``find_window``, each counted once.

    The updates since the evaluation before belong to an evaluation. When no window opens, the mean over the last
    evaluation's updates is the result. A run may end when the window is closed.

    Reference:
        Cha et al., "SWAD: Domain Generalization by Seeking Flat Minima", NeurIPS 2021, arXiv:2102.08604. Unlike in the
        authors' code, the updates of a short first or last stretch weigh no more than others.
    """

    def __init__(self, network: Network, method: Method) -> None:
        super().__init__(network, method)
        self._segment = Mean(network)
        self._total: tuple[Sums, int] | None = None
        self._waiting: dict[int, tuple[Sums, int]] = {}  # evaluation -> sums over its updates, undecided
        self._losses: list[float] = []
        self._steps: list[int] = []

    def updated(self, step: int) -> None:
        """Take the weights."""
        del step
        self._segment.add()

    def evaluated(self, step: int, id_loss: float) -> None:
        """Close a segment, and decide on those that can be decided on."""
        sums = {name: each.cpu() for name, each in self._segment.sums.items()}
        self._waiting[len(self._losses)] = sums, self._segment.count
        self._segment.clear()
        self._losses.append(id_loss)
        self._steps.append(step)
        self._decide(over=False)

    @property
    def is_finished(self) -> bool:
        """Whether the window is closed."""
        found = find_window(self._losses, self.method, over=False)
        return found is not None and found.closed

    def result(self) -> Mapping[str, torch.Tensor] | None:
        """Return the mean over the window."""
        self._decide(over=True)
        sums, count = self._total or self._waiting[len(self._losses) - 1]
        own = self.network.weights()
        return own | {name: (each / count).to(own[name].dtype) for name, each in sums.items()}

    def record(self) -> dict[str, JsonValue]:
        """Return the window in steps."""
        found = find_window(self._losses, self.method, over=True)
        if found is None:
            return {"swad_window": None}
        before = self._steps[found.start - 1] if found.start else -1
        return {"swad_window": [before + 1, self._steps[found.end - 1]]}

    def state(self) -> Snapshot:
        """Return sums and losses."""
        parts = {"segment": (self._segment.sums, self._segment.count)}
        parts |= {f"waiting-{number}": part for number, part in self._waiting.items()}
        parts |= {"total": self._total} if self._total else {}
        tensors = {name: each for key, part in parts.items() for name, each in prefixed(key, part[0]).items()}
        counts: dict[str, JsonValue] = {key: part[1] for key, part in parts.items()}
        return Snapshot(tensors, {"counts": counts, "losses": list(self._losses), "steps": list(self._steps)})

    def restore(self, snapshot: Snapshot) -> None:
        """Set sums and losses."""
        fields = Fields(dict(snapshot.values), "a saved run")
        counts = fields.fields("counts")
        parts = {key: (snapshot.part(key), counts.integer(key)) for key in counts.values}
        self._segment.set(*parts.pop("segment"))
        self._total = parts.pop("total", None)
        self._waiting = {int(key.removeprefix("waiting-")): part for key, part in parts.items()}
        self._losses = [float(str(each)) for each in fields.list("losses")]
        self._steps = [int(str(each)) for each in fields.list("steps")]

    def _decide(self, *, over: bool) -> None:
        found = find_window(self._losses, self.method, over=over)
        if found is None:
            self._forget_before(len(self._losses) - self.method.swad_converge + 1)
            return
        self._forget_before(found.start)
        for number in sorted(self._waiting):
            if number < found.end:
                self._take(*self._waiting.pop(number))
        if found.closed:
            self._waiting.clear()

    def _forget_before(self, start: int) -> None:
        for number in [number for number in self._waiting if number < start]:
            del self._waiting[number]

    def _take(self, sums: Sums, count: int) -> None:
        if self._total is None:
            self._total = {name: each.clone() for name, each in sums.items()}, count
            return
        total, before = self._total
        for name, each in sums.items():
            total[name].add_(each)
        self._total = total, before + count
