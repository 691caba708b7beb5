"""From what recipes came to, to the rows of the paper's tables: numbers only, nothing is read or printed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from mlgit.objects import JsonValue
from mlgit.recipes.recipe import Selection
from mlgit.recipes.registry import RECIPES, table_place
from mlgit.recipes.results import Accuracy, Outcome, Study

VERDICTS = ("holds", "unchecked", "undecided", "violated")
"""What may be known of the paths between averaged models, from good to bad."""


@dataclass(frozen=True, slots=True)
class Spread:
    """One number, measured once per data split.

    Attributes:
        by_trial: Number of the data split -> value, by number; None for all splits together.
    """

    by_trial: Mapping[int | None, float]

    @property
    def splits(self) -> int:
        """How many values there are, at least 1."""
        return len(self.by_trial)

    @property
    def mean(self) -> float:
        """The mean over data splits."""
        return math.fsum(self.by_trial.values()) / self.splits

    @property
    def standard_deviation(self) -> float | None:
        """Of the sample (divided by n - 1), or None for a single value."""
        if self.splits < 2:
            return None
        mean = self.mean
        return math.sqrt(math.fsum((value - mean) ** 2 for value in self.by_trial.values()) / (self.splits - 1))

    @property
    def standard_error(self) -> float | None:
        """Of the mean: the standard deviation over the root of the number of splits."""
        deviation = self.standard_deviation
        return None if deviation is None else deviation / math.sqrt(self.splits)

    def to_json(self) -> dict[str, JsonValue]:
        """Return the summary and the values as JSON."""
        return {
            "mean": self.mean,
            "standard_deviation": self.standard_deviation,
            "standard_error": self.standard_error,
            "splits": self.splits,
            "values": [{"trial": trial, "value": value} for trial, value in self.by_trial.items()],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracies:
    """What stands in one place of the table.

    Attributes:
        id: Accuracy on ID validation data, 0 to 1, where it is known.
        ood: Accuracy on the test domain, 0 to 1.
        all_runs: Where one run was chosen: the mean accuracy of all runs on the test domain.
    """

    id: Spread | None
    ood: Spread
    all_runs: Spread | None = None

    def to_json(self) -> dict[str, JsonValue]:
        """Return them as JSON."""
        return {
            "id": None if self.id is None else self.id.to_json(),
            "ood": self.ood.to_json(),
            "ood_mean_of_runs": None if self.all_runs is None else self.all_runs.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One strategy on one test domain.

    Attributes:
        domain: The test domain.
        accuracies: What stands in the table.
        tests: Number of the data split -> examples of the test domain that were right.
        connectivity: Number of the data split -> verdict on the paths, where models were averaged.
    """

    domain: str
    accuracies: Accuracies
    tests: Mapping[int | None, Accuracy]
    connectivity: Mapping[int | None, str]

    @property
    def standard_error(self) -> float:
        """The largest standard error of an accuracy on the test domain, from its number of examples (binomial)."""
        return max(map(binomial_error, self.tests.values()))

    def to_json(self) -> dict[str, JsonValue]:
        """Return the cell as JSON."""
        tests: list[JsonValue] = [
            {
                "trial": trial,
                "correct": test.correct,
                "examples": test.examples,
                "binomial_standard_error": binomial_error(test),
                "connectivity": self.connectivity.get(trial),
            }
            for trial, test in self.tests.items()
        ]
        return {"domain": self.domain, **self.accuracies.to_json(), "tests": tests}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One strategy with one selection.

    Attributes:
        recipe: Name of the recipe.
        title: What the paper calls it.
        selection: How the result is made of the runs.
        runs: Runs of each data split; None where none are needed.
        cells: One per test domain of the table; None where nothing was run.
        average: Over test domains, where there are several and all are known.
    """

    recipe: str
    title: str
    selection: Selection
    runs: int | None
    cells: tuple[Cell | None, ...]
    average: Accuracies | None

    @property
    def all_splits(self) -> bool:
        """Whether the runs of all data splits were taken together: the paper's dagger."""
        return self.selection is Selection.ALL_SPLITS

    @property
    def paths(self) -> str | None:
        """The worst verdict on the paths between averaged models, over test domains and data splits."""
        found = [verdict for cell in self.cells if cell is not None for verdict in cell.connectivity.values()]
        return max(found, key=VERDICTS.index, default=None)

    def to_json(self) -> dict[str, JsonValue]:
        """Return the row as JSON."""
        return {
            "recipe": self.recipe,
            "title": self.title,
            "selection": self.selection.value,
            "runs": self.runs,
            "paths": self.paths,
            "cells": [None if cell is None else cell.to_json() for cell in self.cells],
            "average": None if self.average is None else self.average.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The results on one task.

    Attributes:
        task: The task, without a test domain.
        name: Of the study.
        domains: Test domains, the columns.
        rows: In the order of the paper.
    """

    task: str
    name: str
    domains: tuple[str, ...]
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, JsonValue]:
        """Return the table as JSON."""
        return {
            "task": self.task,
            "name": self.name,
            "domains": list(self.domains),
            "rows": [row.to_json() for row in self.rows],
        }


def binomial_error(accuracy: Accuracy) -> float:
    """Return the standard error of a share of independent examples: sqrt(p (1 - p) / N)."""
    return math.sqrt(accuracy.value * (1 - accuracy.value) / accuracy.examples)


def runs_per_split(outcome: Outcome) -> int:
    """Return of how many runs of one data split an outcome was made; 0 for a linear probe."""
    return max(Counter(run.trial for run in outcome.candidates).values(), default=0)


def tables(studies: Iterable[Study], *, runs: int | None = None) -> tuple[Table, ...]:
    """Arrange studies: one table per task and name, in the order of these.

    Args:
        studies: What is known.
        runs: Only results made of this many runs of each data split, besides those that need none. By default each
            row has those of the most runs.

    Returns:
        Tables with at least one row.
    """
    ordered = sorted(studies, key=lambda study: (study.task, study.name, study.domain))
    grouped = groupby(ordered, key=lambda study: (study.task, study.name))
    made = (_table(task, name, tuple(group), runs) for (task, name), group in grouped)
    return tuple(table for table in made if table.rows)


def _table(task: str, name: str, studies: Sequence[Study], runs: int | None) -> Table:
    outcomes = [each for study in studies for each in study.outcomes]
    kinds = sorted({(each.recipe, each.selection) for each in outcomes}, key=_place)
    rows = (_row(recipe, selection, studies, runs) for recipe, selection in kinds)
    return Table(
        task=task,
        name=name,
        domains=tuple(study.domain for study in studies),
        rows=tuple(row for row in rows if row is not None),
    )


def _place(kind: tuple[str, Selection]) -> tuple[tuple[int, str], int]:
    recipe, selection = kind
    return table_place(recipe), list(Selection).index(selection)


def _row(recipe: str, selection: Selection, studies: Sequence[Study], runs: int | None) -> Row | None:
    """Return the row, or None where nothing was made of so many runs."""
    found = [
        [each for each in study.outcomes if (each.recipe, each.selection) == (recipe, selection)] for study in studies
    ]
    most = max(runs_per_split(each) for of_study in found for each in of_study)
    wanted = runs if runs is not None and most else most
    cells = tuple(
        _cell(study.domain, [each for each in of_study if runs_per_split(each) == wanted])
        for study, of_study in zip(studies, found, strict=True)
    )
    if not any(cells):
        return None
    title = RECIPES.get(recipe).title if recipe in RECIPES else recipe
    return Row(
        recipe=recipe, title=title, selection=selection, runs=wanted or None, cells=cells, average=_average(cells)
    )


def _cell(domain: str, outcomes: Sequence[Outcome]) -> Cell | None:
    # of what was made of all data splits, that of the most counts: it comes last, and takes the place of the others
    by_trial = {each.trial: each for each in sorted(outcomes, key=lambda each: (each.trial or 0, each.runs))}
    if not by_trial:
        return None
    chosen = {t: each for t, each in by_trial.items() if each.selection is Selection.BEST and each.candidates}
    accuracies = Accuracies(
        id=_spread({t: each.id_accuracy for t, each in by_trial.items()}),
        ood=Spread({t: each.test.value for t, each in by_trial.items()}),
        all_runs=_spread({t: _mean([run.test.value for run in each.candidates]) for t, each in chosen.items()}),
    )
    return Cell(
        domain=domain,
        accuracies=accuracies,
        tests={t: each.test for t, each in by_trial.items()},
        connectivity={t: each.connectivity for t, each in by_trial.items() if each.connectivity is not None},
    )


def _average(cells: Sequence[Cell | None]) -> Accuracies | None:
    """Return the mean over test domains within each data split that all of them have."""
    known = [cell.accuracies for cell in cells if cell is not None]
    if len(cells) < 2 or len(known) < len(cells):
        return None
    ood = _mean_spread([each.ood for each in known])
    if ood is None:
        return None
    return Accuracies(
        id=_mean_spread([each.id for each in known]), ood=ood, all_runs=_mean_spread([each.all_runs for each in known])
    )


def _mean_spread(spreads: Sequence[Spread | None]) -> Spread | None:
    known = [spread.by_trial for spread in spreads if spread is not None]
    if len(known) < len(spreads):
        return None
    common = [trial for trial in known[0] if all(trial in each for each in known)]
    return _spread({trial: _mean([each[trial] for each in known]) for trial in common})


def _spread(by_trial: Mapping[int | None, float | None]) -> Spread | None:
    known = {trial: value for trial, value in by_trial.items() if value is not None}
    return Spread(known) if known else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
