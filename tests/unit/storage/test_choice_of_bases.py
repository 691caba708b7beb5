from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.storage.repack.choice import CANDIDATES, Problem, choose

WHOLE = 27.0


def clouds(*sizes: int, apart: float = 2.0**26, near: float = 2.0**12, seed: int = 0) -> np.ndarray:
    """Return points in clouds: each has its own centre, far from those of the others."""
    random = np.random.default_rng(seed)
    rows = [random.normal(size=64) * apart + random.normal(size=(count, 64)) * near for count in sizes]
    return np.concatenate(rows)


def problem(points: np.ndarray, **options: Any) -> Problem:
    values = {"fixed": {}, "links": {}, "favoured": [], "depth": 1, "whole": np.full(len(points), WHOLE)} | options
    return Problem(points=points, **values)


def cost(task: Problem, bases: list[int | None]) -> float:
    """Return the bits per element of all tensors that are not fixed."""
    free = [place for place in range(task.size) if place not in task.fixed]
    return sum(
        float(task.whole[place] if bases[place] is None else task.distances([place], bases[place])[0]) for place in free
    )


def depth(task: Problem, bases: list[int | None], place: int) -> int:
    """Follow bases to a whole tensor and return how many there are; fails on a ring."""
    seen = {place}
    for count in itertools.count():
        if place in task.fixed:
            return count + task.fixed[place]
        base = bases[place]
        if base is None:
            return count
        place = base
        assert place not in seen, "a ring"
        seen.add(place)
    raise AssertionError


def best_star(task: Problem) -> float:
    """Try every set of whole tensors."""
    places = range(task.size)
    costs = np.stack([task.distances(np.arange(task.size), other) for other in places], axis=1)
    found = []
    for count in range(1, task.size + 1):
        for roots in itertools.combinations(places, count):
            rest = [place for place in places if place not in roots]
            found.append(count * WHOLE + sum(min(WHOLE, costs[place, list(roots)].min()) for place in rest))
    return min(found)


@pytest.mark.parametrize("seed", range(5))
def test_of_one_family_the_tensor_in_the_middle_is_stored_whole(seed: int) -> None:
    points = clouds(1, near=0)
    random = np.random.default_rng(seed)
    around = points + random.normal(size=(6, 64)) * 2.0**14
    task = problem(np.concatenate([around, points]))
    assert choose(task) == [6] * 6 + [None]


@pytest.mark.parametrize("seed", range(5))
def test_families_that_are_far_apart_have_a_whole_tensor_each(seed: int) -> None:
    task = problem(clouds(4, 3, 2, seed=seed))
    bases = choose(task)
    assert bases.count(None) == 3
    for start, stop in ((0, 4), (4, 7), (7, 9)):
        assert all(base is None or start <= base < stop for base in bases[start:stop])


def test_what_is_like_nothing_else_stays_whole() -> None:
    task = problem(clouds(1, 1, 1, apart=2.0**40))
    assert choose(task) == [None] * 3


@settings(max_examples=60)
@given(st.integers(0, 1000), st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_the_choice_is_at_most_a_tenth_worse_than_the_best_there_is(seed: int, sizes: list[int]) -> None:
    task = problem(clouds(*sizes, near=2.0**15, apart=2.0**22, seed=seed))
    assert cost(task, choose(task)) <= 1.1 * best_star(task)


@settings(max_examples=60)
@given(st.data())
def test_chains_end_and_are_no_longer_than_allowed(data: st.DataObject) -> None:
    seed, limit = data.draw(st.integers(0, 1000)), data.draw(st.integers(1, 8))
    points = np.cumsum(np.random.default_rng(seed).normal(size=(data.draw(st.integers(1, 30)), 64)) * 2.0**18, axis=0)
    places = st.integers(0, len(points) - 1)
    fixed = data.draw(st.dictionaries(places, st.integers(0, 8), max_size=5))
    links = data.draw(st.dictionaries(places, st.lists(places, max_size=4)))
    task = problem(points, fixed=fixed, links=links, depth=limit)
    bases = choose(task)
    for place in set(range(task.size)) - set(fixed):
        assert depth(task, bases, place) <= limit


@given(st.integers(0, 1000))
def test_more_depth_never_costs_more_and_helps_along_a_path(seed: int) -> None:
    steps = np.random.default_rng(seed).normal(size=(12, 64)) * 2.0**12
    points = np.cumsum(np.cumsum(steps, axis=0) * 4, axis=0)
    costs = [cost(task, choose(task)) for limit in (1, 2, 8) for task in [problem(points, depth=limit)]]
    assert costs[0] >= costs[1]
    assert costs[0] > costs[2]


def test_a_history_with_more_tensors_than_candidates_still_finds_near_ones() -> None:
    count = 5 * CANDIDATES
    points = np.concatenate([clouds(count, near=2.0**10), clouds(count, near=2.0**10, seed=1)])
    task = problem(points)
    bases = choose(task)
    assert 2 <= bases.count(None) <= 4
    assert all(base is None or (base < count) == (place < count) for place, base in enumerate(bases))


def test_integers_are_compared_by_their_bits() -> None:
    random = np.random.default_rng(0)
    centre = random.integers(0, 256, 256, dtype=np.uint8)
    rows = [centre, *(centre ^ (random.random(256) < 0.02).astype(np.uint8) for _ in range(3))]
    assert choose(problem(np.stack(rows), whole=np.full(4, 8.0)))[1:] == [0, 0, 0]
