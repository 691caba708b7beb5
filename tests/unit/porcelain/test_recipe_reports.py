"""Table and figures of recipes that were really made, by way of the library: they say what the recipes said."""

from __future__ import annotations

from pathlib import Path

import pytest
import recipe_lab

from mlgit.api import Repository
from mlgit.porcelain.recipe import RecipeResult
from mlgit.recipes.results import Outcome

NAMES = ("probe", "vanilla", "ensemble", "soup", "ensemble-inter-training", "ratatouille")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Repository, RecipeResult]:
    repository = recipe_lab.build(tmp_path_factory.mktemp("recipes") / "lab")
    return Repository(repository.root), recipe_lab.go(repository, *NAMES)


def one(result: RecipeResult, recipe: str, selection: str) -> Outcome:
    (found,) = [each for each in result.outcomes if (each.recipe, each.selection.value) == (recipe, selection)]
    return found


def test_the_table_has_every_result_under_its_number(made: tuple[Repository, RecipeResult]) -> None:
    repository, result = made
    (table,) = repository.recipe_table(task=recipe_lab.TASK).tables
    assert {(row.recipe, row.selection) for row in table.rows} == {(o.recipe, o.selection) for o in result.outcomes}
    for row in table.rows:
        outcome = one(result, row.recipe, row.selection.value)
        (cell,) = row.cells
        assert cell is not None
        assert cell.accuracies.ood.mean == outcome.test.value
        assert cell.accuracies.id is not None
        assert cell.accuracies.id.mean == outcome.id_accuracy
        assert (row.runs or 0, row.paths) == (outcome.runs, outcome.connectivity)


def test_figures_end_where_results_are(made: tuple[Repository, RecipeResult], tmp_path: Path) -> None:
    repository, result = made
    target = f"{recipe_lab.TASK}@{recipe_lab.TEST}"
    found = repository.recipe_figures(tmp_path, task=target, runtime=recipe_lab.TRUSTED)
    assert found.skipped == {}
    by_name = {figure.name: figure for figure in found.figures}
    last = [one(result, name, "uniform") for name in ("soup", "ensemble", "ratatouille", "ensemble-inter-training")]
    test, validation = by_name["runs"].panels
    assert [series.y[-1] for series in test.series] == [each.test.value for each in last]
    assert [series.y[-1] for series in validation.series] == pytest.approx([each.id_accuracy for each in last])
    soup, _, ratatouille, _ = last
    for panel, ends in zip(by_name["auxiliaries"].panels, _ends(soup, ratatouille), strict=True):
        assert (panel.series[0].y[0], panel.series[0].y[-1]) == pytest.approx(ends)
    again = repository.recipe_figures(tmp_path, task=target, runtime=recipe_lab.TRUSTED)
    assert again.computed == 0


def _ends(first: Outcome, last: Outcome) -> list[tuple[float | None, float | None]]:
    return [(first.test.value, last.test.value), (first.id_accuracy, last.id_accuracy)]
