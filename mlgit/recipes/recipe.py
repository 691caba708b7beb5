"""What a recipe is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Starts = Literal["pretrained", "auxiliary", "averaged", "fused"]


class Selection(StrEnum):
    """How one result is made of the runs."""

    BEST = "best"
    """The run with the highest ID validation accuracy, the first of equals."""
    UNIFORM = "uniform"
    """The mean of all weights; of an ensemble, of all predictions."""
    GREEDY = "greedy"
    """The mean of the runs that do not lower its ID validation accuracy, tried from the best one down."""
    ALL_SPLITS = "all-splits"
    """The mean of the runs of all data splits that were run, two at least; the paper marks it with a dagger."""
    INTERPOLATED = "interpolated"
    """The best run, moved towards where it started as far as ID validation accuracy says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Runs on the target task that are alike; recipes share them.

    Attributes:
        name: Part of the names of their branches.
        starts: What they start from: the ``pretrained`` featurizer; in turns that and those of ``auxiliary`` runs, or
            the ``averaged`` weights of these; or a random mixture of all, ``fused`` anew for each run.
        loss: A row of ``mlgit.training.registry.LOSSES``.
        collects: Averages taken along each run, rows of ``mlgit.training.registry.TRAJECTORIES``.
    """

    name: str
    starts: Starts
    loss: str = "cross-entropy"
    collects: tuple[str, ...] = ()

    @property
    def needs_auxiliaries(self) -> bool:
        """Whether runs on auxiliary tasks come first."""
        return self.starts != "pretrained"


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(name="plain", starts="pretrained", collects=("moving", "swad")),
        Family(name="coral", starts="pretrained", loss="coral"),
        Family(name="inter", starts="auxiliary"),
        Family(name="robust", starts="averaged"),
        Family(name="fused", starts="fused"),
    )
}
"""All families. Runs of ``inter`` and ``robust`` that start from the pretrained featurizer are those of ``plain``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A strategy.

    Attributes:
        name: As users write it.
        title: The row of the paper's tables.
        reference: Where it comes from.
        summary: What it is, in a few words.
        family: A row of ``FAMILIES``; None: no run is needed, the linear probe is the result.
        average: Which average along each run is taken in the place of the run's own weights; None for those.
        ensemble: Predictions are averaged, not weights.
        selections: The results it has, in the order of the table.
    """

    name: str
    title: str
    reference: str
    summary: str
    family: str | None
    selections: tuple[Selection, ...]
    average: str | None = None
    ensemble: bool = False
