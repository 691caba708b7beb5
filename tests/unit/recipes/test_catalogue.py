"""The recipes that there are, and records of what they came to."""

from __future__ import annotations

import json

import pytest
from recipe_studies import a_run, a_study, an_outcome

from mlgit.errors import CorruptObjectError, InvalidInputError, NotFoundError
from mlgit.objects.encoding import parse_json
from mlgit.recipes import FAMILIES, RECIPES, Selection, find_recipes
from mlgit.recipes.registry import ORDER
from mlgit.recipes.results import Auxiliary, Study

PAPER = {
    "probe": (None, "pretrained", ["best"]),
    "vanilla": ("plain", "pretrained", ["best"]),
    "coral": ("coral", "pretrained", ["best"]),
    "swad": ("plain", "pretrained", ["best"]),
    "moving-average": ("plain", "pretrained", ["best"]),
    "wise": ("plain", "pretrained", ["interpolated"]),
    "ensemble": ("plain", "pretrained", ["uniform"]),
    "soup": ("plain", "pretrained", ["uniform", "greedy", "all-splits"]),
    "inter-training": ("inter", "auxiliary", ["best"]),
    "ensemble-inter-training": ("inter", "auxiliary", ["uniform"]),
    "fusing": ("fused", "fused", ["best"]),
    "ratatouille": ("inter", "auxiliary", ["uniform", "greedy", "all-splits"]),
    "robust-inter-training": ("robust", "averaged", ["best"]),
    "robust-ratatouille": ("robust", "averaged", ["uniform", "greedy", "all-splits"]),
}
"""Name -> runs, where these begin, and results."""


def test_the_recipes_are_those_of_the_paper_in_its_order() -> None:
    found = find_recipes(["all"])
    assert [each.name for each in found] == list(PAPER) == list(ORDER)
    for recipe in found:
        family = None if recipe.family is None else FAMILIES[recipe.family]
        starts = "pretrained" if family is None else family.starts
        assert (recipe.family, starts, [each.value for each in recipe.selections]) == PAPER[recipe.name]
        assert recipe.average is None or (family is not None and recipe.average in family.collects)
        assert family is None or family.name == recipe.family
        assert "arXiv:" in recipe.reference
    assert [name for name, family in FAMILIES.items() if family.needs_auxiliaries] == ["inter", "robust", "fused"]


def test_names_come_once_and_in_order() -> None:
    assert [each.name for each in find_recipes(["soup", "probe", "soup"])] == ["probe", "soup"]
    assert find_recipes(["vanilla", "all"]) == find_recipes(["all"])
    with pytest.raises(NotFoundError, match="soop"):
        find_recipes(["soup", "soop"])
    with pytest.raises(InvalidInputError, match="no recipe is named"):
        find_recipes([])
    assert set(RECIPES.names()) == set(PAPER)


def the_study() -> Study:
    runs = [a_run(0, 40), a_run(1, 50, trial=1, start="dots")]
    outcomes = (
        an_outcome("soup", Selection.UNIFORM, 60, runs=runs, connectivity="holds"),
        an_outcome("soup", Selection.ALL_SPLITS, 61, trial=None, runs=runs, id_accuracy=None),
        an_outcome("probe", Selection.BEST, 30),
    )
    auxiliaries = (Auxiliary(task="dots", number=0, commit=runs[0].commit, average=runs[1].commit),)
    return a_study(*outcomes).with_results((), auxiliaries)


def test_a_study_comes_back_from_its_json() -> None:
    study = the_study()
    assert Study.from_json(parse_json(json.dumps(study.to_json()).encode(), "a study")) == study


@pytest.mark.parametrize("missing", ["task", "domain", "name", "outcomes", "auxiliaries"])
def test_a_study_that_lacks_something_is_refused(missing: str) -> None:
    fields = the_study().to_json()
    del fields[missing]
    with pytest.raises((CorruptObjectError, KeyError)):
        Study.from_json(parse_json(json.dumps(fields).encode(), "a study"))


def test_new_results_take_the_place_of_those_of_the_same_kind_and_number_of_runs() -> None:
    one, two = [a_run(0, 40)], [a_run(0, 40), a_run(1, 50)]
    study = a_study(
        an_outcome("soup", Selection.UNIFORM, 1, runs=one), an_outcome("soup", Selection.GREEDY, 2, runs=one)
    )
    new = [
        an_outcome("soup", Selection.UNIFORM, 3, runs=one),
        an_outcome("soup", Selection.UNIFORM, 4, runs=two),
        an_outcome("soup", Selection.UNIFORM, 5, runs=one, trial=1),
    ]
    found = study.with_results(new, ()).outcomes
    assert [each.test.correct for each in found] == [3, 2, 4, 5]
    later = Auxiliary(task="dots", number=0, commit=two[1].commit)
    earlier = Auxiliary(task="dots", number=0, commit=two[0].commit)
    assert study.with_results((), [earlier]).with_results((), [later]).auxiliaries == (later,)
