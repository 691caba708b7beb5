"""Drawing the commit graph beside a log: one lane for each line of development.

Every row is a line of text; lanes lie two columns apart. A lane leads down to one commit that is still to come::

    ●─┬─╮   soup       from a commit, lines lead sideways and then down to its parents:
    │ │ ●   c              ╮ ╭ ┬ begin a lane, ┤ ├ ┼ enter one that is there already
    │ ●─┤   b              (c and b have the same parent)
    ●   │   a          a line crosses a lane where the lane stays a plain │
    ├───╯              rows without a commit move lanes together: ╯ ╰ ┴ end a lane
    ●       base

In ASCII, ``.`` begins a lane, ``'`` ends one and ``+`` is where a line enters a lane. So the parents of a commit are
found by following the lines downwards from it, and each row has the lines of one commit only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from mlgit.errors import InvalidInputError
from mlgit.objects import CommitId

_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8


@dataclass(frozen=True, slots=True)
class GraphStyle:
    """The characters of a drawing, each one column wide.

    Attributes:
        commit: Marks a commit.
        lines: 16 characters; the index is the sum of the directions that the line has: 1 up, 2 down, 4 left, 8 right.
    """

    commit: str
    lines: str


ASCII = GraphStyle(commit="*", lines=" '.|-'.+-'.+-'.+")
"""For any terminal."""
UNICODE = GraphStyle(commit="●", lines=" ╵╷│╴╯╮┤╶╰╭├─┴┬┼")
"""Box-drawing characters."""


@dataclass(frozen=True, slots=True)
class GraphRow:
    """What stands to the left of a line of the log.

    Attributes:
        prefix: Lanes and edges.
        continuation: What stands to the left of the commit's further lines; as wide as ``prefix``.
        commit: The commit whose first line this is, or None in a row that only moves lanes.
    """

    prefix: str
    continuation: str
    commit: CommitId | None


def graph_rows(
    commits: Iterable[tuple[CommitId, Sequence[CommitId]]], style: GraphStyle = UNICODE
) -> Iterator[GraphRow]:
    """Draw a graph, lazily, one commit ahead.

    Args:
        commits: Pairs of id and parents; every commit stands before its parents. Parents that do not occur (because a
            log was cut short) keep their lanes to the end.
        style: Which characters to draw with.

    Yields:
        One row for each commit, in the order given, and rows between them where lanes have to move.

    Raises:
        InvalidInputError: A commit occurs twice or after one of its parents.
    """
    drawing = _Drawing(style)
    for (commit_id, parents), following in pairwise(chain(commits, [(None, ())])):
        if commit_id is not None:
            own = list(dict.fromkeys(parents))
            yield from drawing.gather(commit_id, own)
            yield drawing.commit(commit_id, own, following[0])


class _Drawing:
    """The lanes below the last row."""

    def __init__(self, style: GraphStyle) -> None:
        self._style = style
        self._lanes: list[CommitId | None] = []  # the commit that each lane leads to; None: free
        self._resting: int | None = None  # the last commit's lane; if it ended, what begins there would look linked
        self._seen: set[CommitId] = set()

    def gather(self, commit_id: CommitId, parents: Sequence[CommitId]) -> Iterator[GraphRow]:
        """Bring the lanes that lead to the next commit together, as far left as possible if a lane goes on from it."""
        sources = [lane for lane, target in enumerate(self._lanes) if target == commit_id]
        if not sources:
            return
        goes_on = bool(parents) and parents[0] not in self._lanes
        goal = min(sources[0], self._free_lane()) if goes_on else sources[0]
        if sources == [goal]:
            return
        lines = dict.fromkeys(sources, _UP)
        lines[goal] = lines.get(goal, 0) | _DOWN
        for lane in sources:
            self._lanes[lane] = None
        row = self._row(lines, commit_lane=None)
        self._lanes[goal] = commit_id
        yield GraphRow(row, self._row({}, commit_lane=None).ljust(len(row)), None)

    def commit(self, commit_id: CommitId, parents: Sequence[CommitId], following: CommitId | None) -> GraphRow:
        """Draw a commit and begin or enter its parents' lanes."""
        self._check_order(commit_id, parents)
        lane = self._lanes.index(commit_id) if commit_id in self._lanes else self._free_lane()
        self._put(lane, None)
        straight = self._first_parent_goes_straight_down(lane, parents, following)
        sideways = parents[1:] if straight else parents
        lines: dict[int, int] = {}
        for parent in sideways:
            if parent in self._lanes:
                lines[self._lanes.index(parent)] = _UP | _DOWN
        if straight:
            self._put(lane, parents[0])
        for parent in sideways:
            if parent not in self._lanes:
                begun = self._free_lane(lane)
                self._put(begun, parent)
                lines[begun] = _DOWN
        row = self._row(lines, commit_lane=lane)
        self._resting = lane
        below = self._row({}, commit_lane=None)
        width = max(len(row), len(below))
        return GraphRow(row.ljust(width), below.ljust(width), commit_id)

    def _first_parent_goes_straight_down(
        self, lane: int, parents: Sequence[CommitId], following: CommitId | None
    ) -> bool:
        if not parents:
            return False
        if parents[0] not in self._lanes:
            return True
        return parents[0] == following and self._lanes.index(parents[0]) > lane  # they are gathered in the next row

    def _check_order(self, commit_id: CommitId, parents: Sequence[CommitId]) -> None:
        if commit_id in self._seen:
            raise InvalidInputError(f"commit {commit_id} occurs twice", kind="bad-order")
        self._seen.add(commit_id)
        wrong = next((parent for parent in parents if parent in self._seen), None)
        if wrong is not None:
            raise InvalidInputError(f"commit {commit_id} stands after its parent {wrong}", kind="bad-order")

    def _free_lane(self, taken: int | None = None) -> int:
        lane = 0
        while lane in (taken, self._resting) or (lane < len(self._lanes) and self._lanes[lane] is not None):
            lane += 1
        return lane

    def _put(self, lane: int, target: CommitId | None) -> None:
        self._lanes.extend([None] * (lane + 1 - len(self._lanes)))
        self._lanes[lane] = target
        while self._lanes and self._lanes[-1] is None:
            self._lanes.pop()

    def _row(self, lines: dict[int, int], commit_lane: int | None) -> str:
        """Draw the lanes; ``lines`` says which of them one line connects, and how they continue up and down."""
        connected = sorted({*lines, *([] if commit_lane is None else [commit_lane])})
        left, right = (connected[0], connected[-1]) if lines else (0, 0)
        glyphs = self._style.lines
        row = []
        for lane in range(max(len(self._lanes), *(one + 1 for one in connected), 0)):
            sideways = _LEFT * (left < lane <= right) | _RIGHT * (left <= lane < right)
            occupied = lane < len(self._lanes) and self._lanes[lane] is not None
            if lane == commit_lane:
                row.append(self._style.commit)
            elif lane in lines:
                row.append(glyphs[lines[lane] | sideways])
            else:
                row.append(glyphs[_UP | _DOWN if occupied else sideways])
            row.append(glyphs[_LEFT | _RIGHT] if left <= lane < right else " ")
        return "".join(row).rstrip()
