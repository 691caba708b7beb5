from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.merging import MERGE_STRATEGIES
from mlgit.merging.candidate import Candidate, canonical, short
from mlgit.merging.fusing import Fusing
from mlgit.merging.strategy import make_strategy


def test_listing_the_strategies_imports_no_torch() -> None:
    code = "import sys, mlgit.merging as m; print(m.MERGE_STRATEGIES.names(), 'torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "['fusing', 'greedy', 'uniform', 'wise'] False"


@pytest.mark.parametrize("name", MERGE_STRATEGIES.names())
def test_every_row_loads_bears_its_name_and_has_defaults(name: str) -> None:
    strategy = make_strategy(name)
    assert type(strategy) is MERGE_STRATEGIES.get(name)
    assert strategy.name == name


def test_an_unknown_strategy_is_an_error_that_helps() -> None:
    with pytest.raises(NotFoundError, match="no merge strategy is named 'unifrom'") as raised:
        make_strategy("unifrom")
    assert raised.value.hint == "did you mean 'uniform'?"


def test_unknown_parameters_are_named_together_with_the_closest_known_one() -> None:
    with pytest.raises(InvalidInputError, match="no parameter 'sead', 'width'") as raised:
        make_strategy("fusing", {"width": 1, "sead": 3})
    assert raised.value.hint == "did you mean 'seed'?"


def test_parameters_go_in_and_come_back() -> None:
    given = {"fusing_range": 2, "seed": 9, "head": "fc", "head_from": "a", "statistics": "first"}
    strategy = make_strategy("fusing", given)
    assert strategy == Fusing(fusing_range=2, seed=9, head="fc", head_from="a", statistics="first")
    assert strategy.parameters() == given


@pytest.mark.parametrize("bad", [{"seed": "3"}, {"seed": True}, {"seed": 1.5}, {"fusing_range": "4"}, {"head": None}])
def test_values_of_the_wrong_type_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match="not of type"):
        make_strategy("fusing", bad)  # type: ignore[arg-type]  # on purpose


def test_candidates_stand_in_the_order_of_their_labels() -> None:
    pool = [Candidate(label, {}) for label in "cab"]
    assert [candidate.label for candidate in canonical(pool)] == ["a", "b", "c"]
    assert [candidate.label for candidate in canonical(pool, keep_order=True)] == ["c", "a", "b"]


def test_a_label_is_never_empty_and_a_score_never_infinite() -> None:
    with pytest.raises(InvalidInputError, match="empty label"):
        Candidate("", {})
    with pytest.raises(InvalidInputError, match="score -inf"):
        Candidate("a", {"w": torch.zeros(1)}, float("-inf"))


def test_ids_are_shortened_for_people_and_names_are_not() -> None:
    assert short("0123456789abcdef" * 4) == "0123456789"
    assert short("a-branch-with-a-name-of-sixty-four-characters-which-is-not-an-id!") != "a-branch-w"


def test_a_duplicate_is_named_short() -> None:
    label = "ab" * 32
    with pytest.raises(InvalidInputError, match=r"more than once: ababababab$"):
        canonical([Candidate(label, {}), Candidate(label, {})])
