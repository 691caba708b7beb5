"""The hyper-parameters of a training run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from mlgit.errors import InvalidInputError, did_you_mean
from mlgit.objects import JsonValue

_WHOLE = ("batch_per_domain", "steps", "eval_every", "freeze_steps")
_LOWEST = {
    "dropout": 0.0,
    "weight_decay": 0.0,
    "batch_per_domain": 1,
    "steps": 1,
    "eval_every": 1,
    "freeze_steps": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HyperParameters:
    """The numbers of one training run; the defaults are those of the paper's first run.

    Attributes:
        lr: Learning rate of Adam, constant; above 0.
        dropout: Share of the feature vector dropped before the head, 0 (none) to below 1.
        weight_decay: L2 penalty of Adam, at least 0.
        batch_per_domain: Examples drawn from each training domain in each step, at least 1.
        steps: Number of updates, at least 1.
        eval_every: Steps between two evaluations on the ID validation split, at least 1.
        freeze_steps: Number of first updates that train the head only, when the run asks for that; at least 0.

    Raises:
        InvalidInputError: Some values are out of range; all of them are named.
    """

    lr: float = 5e-5
    dropout: float = 0.0
    weight_decay: float = 0.0
    batch_per_domain: int = 32
    steps: int = 5001
    eval_every: int = 100
    freeze_steps: int = 200

    def __post_init__(self) -> None:
        problems = self._problems()
        if problems:
            raise InvalidInputError(
                "bad hyper-parameters: " + ", ".join(problems),
                kind="bad-hyper-parameters",
                hint="see the ranges in the help of the command",
            )

    def _problems(self) -> list[str]:
        problems = [
            f"{name} {getattr(self, name)!r} is not a whole number"
            for name in _WHOLE
            if isinstance(getattr(self, name), bool) or not isinstance(getattr(self, name), int)
        ]
        problems += [
            f"{name} {getattr(self, name)!r} is not a finite number"
            for name in ("lr", "dropout", "weight_decay")
            if not _is_finite(getattr(self, name))
        ]
        if problems:  # ranges of things that are not numbers mean nothing
            return problems
        if self.lr <= 0:
            problems.append(f"lr {self.lr} is not above 0")
        problems += [
            f"{name} {getattr(self, name)} is below {low}" for name, low in _LOWEST.items() if getattr(self, name) < low
        ]
        if self.dropout >= 1:
            problems.append(f"dropout {self.dropout} is not below 1")
        return problems

    def with_overrides(self, overrides: Mapping[str, float]) -> HyperParameters:
        """Return these values with some replaced.

        Args:
            overrides: Field name -> value.

        Raises:
            InvalidInputError: A name is unknown or a value out of range.
        """
        known = [field.name for field in fields(self)]
        for name in overrides:
            if name not in known:
                raise InvalidInputError(
                    f"no hyper-parameter is named '{name}'",
                    kind="unknown-hyper-parameter",
                    hint=did_you_mean(name, known),
                )
        return replace(self, **overrides)  # type: ignore[arg-type]  # checked when the new value is made

    def to_json(self) -> dict[str, JsonValue]:
        """Return the values by name."""
        return asdict(self)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
