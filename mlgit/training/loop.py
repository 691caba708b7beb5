"""The loop: draw, forward, backward, update; measure now and then; keep the best; save the state."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch

from mlgit.errors import InvalidInputError, JobFailedError
from mlgit.evaluation.score import score
from mlgit.models.network import Network
from mlgit.objects.encoding import Fields
from mlgit.progress import Bar
from mlgit.training.borrow import norms
from mlgit.training.hyper import HyperParameters
from mlgit.training.inputs import Inputs
from mlgit.training.randomness import layer_states, set_layer_states
from mlgit.training.result import Measurement, mean_loss
from mlgit.training.snapshot import Saves, Snapshot, prefixed
from mlgit.training.trajectory import Trajectory
from mlgit.training.updates import Updates

_CHECK_EVERY = 50  # reading a loss waits for the device: look at many together


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Weights on the CPU and their measurements; those of a window of the run are both best and last.

    Attributes:
        weights: The best.
        last_weights: The last.
        best: Of ``weights``.
        last: Of ``last_weights``.
        history: All measurements along the run.
        steps: Updates made.
        resumed_from: Updates of those that were made before the run was interrupted; 0 when it was not.
        before_s: Seconds they took.
    """

    weights: Mapping[str, torch.Tensor]
    last_weights: Mapping[str, torch.Tensor]
    best: Measurement
    last: Measurement
    history: tuple[Measurement, ...]
    steps: int
    resumed_from: int = 0
    before_s: float = 0.0


@final
class Loop:
    """Trains a network in place.

    Args:
        network: On the device; what of it requires gradients is trained.
        inputs: Data.
        hyper: Numbers.
        updates: Makes the updates.
        trajectory: Averages on the way.
        head_steps: First updates that train the head only, the rest of the network in evaluation mode and without
            gradients; afterwards a new optimiser trains all.
        freeze_statistics: Whether running means and variances stay as they are when all is trained.
        saves: Keeps the state of the run; None for nowhere.
    """

    def __init__(
        self,
        network: Network,
        inputs: Inputs,
        hyper: HyperParameters,
        *,
        updates: Updates,
        trajectory: Trajectory,
        head_steps: int,
        freeze_statistics: bool,
        saves: Saves | None = None,
    ) -> None:
        self._network = network
        self._inputs = inputs
        self._hyper = hyper
        self._updates = updates
        self._trajectory = trajectory
        self._head_steps = head_steps
        self._freeze_statistics = freeze_statistics
        self._saves = saves
        self._device = network.head_module.weight.device
        self._trained = [each for each in network.module.parameters() if each.requires_grad]
        self._unread: list[torch.Tensor] = []
        self._losses: list[float] = []  # since the evaluation before
        self._history: list[Measurement] = []
        self._best: tuple[Measurement, Mapping[str, torch.Tensor]] | None = None
        self._done = 0
        self._before_s = 0.0
        self._started = self._saved = time.monotonic()

    def run(self, bar: Bar) -> Outcome:
        """Make all steps that are not made yet.

        Args:
            bar: Advanced by one per step.

        Raises:
            JobFailedError: The loss or a prediction is not finite; the step is named.
        """
        snapshot = self._saves.load() if self._saves else None
        if snapshot is not None:
            self._restore(snapshot)
            bar.advance(self._done, note=f"resumed after {self._done} steps")
        else:
            self._begin_phase()
        resumed_from, last = self._done, self._hyper.steps - 1
        with self._updates.capturing():
            for step in range(self._done, self._hyper.steps):
                if step == self._head_steps > 0:
                    self._begin_phase()
                note = self._step(step, measure=step % self._hyper.eval_every == 0 or step == last)
                bar.advance(1, note=note)
                if self._trajectory.is_finished:
                    break
                if step != last:
                    self._save_if_due()
        return self._outcome(resumed_from)

    def _step(self, step: int, *, measure: bool) -> str:
        self._unread.append(self._updates.make())
        self._trajectory.updated(step)
        self._done = step + 1
        if measure:
            return self._measure(step)
        if len(self._unread) == _CHECK_EVERY:
            self._check_losses(step)
        return ""

    def _begin_phase(self) -> None:
        """Set what is trained, and start a new optimiser."""
        head_only = self._done < self._head_steps
        head = {id(each) for each in self._network.head_module.parameters()}
        for each in self._trained:
            each.requires_grad_(not head_only or id(each) in head)
        self._train_mode(head_only=head_only)
        self._updates.begin()

    def _train_mode(self, *, head_only: bool) -> None:
        self._network.module.train(not head_only)
        self._network.head_module.train()
        if self._freeze_statistics:
            for part in norms(self._network).values():
                part.eval()

    def _measure(self, step: int) -> str:
        """Evaluate, remember the weights if they are the best so far, and return a note for the progress bar."""
        self._check_losses(step)
        with self._trajectory.measured():
            measurement = self._measurement(step)
            self._history.append(measurement)
            if self._best is None or measurement.macro > self._best[0].macro:
                self._best = measurement, self._network.weights()
        self._losses.clear()
        self._trajectory.evaluated(step, measurement.id_loss)
        self._train_mode(head_only=step + 1 < self._head_steps)
        return f"loss {measurement.loss:.3f}, ID accuracy {measurement.macro:.3f}"

    def _measurement(self, step: int) -> Measurement:
        self._network.module.eval()
        predictions = self._inputs.predict()
        if not all(bool(part.probabilities.isfinite().all()) for part in predictions):
            raise self._diverged(step, "the model predicts values that are not finite")
        result = score(predictions)
        return Measurement(
            step=step,
            loss=math.fsum(self._losses) / len(self._losses) if self._losses else self._history[-1].loss,
            id_loss=mean_loss(predictions),
            macro=result.macro,
            micro=result.accuracy,
            per_domain=result.per_domain,
        )

    def _check_losses(self, step: int) -> None:
        """Read the losses up to ``step`` that were not read yet."""
        values: list[float] = torch.stack(self._unread).tolist() if self._unread else []
        for number, value in enumerate(values, start=step - len(values) + 1):
            if not math.isfinite(value):
                raise self._diverged(number, f"the loss is {value}")
        self._losses += values
        self._unread.clear()

    def _diverged(self, step: int, what: str) -> JobFailedError:
        return JobFailedError(
            f"training diverged at step {step}: {what}",
            kind="diverged",
            hint=f"use a learning rate below {self._hyper.lr:g}, and check that the starting weights are finite",
        )

    def _outcome(self, resumed_from: int) -> Outcome:
        assert self._best is not None  # noqa: S101 - the last step is always measured
        (best, weights), last = self._best, self._history[-1]
        averaged = self._trajectory.result()
        if averaged is not None:
            self._network.load(averaged)
            best = last = self._measurement(last.step)
            weights = last_weights = averaged
        elif best is last:
            last_weights = weights
        else:
            with self._trajectory.measured():
                last_weights = self._network.weights()
        return Outcome(
            weights, last_weights, best, last, tuple(self._history), self._done, resumed_from, self._before_s
        )

    def _save_if_due(self) -> None:
        now = time.monotonic()
        if self._saves is None or not self._saves.every.is_due(self._done, now - self._saved):
            return
        self._check_losses(self._done - 1)
        self._saves.save(self._snapshot(now), step=self._done)
        self._saved = time.monotonic()

    def _snapshot(self, now: float) -> Snapshot:
        assert self._best is not None  # noqa: S101 - step 0 is measured
        best, weights = self._best
        random = {name: each.get_state() for name, each in self._inputs.batches.generators.items()}
        updates, trajectory = self._updates.state(), self._trajectory.state()
        return Snapshot(
            {
                **prefixed("model", self._network.weights()),
                **prefixed("best", weights),
                **prefixed("updates", updates.tensors),
                **prefixed("average", trajectory.tensors),
                **prefixed("draws", random),
                **prefixed("layers", layer_states(self._device)),
            },
            {
                "steps": self._done,
                "seconds": self._before_s + now - self._started,
                "losses": list(self._losses),
                "history": [each.to_json() for each in self._history],
                "best_step": best.step,
                "updates": updates.values,
                "average": trajectory.values,
            },
        )

    def _restore(self, snapshot: Snapshot) -> None:
        fields = Fields(dict(snapshot.values), "a saved run")
        self._network.load(snapshot.part("model"))
        self._done, self._before_s = fields.integer("steps"), fields.number("seconds")
        self._losses = [float(str(each)) for each in fields.list("losses")]
        self._history = [Measurement.from_json(each) for each in fields.items("history")]
        best = next((each for each in self._history if each.step == fields.integer("best_step")), None)
        generators = self._inputs.batches.generators
        states = snapshot.part("draws")
        if best is None or generators.keys() != states.keys():
            raise InvalidInputError(
                "a saved run does not fit what it should go on with", kind="bad-run", hint="drop it with `--abandon`"
            )
        self._best = best, snapshot.part("best")
        self._begin_phase()
        self._updates.restore(Snapshot(snapshot.part("updates"), fields.mapping("updates")))
        self._trajectory.restore(Snapshot(snapshot.part("average"), fields.mapping("average")))
        for name, generator in generators.items():
            generator.set_state(states[name])
        set_layer_states(snapshot.part("layers"), self._device)
