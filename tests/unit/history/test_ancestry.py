from __future__ import annotations

from itertools import islice, pairwise

from hypothesis import given
from hypothesis import strategies as st

from mlgit.history import Order, ancestors, is_ancestor, merge_bases, parent_ids, walk
from mlgit.objects import Parent, Role


def test_the_first_commits_of_a_long_log_are_read_and_no_more(long_history):
    long_history.reads.clear()
    entries = list(islice(walk(long_history.read, [long_history.ids[-1]]), 20))
    assert long_history.numbers(one for one, _ in entries) == list(range(99_999, 99_979, -1))
    assert len(long_history.reads) == 20


def test_a_limited_graph_log_reads_no_more_than_a_plain_one(long_history):
    long_history.reads.clear()
    entries = list(walk(long_history.read, [long_history.ids[-1]], order=Order.TOPO, limit=20))
    assert len(entries) == 20
    assert len(long_history.reads) <= 21


def test_a_walk_that_is_not_begun_reads_nothing_and_a_limit_of_none_yields_all(history):
    built = history([(0, []), (1, [0])])
    iterator = walk(built.read, [built.ids[1]])
    assert built.reads == []
    assert built.numbers(one for one, _ in iterator) == [1, 0]
    assert list(walk(built.read, [built.ids[1]], limit=0)) == []
    assert list(walk(built.read, [])) == []


def test_a_limit_takes_the_newest_and_the_order_arranges_these(history):
    #      0 - 1 - 3 - 5    main
    #       \- 2 - 4        side
    built = history([(0, []), (1, [0]), (2, [0]), (3, [1]), (4, [2]), (5, [3, 4])])

    def numbers(order, limit):
        return built.numbers(one for one, _ in walk(built.read, [built.ids[5]], order=order, limit=limit))

    assert numbers(Order.TIME, 4) == [5, 4, 3, 2]
    assert numbers(Order.TOPO, 4) == [5, 4, 2, 3]
    assert numbers(Order.TOPO, None) == [5, 4, 2, 3, 1, 0]
    assert numbers(Order.DATE, None) == [5, 4, 3, 2, 1, 0]


def test_a_hundred_thousand_commits_are_no_recursion(long_history):
    first, last = long_history.ids[0], long_history.ids[-1]
    assert sum(1 for _ in walk(long_history.read, [last], order=Order.TOPO)) == 100_000
    assert len(ancestors(long_history.read, [last])) == 100_000
    assert merge_bases(long_history.read, first, last) == [first]
    assert is_ancestor(long_history.read, first, last)
    assert not is_ancestor(long_history.read, last, first)


def test_questions_about_two_near_commits_do_not_read_all_of_history(long_history):
    old, new = long_history.ids[-10], long_history.ids[-1]
    for ask in (
        lambda: is_ancestor(long_history.read, old, new),
        lambda: is_ancestor(long_history.read, new, old),
        lambda: merge_bases(long_history.read, old, new),
    ):
        long_history.reads.clear()
        ask()
        assert len(long_history.reads) < 40


def test_criss_cross_merges_have_two_bases_newest_first(history):
    built = history([(0, []), (1, [0]), (2, [0]), (3, [1, 2]), (4, [2, 1])])
    assert merge_bases(built.read, built.ids[3], built.ids[4]) == [built.ids[2], built.ids[1]]


def test_wrong_clocks_do_not_let_an_ancestor_of_a_base_pass_for_a_base(history):
    # 0 is an ancestor of 2 through 1, whose clock was far behind: the walk meets 0 long before it passes 1
    built = history([(50, []), (-100, [0]), (60, [1]), (70, [2, 0]), (71, [2, 0])])
    assert merge_bases(built.read, built.ids[3], built.ids[4]) == [built.ids[2]]


def test_unrelated_commits_share_nothing(history):
    built = history([(0, []), (1, [])])
    assert merge_bases(built.read, *built.ids) == []
    assert not is_ancestor(built.read, *built.ids)


def test_a_parent_with_two_roles_is_one_parent(history):
    built = history([(0, []), (1, [0])])
    commit = built.commits[built.ids[1]]
    twice = (Parent(built.ids[0], Role.BASE), Parent(built.ids[0], Role.MERGE, 1.0))
    built.commits[built.ids[1]] = type(commit)(
        manifest=commit.manifest,
        parents=twice,
        stage=commit.stage,
        author=commit.author,
        time=commit.time,
        message="",
    )
    assert parent_ids(built.commits[built.ids[1]]) == (built.ids[0],)
    for order in Order:
        assert built.numbers(one for one, _ in walk(built.read, [built.ids[1]], order=order)) == [1, 0]


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 3)), min_size=1, max_size=30))
def test_each_commit_is_read_once(history, raw):
    shape = [
        (time, sorted({number // 2, number - 1} - {number}) * (back > 0)) for number, (time, back) in enumerate(raw)
    ]
    shape[0] = (shape[0][0], [])
    built = history(shape)
    for ask in (
        lambda: list(walk(built.read, built.ids)),
        lambda: list(walk(built.read, built.ids, order=Order.TOPO)),
        lambda: ancestors(built.read, built.ids),
        lambda: is_ancestor(built.read, built.ids[0], built.ids[-1]),
    ):
        built.reads.clear()
        ask()
        assert len(set(built.reads)) == len(built.reads)


@given(st.lists(st.integers(0, 20), min_size=2, max_size=20))
def test_time_order_never_goes_back_when_clocks_are_right(history, steps):
    times = [sum(steps[: number + 1]) for number in range(len(steps))]
    built = history([(time, [number - 1] * (number % 5 > 0)) for number, time in enumerate(times)])
    seen = [commit.time.seconds for _, commit in walk(built.read, built.ids)]
    assert all(newer >= older for newer, older in pairwise(seen))
