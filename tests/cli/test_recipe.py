"""`recipe` as a user meets it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from recipe_lab import PROBE, TASK, TRUSTED, build

from mlgit.porcelain.probe import probe
from mlgit.porcelain.recipe import RECIPES
from mlgit.recipes.registry import ORDER

HOW = ["--task", "shapes", "--trust-code", "--lr", "1e-3", "--batch-size", "4", "--steps", "4", "--eval-every", "2"]
WITHOUT_AUXILIARIES = ("probe", "vanilla", "coral", "swad", "moving-average", "wise", "ensemble", "soup")


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose target task has its linear probe; nobody changes it."""
    repository = build(tmp_path_factory.mktemp("recipes") / "lab")
    probe(repository, TASK, hyper=PROBE, runtime=TRUSTED)
    return repository.root


@pytest.fixture
def lab(probed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, author: None) -> Path:
    root = Path(shutil.copytree(probed, tmp_path / "lab"))
    monkeypatch.chdir(root)
    return root


def words(text: str) -> str:
    return " ".join(text.split())


def test_help_lists_every_recipe_in_the_order_of_the_paper(mlgit: Callable) -> None:
    ran = mlgit("recipe", "--help")
    assert (ran.exit_code, ran.stderr) == (0, "")
    places = [ran.stdout.index(f"  {name} ") for name in ("all", *ORDER)]
    assert places == sorted(places)
    assert set(ORDER) == set(RECIPES.names())


@pytest.mark.parametrize("name", ["all", *ORDER])
def test_help_of_a_recipe_says_what_it_is_and_what_it_takes(mlgit: Callable, name: str) -> None:
    ran = mlgit("recipe", name, "--help")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"Usage: mlgit recipe {name} [OPTIONS]")
    if name != "all":
        recipe = RECIPES.get(name)
        assert words(recipe.summary[1:]) in words(ran.stdout)
        assert words(recipe.reference) in words(ran.stdout)
    for part in ("--task", "--test-domain", "--aux", "--runs", "--from", "--name", "--dry-run", "--json", "--trial"):
        assert part in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 80


def test_a_dry_run_shows_what_would_be_trained_and_writes_nothing(
    mlgit: Callable, lab: Path, fingerprint: Callable
) -> None:
    before = fingerprint(lab)
    ran = mlgit("recipe", "soup", *HOW, "--runs", "3", "--dry-run")
    assert (ran.exit_code, ran.stderr) == (0, ""), ran
    head, *rows = ran.stdout.splitlines()
    assert head.split()[:4] == ["run", "branch", "start", "lr"]
    assert [row.split()[1] for row in rows] == [f"shapes/plain-{number}" for number in range(3)]
    assert all("waiting" in row for row in rows)
    ran = mlgit("recipe", "ratatouille", *HOW, "--runs", "3", "--aux", "lines", "--aux-runs", "2", "--dry-run")
    assert [row.split()[1] for row in ran.stdout.splitlines()[1:]] == ["lines/aux-0", "lines/aux-1"]
    ran = mlgit("recipe", "soup", *HOW, "--runs", "2", "--dry-run", "--json")
    document = json.loads(ran.stdout)
    assert (document["outcomes"], [run["state"] for run in document["runs"]]) == ([], ["waiting"] * 2)
    assert fingerprint(lab) == before


def test_results_are_printed_as_a_table_and_as_json(mlgit: Callable, lab: Path) -> None:
    ran = mlgit("recipe", "soup", *HOW, "--runs", "2")
    assert ran.exit_code == 0, ran
    notes = ran.stderr.splitlines()
    assert [line.split(" after ")[0] for line in notes[:2]] == ["run 0 finished", "run 1 finished"]
    assert notes[2].startswith("soup, all-splits: no result, because it needs runs of several data splits")
    head, *rows = ran.stdout.splitlines()
    assert head.split() == [
        "recipe",
        "selection",
        "runs",
        "in",
        "it",
        "ID",
        "accuracy",
        "c",
        "paths",
        "commit",
        "branch",
    ]
    assert [row.split()[:3] for row in rows] == [["soup", "uniform", "2"], ["soup", "greedy", "2"]]
    assert all(row.split()[-1] == f"shapes/soup-{row.split()[1]}-2" for row in rows)
    ran = mlgit("recipe", "soup", *HOW, "--runs", "2", "--json")
    assert (ran.exit_code, ran.stderr) == (0, "")
    document = json.loads(ran.stdout)
    assert document.keys() >= {"task", "domain", "name", "outcomes", "runs"}
    assert (document["task"], document["domain"], document["name"]) == ("shapes", "c", "default")
    assert [(run["branch"], run["state"], run["attempts"]) for run in document["runs"]] == [
        (f"shapes/plain-{number}", "finished", 0) for number in range(2)
    ]
    uniform = document["outcomes"][0]
    assert uniform.keys() == {
        *("recipe", "selection", "trial", "candidates", "members", "commit", "branch", "id_accuracy"),
        *("test_correct", "test_examples", "connectivity"),
    }
    assert (uniform["trial"], uniform["test_examples"]) == (0, 40)
    assert list(uniform["members"].values()) == [0.5, 0.5]
    assert {run["commit"] for run in uniform["candidates"]} == uniform["members"].keys()
    assert uniform["candidates"][0].keys() == {
        *("number", "trial", "branch", "commit", "start", "id_accuracy", "test_correct", "test_examples"),
    }
    shown = json.loads(
        mlgit("evaluate", uniform["branch"], "--task", "shapes", "--split", "test", "--trust-code", "--json").stdout
    )
    assert f"{uniform['test_correct'] / 40}" in json.dumps(shown)
    assert mlgit("status").stdout.startswith("on branch main\n")


def test_all_without_auxiliary_tasks_makes_those_that_need_none(mlgit: Callable, lab: Path) -> None:
    ran = mlgit("recipe", "all", *HOW, "--runs", "1", "--json")
    assert ran.exit_code == 0, ran
    document = json.loads(ran.stdout)
    assert list(dict.fromkeys(each["recipe"] for each in document["outcomes"])) == list(WITHOUT_AUXILIARIES)
    assert [run["branch"] for run in document["runs"]] == ["shapes/plain-0", "shapes/coral-0"]


@pytest.mark.parametrize(
    ("name", "arguments", "code", "said"),
    [
        ("soop", [], 2, "soop"),
        ("ratatouille", [], 2, "--aux TASK"),
        ("soup", ["--test-domain", "d"], 10, "has no domain 'd'"),
        ("soup", ["--aux", "shapes"], 2, "is no auxiliary"),
        ("soup", ["--runs", "0"], 2, "0 runs"),
        ("soup", ["--name", "a/b"], 2, "cannot name a study"),
        ("soup", ["--hparams", "mildest"], 10, "mildest"),
        ("soup", ["--lmc", "most"], 2, "'most'"),
        ("soup", ["--loss", "coral"], 2, "recipes choose the loss"),
        ("soup", ["--average", "moving"], 2, "recipes choose the loss"),
        ("soup", ["--stage", "target"], 2, "--stage"),
        ("soup", ["--keep", "last"], 2, "--keep"),
        ("soup", ["--again"], 2, "--again"),
        ("swad", ["--collect", "none"], 2, "leave `--collect` as it is"),
        ("soup", ["--executor", "inlin"], 10, "inlin"),
        ("soup", ["--jobs", "0"], 2, "0"),
        ("soup", ["--retries", "-1"], 2, "-1"),
        ("soup", ["--from", "nowhere"], 10, "nowhere"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    mlgit: Callable, lab: Path, fingerprint: Callable, name: str, arguments: list[str], code: int, said: str
) -> None:
    before = fingerprint(lab)
    ran = mlgit("recipe", name, *HOW, "--runs", "1", *arguments)
    assert ran.exit_code == code, ran
    assert ran.stdout == ""
    assert sum(line.startswith("error: ") for line in ran.stderr.splitlines()) == 1
    assert said in ran.stderr
    assert fingerprint(lab) == before


def test_a_failing_run_ends_with_its_code_and_names_its_log(mlgit: Callable, lab: Path) -> None:
    ran = mlgit("recipe", "vanilla", *HOW, "--lr", "1e30", "--runs", "1", "--retries", "0")
    assert ran.exit_code == 15, ran
    assert "error: 1 of 1 runs failed; run 0 ended with exit code 15 after 1 attempts" in ran.stderr
    (log,) = (lab / ".mlgit/recipes/shapes/c/default/logs").glob("*.log")
    assert str(log) in ran.stderr
    assert not (lab / ".mlgit/recipes/shapes/c/default/results.json").exists()
