"""The loop: draw, forward, backward, update; measure now and then; save the state."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import final

import torch

from mlgit.errors import JobFailedError
from mlgit.evaluation.score import score
from mlgit.models.network import Network
from mlgit.objects import JsonValue
from mlgit.objects.encoding import Fields
from mlgit.progress import Bar
from mlgit.training.borrow import norms
from mlgit.training.hyper import HyperParameters
from mlgit.training.inputs import Inputs
from mlgit.training.randomness import layer_states, set_layer_states
from mlgit.training.result import Measurement, mean_loss
from mlgit.training.snapshot import Saves, Snapshot, prefixed
from mlgit.training.track import Outcome, Track, View, misfit
from mlgit.training.trajectory import Trajectory
from mlgit.training.updates import Updates

_CHECK_EVERY = 50  # reading a loss waits for the device: look at many together


@final
class Loop:
    """Trains a network in place.

    Args:
        network: On the device; what of it requires gradients is trained.
        inputs: Data.
        hyper: Numbers.
        updates: Makes the updates.
        trajectory: What the run is for. It may end the run.
        head_steps: First updates that train the head only, the rest of the network in evaluation mode and without
            gradients; afterwards a new optimiser trains all.
        freeze_statistics: Whether running means and variances stay as they are when all is trained.
        collected: Other averages along the same run, by name; they change nothing of it and do not end it.
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
        collected: Mapping[str, Trajectory] | None = None,
        saves: Saves | None = None,
    ) -> None:
        self._network = network
        self._inputs = inputs
        self._hyper = hyper
        self._updates = updates
        self._own = Track(network, trajectory)
        self._collected = {name: Track(network, each) for name, each in (collected or {}).items()}
        self._tracks = (self._own, *self._collected.values())
        self._head_steps = head_steps
        self._freeze_statistics = freeze_statistics
        self._saves = saves
        self._device = network.head_module.weight.device
        self._trained = [each for each in network.module.parameters() if each.requires_grad]
        self._unread: list[torch.Tensor] = []
        self._losses: list[float] = []  # since the evaluation before
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
                if self._own.trajectory.is_finished:
                    break
                if step != last:
                    self._save_if_due()
        return self._outcome(resumed_from)

    def _step(self, step: int, *, measure: bool) -> str:
        self._unread.append(self._updates.make())
        for track in self._tracks:
            track.trajectory.updated(step)
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
        """Evaluate what each track asks for, live weights once for all, and return a note for the progress bar."""
        self._check_losses(step)
        live: View | None = None
        for track in self._tracks:
            if track.trajectory.measures_live:
                live = live or self._view(step)
                track.take(live)
            else:
                with track.trajectory.measured():
                    track.take(self._view(step))
        self._losses.clear()
        for track in self._tracks:
            track.trajectory.evaluated(step, track.history[-1].id_loss)
        self._train_mode(head_only=step + 1 < self._head_steps)
        last = self._own.history[-1]
        return f"loss {last.loss:.3f}, ID accuracy {last.macro:.3f}"

    def _view(self, step: int) -> View:
        return View(self._network, self._measurement(step))

    def _measurement(self, step: int) -> Measurement:
        self._network.module.eval()
        predictions = self._inputs.predict()
        if not all(bool(part.probabilities.isfinite().all()) for part in predictions):
            raise self._diverged(step, "the model predicts values that are not finite")
        result = score(predictions)
        return Measurement(
            step=step,
            loss=math.fsum(self._losses) / len(self._losses) if self._losses else self._own.history[-1].loss,
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
        def of(track: Track) -> Outcome:
            return track.outcome(
                self._measurement, steps=self._done, resumed_from=resumed_from, before_s=self._before_s
            )

        return replace(of(self._own), collected={name: of(track) for name, track in self._collected.items()})

    def _save_if_due(self) -> None:
        now = time.monotonic()
        if self._saves is None or not self._saves.every.is_due(self._done, now - self._saved):
            return
        self._check_losses(self._done - 1)
        self._saves.save(self._snapshot(now), step=self._done)
        self._saved = time.monotonic()

    def _snapshot(self, now: float) -> Snapshot:
        random = {name: each.get_state() for name, each in self._inputs.batches.generators.items()}
        updates, own = self._updates.state(), self._own.state()
        collected = {name: track.state() for name, track in self._collected.items()}
        tensors = {
            **prefixed("model", self._network.weights()),
            **own.tensors,
            **prefixed("updates", updates.tensors),
            **prefixed("draws", random),
            **prefixed("layers", layer_states(self._device)),
        }
        for name, state in collected.items():
            tensors |= prefixed(f"collected/{name}", state.tensors)
        values: dict[str, JsonValue] = {
            **own.values,
            "steps": self._done,
            "seconds": self._before_s + now - self._started,
            "losses": list(self._losses),
            "updates": updates.values,
            "collected": {name: state.values for name, state in collected.items()},
        }
        return Snapshot(tensors, values)

    def _restore(self, snapshot: Snapshot) -> None:
        fields = Fields(dict(snapshot.values), "a saved run")
        self._network.load(snapshot.part("model"))
        self._done, self._before_s = fields.integer("steps"), fields.number("seconds")
        self._losses = [float(str(each)) for each in fields.list("losses")]
        generators = self._inputs.batches.generators
        states = snapshot.part("draws")
        if generators.keys() != states.keys():
            raise misfit()
        self._begin_phase()
        self._updates.restore(Snapshot(snapshot.part("updates"), fields.mapping("updates")))
        self._restore_tracks(snapshot, fields)
        for name, generator in generators.items():
            generator.set_state(states[name])
        set_layer_states(snapshot.part("layers"), self._device)

    def _restore_tracks(self, snapshot: Snapshot, fields: Fields) -> None:
        self._own.restore(snapshot)
        for name, track in self._collected.items():
            values = fields.fields("collected").mapping(name)
            track.restore(Snapshot(snapshot.part(f"collected/{name}"), values))
