"""Which runs of a study stand in which figure. Only numbers and names of runs decide, never an accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TypeVar

from mlgit.objects import CommitId
from mlgit.recipes.registry import RECIPES
from mlgit.recipes.results import Auxiliary, Run, Study

T = TypeVar("T")
PRETRAINED = "pretrained"
"""What figures call the featurizer that no auxiliary task has changed."""


def runs_of(study: Study, family: str, trial: int) -> tuple[Run, ...]:
    """Return the runs of a family, by number: the most that any result was made of.

    Args:
        study: What is known.
        family: A row of ``mlgit.recipes.recipe.FAMILIES``.
        trial: Number of the data split.
    """
    found = [each for each in study.outcomes if each.trial == trial and _shows_runs(each.recipe, family)]
    most = max(found, key=lambda outcome: outcome.runs, default=None)
    return () if most is None else tuple(sorted(most.candidates, key=lambda run: run.number))


def _shows_runs(name: str, family: str) -> bool:
    """Say whether the candidates of a recipe are the runs of a family themselves, and not averages along them."""
    if name not in RECIPES:
        return False
    recipe = RECIPES.get(name)
    return recipe.family == family and recipe.average is None


def distinct(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Return the runs, each commit once: runs that begin at the pretrained featurizer belong to several families."""
    found: dict[CommitId, Run] = {}
    for run in runs:
        found.setdefault(run.commit, run)
    return tuple(found.values())


def first_of_each_start(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Return the first run of each start: auxiliary tasks by name, then the pretrained featurizer."""
    by_start = {run.start: run for run in reversed(runs)}
    return tuple(by_start[start] for start in sorted(by_start, key=lambda start: (start is None, start or "")))


def first_of_each_task(auxiliaries: Sequence[Auxiliary]) -> tuple[Auxiliary, ...]:
    """Return the first run on each auxiliary task, by name of the task."""
    ordered = sorted(auxiliaries, key=lambda each: (each.task, -each.number))
    return tuple({each.task: each for each in ordered}.values())


def pairs(items: Sequence[T], most: int) -> list[tuple[T, T]]:
    """Return unordered pairs, not more than ``most``."""
    return list(combinations(items, 2))[:most]


def growing(runs: Sequence[Run]) -> list[tuple[float, tuple[Run, ...]]]:
    """Return for M = 1, 2, …: M, and the first M runs."""
    return [(float(count), tuple(runs[:count])) for count in range(1, len(runs) + 1)]


def by_auxiliaries(plain: Sequence[Run], inter: Sequence[Run]) -> list[tuple[float, tuple[Run, ...]]]:
    """Return the same number of runs with featurizers of none, one, two, … of the auxiliary tasks.

    Run h is that of ``inter`` where it began at one of the first tasks or at the pretrained featurizer; otherwise it
    is that of ``plain``, which has the same hyper-parameters and seed.

    Args:
        plain: Runs from the pretrained featurizer.
        inter: Runs from auxiliary ones.

    Returns:
        For each number of tasks: it, and as many runs as both have; nothing without an auxiliary task.
    """
    plain_by, inter_by = ({run.number: run for run in runs} for runs in (plain, inter))
    numbers = [number for number in plain_by if number in inter_by]
    tasks = sorted({start for number in numbers if (start := inter_by[number].start) is not None})
    if not tasks:
        return []

    def chosen(number: int, used: Sequence[str]) -> Run:
        start = inter_by[number].start
        return inter_by[number] if start is None or start in used else plain_by[number]

    return [(float(k), tuple(chosen(number, tasks[:k]) for number in numbers)) for k in range(len(tasks) + 1)]


def by_share(plain: Sequence[Run], inter: Sequence[Run]) -> list[tuple[float, tuple[Run, ...]]]:
    """Return the same number of runs with a growing share of those that began at an auxiliary task.

    Args:
        plain: Runs from the pretrained featurizer.
        inter: Runs from auxiliary ones.

    Returns:
        The share, and the first runs of both kinds by number; nothing where there are none of one kind.
    """
    recycled = [run for run in inter if run.start is not None]
    most = min(len(recycled), len(plain))
    if not most:
        return []
    return [(count / most, (*recycled[:count], *plain[: most - count])) for count in range(most + 1)]
