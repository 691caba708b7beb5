"""A drawing is right when following its lines leads back to the graph that was drawn."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgit.errors import InvalidInputError
from mlgit.history import graph
from mlgit.history.graph import ASCII, UNICODE, GraphRow, GraphStyle, graph_rows
from mlgit.objects import CommitId

Shape = list[list[int]]
"""For each commit, in the order of the log, the numbers of its parents; numbers beyond the list are cut off."""


def id_of(number: int) -> CommitId:
    return CommitId(f"{number:064x}")


def draw(shape: Shape, style: GraphStyle = ASCII) -> list[GraphRow]:
    commits = [(id_of(number), [id_of(parent) for parent in parents]) for number, parents in enumerate(shape)]
    return list(graph_rows(commits, style))


def lines_of(rows: list[GraphRow], further: int = 0) -> list[str]:
    """Return the drawing as a log shows it whose entries have some further lines."""
    return [line for row in rows for line in (row.prefix, *([row.continuation] * further if row.commit else []))]


@dataclass
class Tracer:
    """Follows the characters of an ASCII drawing from a commit downwards. It knows nothing of how it was made."""

    lines: list[str]
    visited: set[tuple[int, int]] = field(default_factory=set)

    def at(self, row: int, column: int) -> str:
        return self.lines[row][column] if 0 <= column < len(self.lines[row]) else " "

    def parents(self, row: int, column: int) -> tuple[set[int], set[int]]:
        """Return the rows of the commits reached, and the columns in which lines leave the drawing at the bottom."""
        found: set[int] = set()
        exits: set[int] = set()
        todo = [(row + 1, column, "down")] + [
            (row, column + step, way)
            for way, step in (("left", -1), ("right", 1))
            if self.at(row, column + step) == "-"
        ]
        self.visited.add((row, column))
        if row + 1 < len(self.lines) and self.at(row + 1, column) not in "|+'*":
            todo.pop(0)  # the line ends here
        elif row + 1 == len(self.lines):
            todo.pop(0)
            exits |= {column} & self.open_below
        while todo:
            row, column, way = todo.pop()
            if row == len(self.lines):
                exits.add(column)
                continue
            glyph = self.at(row, column)
            assert glyph != " ", f"a line is broken at {row}, {column}"
            self.visited.add((row, column))
            if way == "down":
                todo += self.below(row, column, glyph, found)
            else:
                todo += self.beside(row, column, glyph, way)
        return found, exits

    open_below: set[int] = field(default_factory=set)
    """Columns of lanes below the last line, where a commit cannot show whether its own lane goes on."""

    def below(self, row: int, column: int, glyph: str, found: set[int]) -> list[tuple[int, int, str]]:
        if glyph == "*":
            found.add(row)
            return []
        if glyph in "|+":
            return [(row + 1, column, "down")]
        assert glyph == "'", f"a line runs into {glyph!r} from above"
        return [
            (row, column + step, way)
            for way, step in (("left", -1), ("right", 1))
            if self.at(row, column + step) == "-"
        ]

    def beside(self, row: int, column: int, glyph: str, way: str) -> list[tuple[int, int, str]]:
        step = -1 if way == "left" else 1
        goes_on = self.at(row, column + step) == "-"
        if glyph == "-":
            assert self.at(row, column + step) in "-|+.'", "a line leads nowhere"
            return [(row, column + step, way)]
        if glyph == "|":
            assert goes_on, "a line stops at a lane that it does not enter"
            return [(row, column + step, way)]
        assert glyph in "+.'", f"a line runs into {glyph!r} from the side"
        down = [] if glyph == "'" else [(row + 1, column, "down")]
        return down + ([(row, column + step, way)] if goes_on else [])


def assert_drawing_is(lines: list[str], last: GraphRow, shape: Shape) -> None:
    tracer = Tracer(lines)
    tracer.open_below = {column for column, glyph in enumerate(last.continuation) if glyph == "|"}
    rows = [row for row, line in enumerate(lines) if "*" in line]
    assert len(rows) == len(shape)
    for number, row in enumerate(rows):
        assert lines[row].count("*") == 1
        found, exits = tracer.parents(row, lines[row].index("*"))
        assert {rows.index(one) for one in found} == {parent for parent in shape[number] if parent < len(shape)}
        assert len(exits) == len({parent for parent in shape[number] if parent >= len(shape)})
    drawn = {(row, column) for row, line in enumerate(lines) for column, glyph in enumerate(line) if glyph != " "}
    assert tracer.visited == drawn


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Up to 16 commits with up to 9 parents in any order that puts parents last; some parents are cut off."""
    size = draw(st.integers(1, 16))
    most = draw(st.sampled_from([1, 2, 3, 9]))
    cut = draw(st.sampled_from([0, 0, 3]))
    return [
        draw(st.lists(st.integers(number + 1, size - 1 + cut), max_size=most, unique=True))
        if number + 1 < size + cut
        else []
        for number in range(size)
    ]


@settings(max_examples=400, deadline=None)
@given(shapes(), st.integers(0, 2))
def test_following_the_lines_of_a_drawing_gives_back_exactly_the_parents(shape, further):
    rows = draw(shape)
    assert_drawing_is(lines_of(rows, further), rows[-1], shape)


@settings(max_examples=150, deadline=None)
@given(shapes())
def test_every_commit_has_one_row_in_the_order_given_and_drawing_is_deterministic(shape):
    rows = draw(shape)
    assert [row.commit for row in rows if row.commit is not None] == [id_of(number) for number in range(len(shape))]
    assert rows == draw(shape)
    assert all(len(row.prefix) == len(row.continuation) for row in rows)
    assert len(rows) <= 2 * len(shape)


ARMS = {  # up, down, left, right
    "│": "ud", "─": "lr", "╮": "dl", "╭": "dr", "┬": "dlr", "╯": "ul", "╰": "ur", "┴": "ulr",
    "┤": "udl", "├": "udr", "┼": "udlr",
}  # fmt: skip
PLAIN = str.maketrans("●│─╮╭┬╯╰┴┤├┼", "*|-...'''+++")


@settings(max_examples=200, deadline=None)
@given(shapes())
def test_unicode_drawings_are_the_ascii_ones_with_arms_that_meet(shape):
    lines = lines_of(draw(shape, UNICODE))
    assert [line.translate(PLAIN) for line in lines] == lines_of(draw(shape))
    grid = {(row, column): glyph for row, line in enumerate(lines) for column, glyph in enumerate(line) if glyph != " "}
    moves = {"u": (-1, 0, "d"), "d": (1, 0, "u"), "l": (0, -1, "r"), "r": (0, 1, "l")}
    for (row, column), glyph in grid.items():
        for arm in ARMS.get(glyph, ""):
            down, right, other = moves[arm]
            neighbour = grid.get((row + down, column + right), "" if row + down < len(lines) else "●")
            crossed = arm in "lr" and neighbour == "│"
            assert neighbour == "●" or crossed or other in ARMS.get(neighbour, ""), (lines, row, column)


@st.composite
def logs_with_one_octopus(draw: st.DrawFn) -> Shape:
    """40 commits, one of them with eight parents, the others with two at most."""
    octopus = draw(st.integers(0, 31))
    return [
        draw(st.lists(st.integers(number + 1, 39), min_size=8, max_size=8, unique=True))
        if number == octopus
        else draw(st.lists(st.integers(number + 1, 39), max_size=2, unique=True))
        if number < 39
        else []
        for number in range(40)
    ]


@settings(max_examples=100, deadline=None)
@given(logs_with_one_octopus())
def test_forty_commits_with_an_eight_parent_merge_stay_below_sixty_columns(shape):
    rows = draw(shape)
    assert max(len(row.prefix) for row in rows) < 60
    assert_drawing_is(lines_of(rows), rows[-1], shape)


def test_the_worst_forty_commits_stay_below_sixty_columns():
    # an octopus and ten tips, and no two of them share a parent: more lines cannot be open at once
    tips = [list(range(32, 40)), *([33 - 2 * number, 32 - 2 * number] for number in range(1, 11))]
    shape = tips + [[]] * (40 - len(tips))
    assert all(parent > number for number, parents in enumerate(shape) for parent in parents)
    assert 50 < max(len(row.prefix) for row in draw(shape)) < 60


def test_a_branch_and_a_merge_look_like_this():
    assert [line.rstrip() for line in lines_of(draw([[2, 1], [3], [3], []]))] == [
        "*-.",
        "| *",
        "* |",
        "+-'",
        "*",
    ]


def test_an_octopus_looks_like_the_example_of_the_module():
    assert graph.__doc__ is not None
    rows = draw([[3, 2, 1], [4], [4], [4], []], UNICODE)
    example = [line[4:11].rstrip() for line in graph.__doc__.splitlines() if line.startswith("    ")]
    assert [line.rstrip() for line in lines_of(rows)] == example


def test_eight_parents_take_one_row():
    shape = [list(range(1, 9)), *[[9]] * 8, []]
    rows = draw(shape, UNICODE)
    assert rows[0].prefix == "●─┬─┬─┬─┬─┬─┬─╮"
    assert rows[0].continuation == "│ │ │ │ │ │ │ │"
    assert len(rows) == 10


@settings(max_examples=100, deadline=None)
@given(shapes(), st.data())
def test_a_parent_named_twice_is_drawn_once(shape, data):
    twice = [
        parents + (data.draw(st.lists(st.sampled_from(parents), max_size=2)) if parents else []) for parents in shape
    ]
    assert draw(twice) == draw(shape)


def test_a_line_that_goes_on_moves_to_a_free_lane_on_the_left():
    assert [line.rstrip() for line in lines_of(draw([[1, 2], [], [3], [4], []], UNICODE))] == [
        "●─╮",
        "● │",
        "  ●",
        "╭─╯",
        "●",
        "●",
    ]


def test_what_goes_straight_down_is_the_first_parent():
    assert [line.rstrip() for line in lines_of(draw([[3], [3, 2], [], []], UNICODE))] == [
        "●",
        "├─●─╮",
        "│   ●",
        "●",
    ]


def test_a_commit_below_an_unrelated_root_does_not_look_like_its_parent():
    assert [row.prefix.rstrip() for row in draw([[], [], [3], []])] == ["*", "  *", "*", "*"]


def test_drawing_reads_one_commit_ahead():
    taken = []

    def commits():
        for number in range(100):
            taken.append(number)
            yield id_of(number), [id_of(number + 1)]

    rows = graph_rows(commits())
    for _ in range(3):
        next(rows)
    assert len(taken) == 4


def test_a_hundred_thousand_commits_are_drawn(long_history):
    commits = ((one, [long_history.ids[number - 1]] if number else []) for number, one in enumerate(long_history.ids))
    rows = graph_rows(reversed(list(commits)))
    assert all(row.prefix == "●" for row in rows)


def test_an_empty_log_has_no_rows():
    assert list(graph_rows([])) == []


@pytest.mark.parametrize(
    ("commits", "message"),
    [
        ([(1, [2]), (1, [2])], "occurs twice"),
        ([(1, [1])], "stands after its parent"),
        ([(1, []), (2, []), (3, [1])], "stands after its parent"),
    ],
)
def test_commits_in_an_impossible_order_are_refused(commits, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        list(graph_rows([(id_of(one), [id_of(parent) for parent in parents]) for one, parents in commits]))
    assert caught.value.kind == "bad-order"
