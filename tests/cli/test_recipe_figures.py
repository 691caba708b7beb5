"""What `recipe figures` prints, and what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from recipe_studies import a_run, a_study, an_outcome

from mlgit.porcelain.recipe_results import study_folder, write_study
from mlgit.recipes.recipe import Selection
from mlgit.repository import Repository


@pytest.fixture
def root(day: Path) -> Path:
    """A study of two runs from the pretrained featurizer."""
    repository = Repository(day)
    runs = [replace(a_run(n, 50), commit=repository.resolve(f"digit/{n}")) for n in range(2)]
    study = a_study(an_outcome("soup", Selection.UNIFORM, 60, runs=runs), task="digit", domain="rotate")
    folder = study_folder(repository, "digit", "rotate", study.name)
    folder.mkdir(parents=True)
    write_study(folder, study)
    return day


def test_files_are_named_and_what_is_missing_is_said(mlgit: Callable, root: Path) -> None:
    ran = mlgit("recipe", "figures", "--task", "digit@rotate", "--only", "runs", "--only", "mu")
    assert ran.exit_code == 0
    assert ran.stdout.startswith("recipe-figures/runs.svg")
    assert "no mu: " in ran.stderr
    assert "recipe-figures/figures.json" in ran.stderr
    assert sorted(path.name for path in (root / "recipe-figures").iterdir()) == ["figures.json", "runs.svg"]


def test_json_is_the_document_that_is_written(mlgit: Callable, root: Path) -> None:
    out = root.parent / "elsewhere"
    options = ("--out", str(out), "--format", "png", "--only", "runs", "--name", "main", "--json")
    ran = mlgit("recipe", "figures", "-t", "digit", *options)
    assert (ran.exit_code, ran.stderr, ran.stdout.count("\n")) == (0, "", 1)
    document = json.loads(ran.stdout)
    assert (document.pop("schema"), document.pop("folder")) == (1, str(out))
    assert document == json.loads((out / "figures.json").read_text())
    assert (out / "runs.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "code", "kind"),
    [
        (["--only", "rums"], 2, "unknown-figure"),
        (["--format", "pdf"], 2, "bad-plot-format"),
        (["--pairs", "0"], 2, "bad-parameter"),
        (["--trial", "3"], 10, "no-recipe-results"),
        (["--name", "other"], 10, "no-recipe-results"),
    ],
)
def test_what_makes_no_sense_is_refused(mlgit: Callable, root: Path, options: list[str], code: int, kind: str) -> None:
    ran = mlgit("recipe", "figures", "--task", "digit", *options, "--json")
    assert ran.exit_code == code
    assert json.loads(ran.stderr)["error"]["kind"] == kind
    assert not (root / "recipe-figures").exists()


def test_a_place_that_cannot_be_written_is_one_error_before_anything_is_measured(
    mlgit: Callable, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlgit.evaluation.evaluator.predict", None)
    (root / "taken").write_text("a file")
    ran = mlgit("recipe", "figures", "--task", "digit", "--only", "runs", "--out", "taken/figures", "--json")
    assert ran.exit_code == 16
    assert json.loads(ran.stderr)["error"]["kind"] == "file-system"
