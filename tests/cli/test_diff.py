from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

DIFFERENCE = (
    "modified: model.safetensors (1 of 2 tensors)\n"
    "tensor  status   rel. L2  cosine  changed  largest\n"
    "body    changed   0.8944  0.9762   50.0 %        2\n"
)


def test_diff_of_two_commits(mlgit: Callable[..., Any], history: Any) -> None:
    ran = mlgit("diff", "main", "other")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, DIFFERENCE, "1 tensors unchanged\n")


def test_diff_with_the_working_files(mlgit: Callable[..., Any], history: Any) -> None:
    assert mlgit("diff").stdout == ""
    assert mlgit("diff", "--exit-code").exit_code == 0
    history.write(body=[1.0, 4.0], head=[3.0])
    ran = mlgit("diff", "--exit-code")
    assert (ran.exit_code, ran.stdout) == (1, DIFFERENCE)


def test_diff_names_what_came_went_and_changed_its_form(mlgit: Callable[..., Any], history: Any) -> None:
    history.write(body=[1.0, 2.0, 3.0], new=[1.0])
    assert mlgit("diff").stdout.splitlines()[2:] == [
        "body    shape          -       -        -        -",
        "head    removed        -       -        -        -",
        "new     added          -       -        -        -",
    ]


def test_diff_as_json(mlgit: Callable[..., Any], history: Any) -> None:
    document = json.loads(mlgit("diff", "main", "other", "--json").stdout)
    (tensor,) = document.pop("tensors")
    assert document == {
        "schema": 1,
        "old": "main",
        "new": "other",
        "files": [{"path": "model.safetensors", "change": "modified", "tensors": 1, "of": 2}],
        "unchanged_tensors": 1,
    }
    assert (tensor["name"], tensor["status"]) == ("body", "changed")
    assert abs(tensor["relative_l2"] - (4 / 5) ** 0.5) < 1e-12
    assert abs(tensor["cosine"] - 9 / (5 * 17) ** 0.5) < 1e-12
    assert (tensor["share_changed"], tensor["largest_change"]) == (0.5, 2.0)


def test_values_that_are_no_numbers_have_no_word_in_json(mlgit: Callable[..., Any], history: Any) -> None:
    history.write(body=[1.0, float("nan")], head=[float("inf")])
    tensors = json.loads(mlgit("diff", "--json").stdout)["tensors"]
    assert [tensor["largest_change"] for tensor in tensors] == [None, None]
    assert mlgit("diff").exit_code == 0
