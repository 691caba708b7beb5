"""``mlgit recipe table``: what recipes came to, side by side as in the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.objects import JsonValue
from mlgit.porcelain.recipe_results import studies
from mlgit.recipes.results import Study
from mlgit.recipes.table import Table, runs_per_split, tables
from mlgit.repository import Repository

_RUN_SOME = "make some: `mlgit recipe soup --task TASK`"


@dataclass(frozen=True, slots=True)
class RecipeTable:
    """Results of recipes.

    Attributes:
        tables: One per task and study; at least one.
    """

    tables: tuple[Table, ...]

    def to_json(self) -> dict[str, JsonValue]:
        """Return all tables as JSON; accuracies are shares, 0 to 1."""
        return {"tables": [table.to_json() for table in self.tables]}


def recipe_table(
    repository: Repository, *, task: str | None = None, name: str | None = None, runs: int | None = None
) -> RecipeTable:
    """Return the results of recipes as tables; nothing is run or evaluated.

    Args:
        repository: Where.
        task: Only this task, or with ``NAME@DOMAIN`` only this test domain of it.
        name: Only studies of this name.
        runs: Only results made of this many runs of each data split, at least 1; by default each row has those of the
            most runs.

    Raises:
        NotFoundError: No recipe has come to anything yet, or not of so many runs.
        InvalidInputError: ``runs`` is below 1, or results cannot be read.
    """
    if runs is not None and runs < 1:
        raise InvalidInputError(f"a table of {runs} runs is empty", kind="bad-parameter", hint="give 1 or more")
    found = find_studies(repository, task=task, name=name)
    made = tables(found, runs=runs)
    if runs is not None and not any(row.runs == runs for table in made for row in table.rows):
        raise _no_such_number(found, runs)
    return RecipeTable(made)


def find_studies(repository: Repository, *, task: str | None = None, name: str | None = None) -> tuple[Study, ...]:
    """Return the studies that hold results.

    Args:
        repository: Where.
        task: Only this task, or with ``NAME@DOMAIN`` only this test domain of it.
        name: Only studies of this name.

    Raises:
        NotFoundError: There is none.
        InvalidInputError: Results cannot be read.
    """
    base, at, domain = (task or "").partition("@")
    known = studies(repository, task=base or None, name=name)
    found = tuple(each for each in known if each.outcomes and (not at or each.domain == domain))
    if not found:
        where = "".join([f" on task '{task}'" if task else "", f" in study '{name}'" if name else ""])
        others = sorted({f"{each.target} in study {each.name}" for each in studies(repository) if each.outcomes})
        raise NotFoundError(
            f"no recipe has come to a result{where} yet",
            kind="no-recipe-results",
            hint="there are results on " + ", ".join(others[:10]) if others else _RUN_SOME,
        )
    return found


def _no_such_number(found: Sequence[Study], runs: int) -> NotFoundError:
    numbers = sorted({runs_per_split(each) for study in found for each in study.outcomes} - {0})
    return NotFoundError(
        f"no recipe has come to a result of {runs} runs",
        kind="no-recipe-results",
        hint="there are results of " + " and ".join(map(str, numbers)) + " runs" if numbers else _RUN_SOME,
    )
