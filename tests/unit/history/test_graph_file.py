"""A commit-graph file changes no answer: neither a sound one, nor one of long ago, nor a damaged or forged one."""

from __future__ import annotations

import struct
from array import array
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.history import ancestors, first_ancestor, is_ancestor, merge_bases, reached_among, that_reach
from mlgit.storage.commit_graph import CommitGraph, Shape, build, check, damage, grown, shape_of, write

Shapes = list[tuple[int, list[int]]]


@st.composite
def shapes(draw: st.DrawFn) -> Shapes:
    """Up to 14 commits with up to 4 parents, in order of birth; their times run anywhere."""
    size = draw(st.integers(1, 14))
    times = draw(st.lists(st.integers(-3, 12), min_size=size, max_size=size))
    few = st.integers(0, 4 if draw(st.booleans()) else 1)
    return [
        (times[number], sorted(draw(st.sets(st.integers(0, number - 1), max_size=draw(few)))) if number else [])
        for number in range(size)
    ]


def graph_of(built, numbers):
    """Return the graph of some commits and their ancestors."""
    data = grown(None, lambda one: shape_of(built.commits[one]), [built.ids[number] for number in numbers])
    return None if data is None else CommitGraph(data)


def answers(built, a, b, some, graph, read=None):
    read = read or built.read
    return (
        merge_bases(read, a, b, graph=graph),
        merge_bases(read, a, b, *some, graph=graph),
        is_ancestor(read, a, b, graph=graph),
        ancestors(read, some, graph=graph),
        that_reach(read, some, a, graph=graph),
        reached_among(read, [a, b], some, graph=graph),
    )


@settings(max_examples=150, deadline=None)
@given(shape=shapes(), data=st.data())
def test_a_graph_of_any_part_of_the_history_changes_no_answer(history, shape, data):
    built = history(shape)
    known = data.draw(st.lists(st.sampled_from(range(len(shape))), max_size=3))
    graph = graph_of(built, known)
    pick = st.sampled_from(built.ids)
    a, b, some = data.draw(pick), data.draw(pick), data.draw(st.lists(pick, min_size=1, max_size=4, unique=True))
    assert answers(built, a, b, some, graph) == answers(built, a, b, some, None)


@settings(max_examples=100, deadline=None)
@given(shape=shapes(), data=st.data(), steps=st.integers(0, 16))
def test_the_first_ancestor_is_found_along_first_parents_with_any_graph(history, shape, data, steps):
    built = history(shape)
    graph = graph_of(built, data.draw(st.lists(st.sampled_from(range(len(shape))), max_size=3)))
    number = data.draw(st.integers(0, len(shape) - 1))
    found = first_ancestor(built.read, built.ids[number], steps, graph=graph)
    left = steps
    while left and shape[number][1]:
        number, left = shape[number][1][0], left - 1
    assert found == (built.ids[number], left)


@settings(max_examples=60, deadline=None)
@given(shape=shapes(), data=st.data())
def test_answers_from_a_graph_are_those_of_git(git, history, shape, data):
    ours, theirs = history(shape), git.load(shape)
    graph = graph_of(ours, data.draw(st.lists(st.sampled_from(range(len(shape))), max_size=3)))
    a, *rest = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=2, max_size=3))
    expected = git.run("merge-base", "--all", theirs[a], *(theirs[one] for one in rest), ok=(0, 1)).split()
    found = merge_bases(ours.read, ours.ids[a], *(ours.ids[one] for one in rest), graph=graph)
    assert sorted(theirs[number] for number in ours.numbers(found)) == sorted(expected)
    for option, ask in (
        ("--contains", lambda: that_reach(ours.read, ours.ids, ours.ids[a], graph=graph)),
        ("--merged", lambda: reached_among(ours.read, [ours.ids[a]], ours.ids, graph=graph)),
    ):
        listed = git.run("for-each-ref", "--format=%(refname:lstrip=2)", f"{option}={theirs[a]}").split()
        branches = {int(name[1:]) for name in listed if int(name[1:]) < len(shape)}
        assert set(ours.numbers(ask())) == branches


@settings(max_examples=100, deadline=None)
@given(shape=shapes(), data=st.data())
def test_what_a_graph_says_of_a_commit_is_true(history, shape, data):
    built = history(shape)
    graph = graph_of(built, data.draw(st.lists(st.sampled_from(range(len(shape))), min_size=1)))
    known = [one for one in built.ids if graph.find(one) is not None]
    assert len(known) == len(graph)
    for one in known:
        number = graph.find(one)
        commit = built.commits[one]
        assert graph.id(number) == one
        assert graph.seconds(number) == commit.time.seconds
        assert [graph.id(parent) for parent in graph.parents(number)] == [parent.id for parent in commit.parents]
        parents = graph.parents(number)
        assert graph.level(number) == 1 + max(map(graph.level, parents), default=0)
        assert graph.date(number) == max([commit.time.seconds, *(graph.date(parent) + 1 for parent in parents)])


@settings(max_examples=50, deadline=None)
@given(shape=shapes(), data=st.data())
def test_a_graph_grows_to_what_it_would_be_if_written_at_once(history, shape, data):
    built = history(shape)
    graph = graph_of(built, data.draw(st.lists(st.sampled_from(range(len(shape))), max_size=2)))
    read = []
    whole = grown(graph, lambda one: read.append(one) or shape_of(built.commits[one]), built.ids)
    if whole is None:
        assert len(graph) == len(shape)
        return
    assert whole == grown(None, lambda one: shape_of(built.commits[one]), built.ids)
    assert len(read) == len(shape) - (0 if graph is None else len(graph))


def test_commits_without_all_their_ancestors_stay_out():
    first, second, orphan, child = (bytes([number]) * 32 for number in range(4))
    data = build(
        {
            first: Shape(1, ()),
            second: Shape(2, (first,)),
            orphan: Shape(3, (b"gone" * 8,)),
            child: Shape(4, (second, orphan)),
        }
    )
    graph = CommitGraph(data)
    assert [graph.digest(number) for number in range(len(graph))] == [first, second]


def test_commits_that_descend_from_themselves_stay_out():
    one, other = b"a" * 32, b"b" * 32
    assert len(CommitGraph(build({one: Shape(1, (other,)), other: Shape(2, (one,))}))) == 0


def test_near_questions_in_a_long_history_read_nothing_and_visit_little(long_history):
    graph = graph_of(long_history, [len(long_history.ids) - 1])
    long_history.reads.clear()
    first, old, new = long_history.ids[0], long_history.ids[-10], long_history.ids[-1]
    assert merge_bases(long_history.read, old, new, graph=graph) == [old]
    assert is_ancestor(long_history.read, first, new, graph=graph)
    assert not is_ancestor(long_history.read, new, first, graph=graph)
    assert that_reach(long_history.read, [first, old, new], old, graph=graph) == {old, new}
    assert long_history.reads == []


@pytest.fixture
def some(history):
    """Return a history of 8 commits with merges and the bytes of its graph."""
    built = history([(0, []), (1, [0]), (2, [0]), (3, [1, 2]), (4, [2, 1]), (5, [3, 4]), (6, [5]), (9, [])])
    return built, grown(None, lambda one: shape_of(built.commits[one]), built.ids)


def test_every_changed_bit_and_every_missing_byte_is_noticed(some, tmp_path):
    built, data = some
    path = tmp_path / "commit-graph"
    write(path, data)
    assert CommitGraph.load(path) is not None
    assert list(check(path, built.read)) == []
    for at in range(len(data)):
        for broken in (data[:at], data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]):
            assert damage(broken)
    path.write_bytes(data[:-1])
    assert CommitGraph.load(path) is None
    (problem,) = check(path, built.read)
    assert "its counts say" in problem
    path.write_bytes(b"")
    assert CommitGraph.load(path) is None
    path.unlink()
    assert CommitGraph.load(path) is None
    assert list(check(path, built.read)) == []


def forged(data: bytes, change) -> bytes:
    """Return a file whose columns were changed and whose digest fits again."""
    from blake3 import blake3

    commits, edges = struct.unpack_from("<QQ", data, 16)
    at, columns = 32 + 32 * commits, {}
    for name, code, length in (
        ("times", "q", commits),
        ("dates", "q", commits),
        ("levels", "I", commits),
        ("starts", "I", commits + 1),
        ("edges", "I", edges),
    ):
        column = array(code)
        column.frombytes(data[at : at + column.itemsize * length])
        at += column.itemsize * length
        columns[name] = column
    change(columns)
    body = data[: 32 + 32 * commits] + b"".join(column.tobytes() for column in columns.values())
    return body + blake3(body).digest()


def _ring(columns):
    columns["edges"][:] = array("I", [0] * len(columns["edges"]))


def _nowhere(columns):
    columns["edges"][:] = array("I", [2**32 - 1] * len(columns["edges"]))


def _flat(columns):
    columns["levels"][:] = array("I", [1] * len(columns["levels"]))


def _backwards(columns):
    columns["dates"][:] = array("q", [-one for one in columns["dates"]])


def _huge(columns):
    columns["dates"][:] = array("q", [2**63 - 1] * len(columns["dates"]))


@pytest.mark.parametrize("change", [_ring, _nowhere])
def test_a_forged_graph_whose_parents_cannot_be_is_not_used(some, tmp_path, change):
    built, data = some
    path = tmp_path / "commit-graph"
    path.write_bytes(forged(data, change))
    graph = CommitGraph.load(path)
    assert graph is not None
    wanted = answers(built, built.ids[3], built.ids[6], built.ids[2:6], None)
    assert answers(built, built.ids[3], built.ids[6], built.ids[2:6], graph) == wanted


@pytest.mark.parametrize("change", [_ring, _nowhere, _flat, _backwards, _huge])
def test_a_forged_graph_is_found_by_comparing_it_with_the_commits(some, tmp_path, change):
    built, data = some
    path = tmp_path / "commit-graph"
    path.write_bytes(forged(data, change))
    (problem,) = check(path, built.read)
    assert "is not to be trusted" in problem


def test_a_forged_graph_with_another_parent_is_found_by_comparing(some, tmp_path):
    built, data = some
    shapes = CommitGraph(data).shapes()
    shapes[built.ids[6].digest] = Shape(built.commits[built.ids[6]].time.seconds, (built.ids[7].digest,))
    path = tmp_path / "commit-graph"
    path.write_bytes(build(shapes))
    (problem,) = check(path, built.read)
    assert built.ids[6][:10] in problem


@settings(max_examples=100, deadline=None)
@given(shape=shapes(), data=st.data())
def test_rubbish_with_a_right_digest_ends_with_an_answer_or_is_refused(history, shape, data):
    built = history(shape)
    whole = grown(None, lambda one: shape_of(built.commits[one]), built.ids)

    def change(columns):
        for _ in range(data.draw(st.integers(1, 4))):
            column = columns[data.draw(st.sampled_from(sorted(columns)))]
            if len(column):
                limit = 2**63 - 1 if column.typecode == "q" else 2**32 - 1
                column[data.draw(st.integers(0, len(column) - 1))] = data.draw(
                    st.integers(0, limit) | st.integers(0, 9)
                )

    graph = CommitGraph(forged(whole, change))
    answers(built, built.ids[0], built.ids[-1], built.ids[:3], graph)
    with TemporaryDirectory() as folder:
        path = Path(folder, "commit-graph")
        path.write_bytes(forged(whole, change))
        list(check(path, built.read))
