"""What a run minimises, and what it makes of the weights on its way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mlgit.errors import InvalidInputError
from mlgit.objects import JsonValue
from mlgit.training.registry import LOSSES, TRAJECTORIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """Examples, loss and average of a run; the defaults are plain fine-tuning.

    Attributes:
        class_balanced: Whether the classes of a domain are equally probable in its batches, and not the examples.
        loss: A row of ``LOSSES``: ``cross-entropy`` or ``coral``.
        coral_weight: Weight of CORAL's penalty, at least 0.
        average: A row of ``TRAJECTORIES``: ``none``, ``moving`` or ``swad``.
        average_from: First step whose weights the moving average takes, at least 0.
        swad_converge: Evaluations whose oldest must have the lowest loss for SWAD's window to open, at least 1.
        swad_patience: Evaluations that must all be above the threshold for the window to close, at least 1.
        swad_tolerance: How far the threshold lies above the mean loss at the opening, as a share of it; at least 0.

    Raises:
        InvalidInputError: A number is out of range.
        NotFoundError: No such loss or average.
    """

    class_balanced: bool = False
    loss: str = "cross-entropy"
    coral_weight: float = 1.0
    average: str = "none"
    average_from: int = 100
    swad_converge: int = 3
    swad_patience: int = 6
    swad_tolerance: float = 0.3

    def __post_init__(self) -> None:
        for registry, name in ((LOSSES, self.loss), (TRAJECTORIES, self.average)):
            if name not in registry:
                registry.get(name)  # raises, and names the closest one
        lowest = {"coral_weight": 0, "average_from": 0, "swad_converge": 1, "swad_patience": 1, "swad_tolerance": 0}
        bad = [
            f"{name} {getattr(self, name)} is not a number of at least {low}"
            for name, low in lowest.items()
            if not low <= getattr(self, name) < math.inf
        ]
        if bad:
            raise InvalidInputError(
                "bad method: " + ", ".join(bad), kind="bad-method", hint="see the ranges in the help of the command"
            )

    def to_json(self) -> dict[str, JsonValue]:
        """Return the values by name."""
        return asdict(self)


def check_collect(collect: Sequence[str], method: Method) -> None:
    """Refuse averages that a run cannot collect beside its own.

    Args:
        collect: Rows of ``TRAJECTORIES``.
        method: Of the run.

    Raises:
        InvalidInputError: ``none``, the run's own average, or one that is named twice.
        NotFoundError: No such average.
    """
    for place, name in enumerate(collect):
        if name not in TRAJECTORIES:
            TRAJECTORIES.get(name)  # raises, and names the closest one
        if name in ("none", method.average, *collect[:place]):
            raise InvalidInputError(
                f"'{name}' cannot be collected: it is no average, or the run's own, or named twice",
                kind="bad-collection",
                hint="collect each average once, and none that the run itself leaves",
            )
