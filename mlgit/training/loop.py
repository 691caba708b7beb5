"""The loop: draw, forward, backward, update; measure now and then; keep the best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import nn

from mlgit.errors import InvalidInputError, JobFailedError
from mlgit.evaluation.score import score
from mlgit.models.network import Network
from mlgit.progress import Bar
from mlgit.training.borrow import norms
from mlgit.training.hyper import HyperParameters
from mlgit.training.inputs import Inputs
from mlgit.training.result import Measurement

_CHECK_EVERY = 50  # reading a loss waits for the device: look at many together


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Best and last weights on the CPU, the measurement of the best, and all measurements."""

    weights: dict[str, torch.Tensor]
    last_weights: dict[str, torch.Tensor]
    best: Measurement
    history: tuple[Measurement, ...]


@final
class Loop:
    """Trains a network in place.

    Args:
        network: On the device; what of it requires gradients is trained.
        inputs: Data.
        hyper: Numbers.
        head_steps: First updates that train the head only, the rest of the network in evaluation mode and without
            gradients; afterwards a new optimiser trains all.
        freeze_statistics: Whether running means and variances stay as they are when all is trained.
    """

    def __init__(
        self, network: Network, inputs: Inputs, hyper: HyperParameters, *, head_steps: int, freeze_statistics: bool
    ) -> None:
        self._network = network
        self._inputs = inputs
        self._hyper = hyper
        self._head_steps = head_steps
        self._freeze_statistics = freeze_statistics
        self._trained = [each for each in network.module.parameters() if each.requires_grad]
        self._losses: list[torch.Tensor] = []
        self._loss_sum, self._loss_count = 0.0, 0
        self._history: list[Measurement] = []
        self._best: tuple[Measurement, dict[str, torch.Tensor]] | None = None

    def run(self, bar: Bar) -> Outcome:
        """Make all steps.

        Args:
            bar: Advanced by one per step.

        Raises:
            JobFailedError: The loss or a prediction is not finite; the step is named.
        """
        optimizer = self._start_head() if self._head_steps else self._start_all()
        note, last = "", self._hyper.steps - 1
        for step in range(self._hyper.steps):
            if step == self._head_steps > 0:
                optimizer = self._start_all()
            self._losses.append(self._update(optimizer))
            if step % self._hyper.eval_every == 0 or step == last:
                note = self._measure(step)
            elif len(self._losses) == _CHECK_EVERY:
                self._check_losses(step)
            bar.advance(1, note=note)
        return self._outcome()

    def _update(self, optimizer: torch.optim.Optimizer) -> torch.Tensor:
        """Make one step and return its loss, a scalar that nobody has waited for."""
        images, labels = self._inputs.batches.draw()
        loss = nn.functional.cross_entropy(self._inputs.forward(images), labels)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.detach()

    def _start_head(self) -> torch.optim.Optimizer:
        head = {id(each) for each in self._network.head_module.parameters()}
        for each in self._trained:
            each.requires_grad_(id(each) in head)
        self._train_mode(head_only=True)
        return self._adam()

    def _start_all(self) -> torch.optim.Optimizer:
        for each in self._trained:
            each.requires_grad_(True)
        self._train_mode(head_only=False)
        return self._adam()

    def _adam(self) -> torch.optim.Optimizer:
        chosen = [each for each in self._trained if each.requires_grad]
        if not chosen:
            raise InvalidInputError(
                "no parameter of the network requires a gradient", kind="nothing-to-train", hint="unfreeze some of it"
            )
        fused = chosen[0].device.type in {"cpu", "cuda"}  # one kernel for all tensors
        return torch.optim.Adam(chosen, lr=self._hyper.lr, weight_decay=self._hyper.weight_decay, fused=fused)

    def _train_mode(self, *, head_only: bool) -> None:
        self._network.module.train(not head_only)
        self._network.head_module.train()
        if self._freeze_statistics:
            for part in norms(self._network).values():
                part.eval()

    def _measure(self, step: int) -> str:
        """Evaluate, remember the weights if they are the best so far, and return a note for the progress bar."""
        self._check_losses(step)
        self._network.module.eval()
        predictions = self._inputs.predict()
        if not all(bool(part.probabilities.isfinite().all()) for part in predictions):
            raise self._diverged(step, "the model predicts values that are not finite")
        result = score(predictions)
        measurement = Measurement(
            step=step,
            loss=self._loss_sum / self._loss_count,
            macro=result.macro,
            micro=result.accuracy,
            per_domain=result.per_domain,
        )
        self._loss_sum, self._loss_count = 0.0, 0
        self._history.append(measurement)
        if self._best is None or measurement.macro > self._best[0].macro:
            self._best = measurement, self._network.weights()
        self._train_mode(head_only=step + 1 < self._head_steps)
        return f"loss {measurement.loss:.3f}, ID accuracy {measurement.macro:.3f}"

    def _check_losses(self, step: int) -> None:
        """Read the losses up to ``step`` that were not read yet."""
        values: list[float] = torch.stack(self._losses).tolist()
        for number, value in enumerate(values, start=step - len(values) + 1):
            if not math.isfinite(value):
                raise self._diverged(number, f"the loss is {value}")
        self._loss_sum += sum(values)
        self._loss_count += len(values)
        self._losses.clear()

    def _diverged(self, step: int, what: str) -> JobFailedError:
        return JobFailedError(
            f"training diverged at step {step}: {what}",
            kind="diverged",
            hint=f"use a learning rate below {self._hyper.lr:g}, and check that the starting weights are finite",
        )

    def _outcome(self) -> Outcome:
        assert self._best is not None  # noqa: S101 - the last step is always measured
        best, weights = self._best
        last = weights if best is self._history[-1] else self._network.weights()
        return Outcome(weights, last, best, tuple(self._history))
