"""The whole state of a run between two steps, and where it is kept."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from mlgit.errors import InvalidInputError
from mlgit.objects import JsonValue


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Everything that the rest of a run depends on.

    Attributes:
        tensors: Name -> tensor on any device.
        values: Plain JSON.
    """

    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    values: Mapping[str, JsonValue] = field(default_factory=dict)

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        """Return the tensors whose names begin with ``prefix/``, without it."""
        start = prefix + "/"
        return {name.removeprefix(start): each for name, each in self.tensors.items() if name.startswith(start)}


def prefixed(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors with ``prefix/`` before their names."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


@dataclass(frozen=True, slots=True)
class SaveEvery:
    """When a run is saved; with neither, never.

    Attributes:
        steps: After each so many steps, at least 1.
        seconds: After the first step that ends so many seconds after the save before, at least 0.
    """

    steps: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> SaveEvery:
        """Return the schedule that ``500`` (steps), ``300s`` or ``off`` stands for.

        Raises:
            InvalidInputError: It is none of these.
        """
        if text == "off":
            return cls()
        if text.isdecimal() and int(text) > 0:
            return cls(steps=int(text))
        try:
            seconds = float(text.removesuffix("s")) if text.endswith("s") else math.nan
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            raise InvalidInputError(
                f"'{text}' does not say when to save",
                kind="bad-schedule",
                hint="use a number of steps as `500`, of seconds as `300s`, or `off`",
            )
        return cls(seconds=seconds)

    def is_due(self, steps_done: int, seconds_since: float) -> bool:
        """Say whether to save now.

        Args:
            steps_done: By the whole run.
            seconds_since: The save before, or the start.
        """
        by_steps = self.steps is not None and steps_done % self.steps == 0
        return by_steps or (self.seconds is not None and seconds_since >= self.seconds)


DEFAULT_SAVES = SaveEvery(seconds=300)
"""Saving takes about as long as writing four times the weights: little beside five minutes."""


class Saves(ABC):
    """Keeps the last snapshot of one run.

    Args:
        every: When to save.
    """

    def __init__(self, every: SaveEvery) -> None:
        self.every = every

    @abstractmethod
    def load(self) -> Snapshot | None:
        """Return the last snapshot that was saved whole, or None."""

    @abstractmethod
    def save(self, snapshot: Snapshot, *, step: int) -> None:
        """Put a snapshot in the place of the last one; whoever dies meanwhile leaves one of the two.

        Args:
            snapshot: What to keep; tensors may change afterwards.
            step: Steps that were made.
        """
