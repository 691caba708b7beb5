"""What a training run leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch

from mlgit.objects import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One evaluation on the ID validation split during a run.

    Attributes:
        step: Number of the step after whose update it was taken, from 0.
        loss: Mean training loss of the steps since the evaluation before, in nats per example.
        macro: Unweighted mean accuracy over the training domains, 0 to 1: what selects.
        micro: Accuracy over all examples, 0 to 1.
        per_domain: Accuracy within each domain, 0 to 1.
    """

    step: int
    loss: float
    macro: float
    micro: float
    per_domain: Mapping[str, float]

    def to_json(self) -> dict[str, JsonValue]:
        """Return the values by name."""
        return {
            "step": self.step,
            "loss": self.loss,
            "id_accuracy": self.macro,
            "id_accuracy_micro": self.micro,
            "per_domain": dict(self.per_domain),
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunResult:
    """Weights and how they came to be.

    Attributes:
        weights: At the best checkpoint: the highest macro ID accuracy, the earliest of equals. CPU tensors.
        last_weights: After the last step; the same object when that was the best.
        best: The measurement at the best checkpoint.
        history: All measurements, oldest first.
        head_only_steps: Updates that trained the head only, the first ones.
        duration_s: Seconds from start to end.
        record: Everything needed to repeat the run, as plain JSON.
    """

    weights: Mapping[str, torch.Tensor]
    last_weights: Mapping[str, torch.Tensor]
    best: Measurement
    history: tuple[Measurement, ...]
    head_only_steps: int
    duration_s: float
    record: Mapping[str, JsonValue]

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of ``weights`` for a commit: ``id_accuracy`` (macro), ``id_accuracy_micro``, and one per domain."""
        domains = {f"id_accuracy/{name}": value for name, value in self.best.per_domain.items()}
        return {"id_accuracy": self.best.macro, "id_accuracy_micro": self.best.micro} | domains
