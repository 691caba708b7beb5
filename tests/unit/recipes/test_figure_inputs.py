from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipe_studies import a_run, a_study, an_outcome

from mlgit.objects import CommitId
from mlgit.recipes.figure import rank_correlation
from mlgit.recipes.figure_inputs import (
    by_auxiliaries,
    by_share,
    distinct,
    first_of_each_start,
    first_of_each_task,
    growing,
    pairs,
    runs_of,
)
from mlgit.recipes.recipe import Selection
from mlgit.recipes.results import Auxiliary, Run

PLAIN = tuple(a_run(number, 50) for number in range(6))
STARTS = (None, "a", "b", None, "a", "b")
INTER = tuple(
    PLAIN[number] if start is None else a_run(100 + number, 50, start=start) for number, start in enumerate(STARTS)
)
INTER = tuple(
    Run(**{name: getattr(run, name) for name in run.__slots__} | {"number": number}) for number, run in enumerate(INTER)
)


def commits(steps: list[tuple[float, tuple[Run, ...]]]) -> list[tuple[float, list[str]]]:
    """Return the steps with runs as p0 or i1, by family and number."""
    plain = {run.commit: f"p{run.number}" for run in PLAIN}
    return [(x, [plain.get(run.commit, f"i{run.number}") for run in runs]) for x, runs in steps]


def test_runs_are_the_most_of_their_family_and_split_whatever_the_order() -> None:
    other_split = [a_run(number, 50, trial=1) for number in range(9)]
    study = a_study(
        an_outcome("vanilla", Selection.BEST, 50, runs=PLAIN[:2]),
        an_outcome("soup", Selection.UNIFORM, 50, runs=PLAIN[::-1]),
        an_outcome("soup", Selection.UNIFORM, 50, trial=1, runs=other_split),
        an_outcome("moving-average", Selection.BEST, 50, runs=[a_run(n, 40) for n in range(8)]),
        an_outcome("foreign", Selection.BEST, 50, runs=[a_run(n, 40) for n in range(8)]),
        an_outcome("inter-training", Selection.BEST, 50, runs=INTER),
    )
    assert runs_of(study, "plain", 0) == PLAIN
    assert runs_of(study, "inter", 0) == INTER
    assert len(runs_of(study, "plain", 1)) == 9
    assert runs_of(study, "inter", 1) == ()


def test_a_commit_of_two_families_counts_once() -> None:
    both = distinct((*PLAIN, *INTER))
    assert len(both) == len({run.commit for run in both}) == 10
    assert both[:6] == PLAIN


def test_paths_join_different_starts_the_pretrained_one_last() -> None:
    ends = first_of_each_start(INTER)
    assert [(run.start, run.number) for run in ends] == [("a", 1), ("b", 2), (None, 0)]
    assert [(a.start, b.start) for a, b in pairs(ends, 2)] == [("a", "b"), ("a", None)]


def test_of_each_auxiliary_task_the_first_run_counts() -> None:
    found = [Auxiliary(task=task, number=number, commit=CommitId("0" * 64)) for task, number in
             [("b", 1), ("a", 2), ("b", 0), ("a", 1)]]  # fmt: skip
    assert [(each.task, each.number) for each in first_of_each_task(found)] == [("a", 1), ("b", 0)]


def test_runs_are_added_one_by_one() -> None:
    assert commits(growing(PLAIN[:3])) == [(1, ["p0"]), (2, ["p0", "p1"]), (3, ["p0", "p1", "p2"])]


def test_tasks_are_added_one_by_one_to_the_same_number_of_runs() -> None:
    assert commits(by_auxiliaries(PLAIN, INTER)) == [
        (0, ["p0", "p1", "p2", "p3", "p4", "p5"]),
        (1, ["p0", "i1", "p2", "p3", "i4", "p5"]),
        (2, ["p0", "i1", "i2", "p3", "i4", "i5"]),
    ]
    assert commits(by_auxiliaries(PLAIN[:2], INTER)) == [(0, ["p0", "p1"]), (1, ["p0", "i1"])]
    assert by_auxiliaries(PLAIN, PLAIN) == []
    assert by_auxiliaries((), INTER) == []


def test_the_share_of_recycled_runs_grows_from_none_to_all() -> None:
    assert commits(by_share(PLAIN[:3], INTER)) == [
        (0, ["p0", "p1", "p2"]),
        (1 / 3, ["i1", "p0", "p1"]),
        (2 / 3, ["i1", "i2", "p0"]),
        (1, ["i1", "i2", "i4"]),
    ]
    assert len(by_share(PLAIN, INTER)) == 5
    assert by_share(PLAIN, PLAIN) == []


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=30))
def test_rank_correlation_is_that_of_scipy(points: list[tuple[int, int]]) -> None:
    stats = pytest.importorskip("scipy.stats")
    first, second = ([float(point[i]) for point in points] for i in range(2))
    found = rank_correlation(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-9)


def test_two_places_have_no_rank_correlation() -> None:
    assert rank_correlation([1.0, 2.0], [1.0, 2.0]) is None
    assert rank_correlation([1.0, 2.0, 4.0], [3.0, 5.0, 6.0]) == pytest.approx(float(np.float64(1.0)))
