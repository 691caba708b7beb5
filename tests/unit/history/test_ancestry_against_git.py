"""Every question about ancestry is asked of real git too, over random histories."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.history import Order, ancestors, is_ancestor, merge_bases, walk

Shape = list[tuple[int, list[int]]]


@st.composite
def shapes(draw: st.DrawFn, *, distinct_times: bool = False) -> Shape:
    """Up to 14 commits with up to 4 parents; times run forwards, run anywhere, or tie."""
    size = draw(st.integers(1, 14))
    if distinct_times:
        times = draw(st.permutations(range(size))) if draw(st.booleans()) else list(range(size))
    else:
        times = draw(st.lists(st.integers(0, 5), min_size=size, max_size=size))
    parents = [
        draw(st.lists(st.integers(0, number - 1), max_size=4 if draw(st.booleans()) else 1, unique=True))
        if number
        else []
        for number in range(size)
    ]
    return list(zip(times, parents, strict=True))


def some(shape: Shape) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, len(shape) - 1), min_size=1, max_size=3, unique=True)


@settings(max_examples=80, deadline=None)
@given(shape=shapes(), data=st.data())
def test_merge_bases_are_those_of_git(git, history, shape, data):
    ours, theirs = history(shape), git.load(shape)
    for _ in range(3):
        a, b = data.draw(st.tuples(*[st.integers(0, len(shape) - 1)] * 2))
        expected = git.run("merge-base", "--all", theirs[a], theirs[b], ok=(0, 1)).split()
        found = merge_bases(ours.read, ours.ids[a], ours.ids[b])
        assert {theirs[number] for number in ours.numbers(found)} == set(expected)
        assert len(found) == len(expected)


@settings(max_examples=40, deadline=None)
@given(shape=shapes())
def test_ancestors_are_those_of_git(git, history, shape):
    ours, theirs = history(shape), git.load(shape)
    for new in {len(shape) - 1, len(shape) // 2}:
        merged = git.run("for-each-ref", "--format=%(refname:lstrip=2)", f"--merged={theirs[new]}").split()
        expected = {int(name[1:]) for name in merged if int(name[1:]) < len(shape)}
        assert set(ours.numbers(ancestors(ours.read, [ours.ids[new]]))) == expected
        assert {old for old, one in enumerate(ours.ids) if is_ancestor(ours.read, one, ours.ids[new])} == expected


OPTIONS = {Order.TIME: [], Order.DATE: ["--date-order"], Order.TOPO: ["--topo-order"]}


@settings(max_examples=80, deadline=None)
@given(shape=shapes(distinct_times=True), data=st.data())
def test_walk_goes_in_the_order_of_git_log(git, history, shape, data):
    ours, theirs = history(shape), git.load(shape)
    starts = data.draw(some(shape))
    for order, options in OPTIONS.items():
        expected = git.run("rev-list", *options, *(theirs[start] for start in starts)).split()
        found = [one for one, _ in walk(ours.read, [ours.ids[start] for start in starts], order=order)]
        assert [theirs[number] for number in ours.numbers(found)] == expected


@settings(max_examples=50, deadline=None)
@given(shape=shapes(), data=st.data())
def test_walk_finds_what_git_finds_when_times_tie_or_run_backwards(git, history, shape, data):
    ours, theirs = history(shape), git.load(shape)
    starts = data.draw(some(shape))
    expected = set(git.run("rev-list", *(theirs[start] for start in starts)).split())
    for order in Order:
        entries = list(walk(ours.read, [ours.ids[start] for start in starts], order=order))
        numbers = ours.numbers(one for one, _ in entries)
        assert len(set(numbers)) == len(numbers)
        assert {theirs[number] for number in numbers} == expected
        assert all(ours.commits[one] is commit for one, commit in entries)
        if order is not Order.TIME:
            place = {number: at for at, number in enumerate(numbers)}
            assert all(place[child] < place[parent] for child in numbers for parent in shape[child][1])
