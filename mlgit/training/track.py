"""What one average along a run makes of it: measurements, and the best and the last of its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import torch

from mlgit.errors import InvalidInputError
from mlgit.models.network import Network
from mlgit.objects import JsonValue
from mlgit.objects.encoding import Fields
from mlgit.training.result import Measurement
from mlgit.training.snapshot import Snapshot, prefixed
from mlgit.training.trajectory import Trajectory


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Outcome:
    """Weights on the CPU and their measurements; those of a window of the run are both best and last.

    Attributes:
        weights: The best.
        last_weights: The last.
        best: Of ``weights``.
        last: Of ``last_weights``.
        history: All measurements along the run.
        average: What the average says of itself.
        steps: Updates made.
        resumed_from: Updates of those that were made before the run was interrupted; 0 when it was not.
        before_s: Seconds they took.
        collected: What the other averages along the same run made of it, by name.
    """

    weights: Mapping[str, torch.Tensor]
    last_weights: Mapping[str, torch.Tensor]
    best: Measurement
    last: Measurement
    history: tuple[Measurement, ...]
    average: Mapping[str, JsonValue] = field(default_factory=dict)
    steps: int
    resumed_from: int = 0
    before_s: float = 0.0
    collected: Mapping[str, Outcome] = field(default_factory=dict)


@final
class View:
    """An evaluation of the weights that a network has at the moment; who keeps them asks for them before they change.

    Args:
        network: Whose.
        measurement: Of them.
    """

    def __init__(self, network: Network, measurement: Measurement) -> None:
        self._network = network
        self.measurement = measurement

    @cached_property
    def weights(self) -> Mapping[str, torch.Tensor]:
        """One copy for all who ask."""
        return self._network.weights()


@final
class Track:
    """Follows one average along a run.

    Args:
        network: Is trained in place.
        trajectory: The average.
    """

    def __init__(self, network: Network, trajectory: Trajectory) -> None:
        self._network = network
        self.trajectory = trajectory
        self.history: list[Measurement] = []
        self._best: tuple[Measurement, Mapping[str, torch.Tensor]] | None = None

    def take(self, view: View) -> None:
        """Remember an evaluation, and the weights if they are the best so far."""
        self.history.append(view.measurement)
        if self._best is None or view.measurement.macro > self._best[0].macro:
            self._best = view.measurement, view.weights

    def outcome(
        self, measure: Callable[[int], Measurement], *, steps: int, resumed_from: int, before_s: float
    ) -> Outcome:
        """Return what the average made of the run; the network is left as it was.

        Args:
            measure: Evaluates the weights that the network has, as of a step.
            steps: Updates made.
            resumed_from: Updates made before an interruption.
            before_s: Seconds they took.
        """
        assert self._best is not None  # noqa: S101 - the last step is always measured
        (best, weights), last = self._best, self.history[-1]
        averaged = self.trajectory.result()
        if averaged is not None:
            best = last = self._measured_as(averaged, measure, last.step)
            weights = last_weights = averaged
        elif best is last:
            last_weights = weights
        else:
            with self.trajectory.measured():
                last_weights = self._network.weights()
        return Outcome(
            weights=weights,
            last_weights=last_weights,
            best=best,
            last=last,
            history=tuple(self.history),
            average=self.trajectory.record(),
            steps=steps,
            resumed_from=resumed_from,
            before_s=before_s,
        )

    def _measured_as(
        self, weights: Mapping[str, torch.Tensor], measure: Callable[[int], Measurement], step: int
    ) -> Measurement:
        live = self._network.weights()
        self._network.load(weights)
        try:
            return measure(step)
        finally:
            self._network.load(live)

    def state(self) -> Snapshot:
        """Return all that the rest depends on; something was measured."""
        assert self._best is not None  # noqa: S101 - step 0 is measured
        (best, weights), average = self._best, self.trajectory.state()
        return Snapshot(
            {**prefixed("best", weights), **prefixed("average", average.tensors)},
            {
                "history": [each.to_json() for each in self.history],
                "best_step": best.step,
                "average": average.values,
            },
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from what ``state`` returned.

        Raises:
            InvalidInputError: The best of the measurements is none of them.
        """
        fields = Fields(dict(snapshot.values), "a saved run")
        self.history = [Measurement.from_json(each) for each in fields.items("history")]
        best = next((each for each in self.history if each.step == fields.integer("best_step")), None)
        if best is None:
            raise misfit()
        self._best = best, snapshot.part("best")
        self.trajectory.restore(Snapshot(snapshot.part("average"), fields.mapping("average")))


def misfit() -> InvalidInputError:
    """Return what to raise when a saved run is not one of this training."""
    return InvalidInputError(
        "a saved run does not fit what it should go on with", kind="bad-run", hint="drop it with `--abandon`"
    )
