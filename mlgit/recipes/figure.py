"""What a figure shows: numbers and words, before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mlgit.objects import JsonValue

Style = Literal["line", "reference", "points"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Places that belong together.

    Attributes:
        label: For the legend; empty: none.
        x: One number per place.
        y: Likewise.
        style: ``line`` with marks, ``reference`` for a thin dashed line, or ``points``.
        colour: Series with the same number have the same one.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    style: Style = "line"
    colour: int = 0

    def to_json(self) -> dict[str, JsonValue]:
        """Return the series as JSON."""
        return {"label": self.label, "style": self.style, "x": list(self.x), "y": list(self.y)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: Above it.
        x_label: Below it.
        y_label: Beside it.
        series: What it shows.
    """

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]

    def to_json(self) -> dict[str, JsonValue]:
        """Return the panel as JSON."""
        return {
            "title": self.title,
            "x_label": self.x_label,
            "y_label": self.y_label,
            "series": [each.to_json() for each in self.series],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure of the paper.

    Attributes:
        name: Of the figure and its file.
        title: Above all panels.
        panels: Side by side, at least one.
        facts: What else was measured; JSON.
    """

    name: str
    title: str
    panels: tuple[Panel, ...]
    facts: Mapping[str, JsonValue] = field(default_factory=dict)

    def to_json(self) -> dict[str, JsonValue]:
        """Return the figure as JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "panels": [each.to_json() for each in self.panels],
            "facts": dict(self.facts),
        }


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Spearman's correlation of two rows of numbers; equal numbers share the mean of their ranks.

    Returns:
        -1 to 1, or None for fewer than three places, or where all numbers of a row are equal.
    """
    if len(first) < 3 or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: np.ndarray = (last - (counts - 1) / 2)[place]
    return ranks
