"""What `recipe table` prints, and what it returns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from recipe_studies import a_run, a_study, an_outcome

from mlgit.porcelain.init import init
from mlgit.porcelain.recipe_results import study_folder, write_study
from mlgit.recipes.recipe import Selection
from mlgit.repository import Repository


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    init(tmp_path)
    monkeypatch.chdir(tmp_path)
    return Repository.discover(tmp_path)


def fill(repository: Repository) -> None:
    for domain, right in {"sketch": 67, "photo": 90}.items():
        study = a_study(
            *(
                an_outcome("vanilla", Selection.BEST, right + trial, trial=trial, runs=[a_run(0, right, trial=trial)])
                for trial in range(2)
            ),
            an_outcome("soup", Selection.UNIFORM, right + 2, runs=[a_run(n, right) for n in range(3)]),
            domain=domain,
        )
        folder = study_folder(repository, study.task, domain, study.name)
        folder.mkdir(parents=True)
        write_study(folder, study)


def test_nothing_run_is_one_error_that_says_what_to_run(mlgit: Callable, repository: Repository) -> None:
    ran = mlgit("recipe", "table", "--json")
    assert (ran.exit_code, ran.stdout) == (10, "")
    error = json.loads(ran.stderr)["error"]
    assert error["kind"] == "no-recipe-results"
    assert "`mlgit recipe soup --task TASK`" in error["hint"]


@pytest.mark.parametrize(
    "options", [["--task", "VLCS"], ["--task", "PACS@cartoon"], ["--name", "other"], ["--runs", "7"]]
)
def test_what_has_no_results_is_an_error_that_says_where_some_are(
    mlgit: Callable, repository: Repository, options: list[str]
) -> None:
    fill(repository)
    ran = mlgit("recipe", "table", *options, "--json")
    assert (ran.exit_code, ran.stdout) == (10, "")
    error = json.loads(ran.stderr)["error"]
    assert error["kind"] == "no-recipe-results"
    assert "there are results o" in error["hint"]


@pytest.mark.parametrize("options", [["--runs", "0"], ["--json", "--markdown"]])
def test_what_makes_no_sense_is_refused(mlgit: Callable, repository: Repository, options: list[str]) -> None:
    fill(repository)
    assert mlgit("recipe", "table", *options).exit_code == 2


def test_the_table_is_printed_with_its_caption(mlgit: Callable, repository: Repository) -> None:
    fill(repository)
    ran = mlgit("recipe", "table")
    assert (ran.exit_code, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert lines[0] == "PACS, study main: accuracy in %"
    titles = "strategy selection photo ID photo OOD sketch ID sketch OOD average ID average OOD runs paths"
    assert " ".join(lines[1].split()) == titles
    assert lines[2].split("  ")[0] == "Vanilla fine-tuning"
    assert "90.5 ± 0.7 (90.0)" in lines[2]
    assert lines[3].startswith("Model soups")
    assert any(line.startswith("Standard error of one OOD accuracy") for line in lines)


def test_one_test_domain_can_be_asked_for(mlgit: Callable, repository: Repository) -> None:
    fill(repository)
    (table,) = json.loads(mlgit("recipe", "table", "-t", "PACS@photo", "--json").stdout)["tables"]
    assert table["domains"] == ["photo"]


def test_json_is_one_document_with_every_value(mlgit: Callable, repository: Repository) -> None:
    fill(repository)
    ran = mlgit("recipe", "table", "--json")
    assert (ran.exit_code, ran.stderr, ran.stdout.count("\n")) == (0, "", 1)
    document = json.loads(ran.stdout)
    assert document["schema"] == 1
    (table,) = document["tables"]
    vanilla, soup = table["rows"]
    sketch = vanilla["cells"][1]
    assert sketch["ood"]["values"] == [{"trial": 0, "value": 0.67}, {"trial": 1, "value": 0.68}]
    assert sketch["ood_mean_of_runs"]["mean"] == pytest.approx(0.67)
    assert sketch["tests"][0]["examples"] == 100
    assert (soup["runs"], soup["average"]["ood"]["mean"]) == (3, pytest.approx((0.69 + 0.92) / 2))


def test_markdown_goes_to_the_standard_output(mlgit: Callable, repository: Repository) -> None:
    fill(repository)
    ran = mlgit("recipe", "table", "--markdown", "--task", "PACS@sketch")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert "| strategy | selection | sketch ID | sketch OOD | runs | paths |" in ran.stdout
    assert "| Model soups | uniform | 87.5 | 69.0 | 3 | - |" in ran.stdout
