"""What a training run leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self, final

import torch

from mlgit.evaluation.score import Predictions
from mlgit.objects import JsonValue
from mlgit.objects.encoding import Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One evaluation on the ID validation split during a run.

    Attributes:
        step: Number of the step after whose update it was taken, from 0.
        loss: Mean training loss of the steps since the evaluation before, in nats per example.
        id_loss: Cross-entropy on the split, in nats, as ``mean_loss`` says.
        macro: Unweighted mean accuracy over the training domains, 0 to 1: what selects.
        micro: Accuracy over all examples, 0 to 1.
        per_domain: Accuracy within each domain, 0 to 1.
    """

    step: int
    loss: float
    id_loss: float
    macro: float
    micro: float
    per_domain: Mapping[str, float]

    def to_json(self) -> dict[str, JsonValue]:
        """Return the values by name."""
        return {
            "step": self.step,
            "loss": self.loss,
            "id_loss": self.id_loss,
            "id_accuracy": self.macro,
            "id_accuracy_micro": self.micro,
            "per_domain": dict(self.per_domain),
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Return the measurement that ``to_json`` described.

        Raises:
            CorruptObjectError: It is something else.
        """
        domains = fields.fields("per_domain")
        return cls(
            step=fields.integer("step"),
            loss=fields.number("loss"),
            id_loss=fields.number("id_loss"),
            macro=fields.number("id_accuracy"),
            micro=fields.number("id_accuracy_micro"),
            per_domain={name: domains.number(name) for name in domains.values},
        )

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics for a commit: ``id_accuracy`` (macro), ``id_accuracy_micro``, and one per domain."""
        domains = {f"id_accuracy/{name}": value for name, value in self.per_domain.items()}
        return {"id_accuracy": self.macro, "id_accuracy_micro": self.micro} | domains


def mean_loss(predictions: Sequence[Predictions]) -> float:
    """Return the unweighted mean over domains of the mean cross-entropy, in nats; a probability of 0 counts as 1e-38.

    Args:
        predictions: One entry per domain, none empty.
    """
    tiny = torch.finfo(torch.float32).tiny
    chosen = [part.probabilities.double().gather(1, part.labels[:, None]).clamp_min(tiny) for part in predictions]
    losses = [float(-each.log().mean()) for each in chosen]
    return sum(losses) / len(losses)


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Collected:
    """What another average made of a run: what a run with this average of its own leaves, unless that ends earlier.

    Attributes:
        weights: At the best checkpoint, as in ``RunResult``.
        last_weights: After the last step.
        best: The measurement of ``weights``.
        last: That of ``last_weights``.
        record: That of the run, with this average in the place of its own.
    """

    weights: Mapping[str, torch.Tensor]
    last_weights: Mapping[str, torch.Tensor]
    best: Measurement
    last: Measurement
    record: Mapping[str, JsonValue]


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunResult:
    """Weights and how they came to be.

    Attributes:
        weights: At the best checkpoint: the highest macro ID accuracy, the earliest of equals. CPU tensors. With an
            average along the run, the best average, or the one there is.
        last_weights: After the last step; the same object when that was the best.
        best: The measurement at the best checkpoint.
        last: That of ``last_weights``.
        history: All measurements, oldest first.
        steps: Updates made: fewer than planned where an average was complete before.
        resumed_from: Updates of those that an interrupted process made before.
        head_only_steps: Updates that trained the head only, the first ones.
        duration_s: Seconds from start to end.
        record: Everything needed to repeat the run, as plain JSON.
        collected: What other averages made of the run, by name.
    """

    weights: Mapping[str, torch.Tensor]
    last_weights: Mapping[str, torch.Tensor]
    best: Measurement
    last: Measurement
    history: tuple[Measurement, ...]
    steps: int
    resumed_from: int
    head_only_steps: int
    duration_s: float
    record: Mapping[str, JsonValue]
    collected: Mapping[str, Collected] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of ``weights``; see ``Measurement.metrics``."""
        return self.best.metrics
