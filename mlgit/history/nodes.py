"""Commits as numbers, whether a graph file knows them or they have to be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from mlgit.history.interfaces import GraphSource
from mlgit.objects import Commit, CommitId

Read = Callable[[CommitId], Commit]
"""Returns the commit with an id; raises NotFoundError or CorruptObjectError."""

Answer = TypeVar("Answer")

_READ_FIRST = 1 << 62
"""Added to the time of commits that are read: no commit of the graph descends from one of them."""
_NEVER = 1 << 64


class ForgedGraphError(Exception):
    """The graph contradicts itself: it was not written by mlgit. Never leaves this package."""


class Nodes:
    """Commits of one history, by number: those of the graph first, then those that were read, as they were met.

    Args:
        read: Reads one commit; used for each commit that the graph does not know, once.
        graph: What is known without reading; None for nothing.
    """

    def __init__(self, read: Read, graph: GraphSource | None) -> None:
        self._read = read
        self._graph = graph
        self._known = 0 if graph is None else len(graph)
        self._numbers: dict[CommitId, int] = {}
        self._ids: list[CommitId] = []
        self._commits: list[Commit] = []

    def node(self, commit_id: CommitId) -> int:
        """Return the number of a commit, reading it if need be."""
        node = self._numbers.get(commit_id)
        if node is None:
            node = None if self._graph is None else self._graph.find(commit_id)
            if node is None:
                node = self._known + len(self._commits)
                commit = self._read(commit_id)
                self._ids.append(commit_id)
                self._commits.append(commit)
            self._numbers[commit_id] = node
        return node

    def id(self, node: int) -> CommitId:
        """Return the id of a commit."""
        if self._graph is not None and node < self._known:
            return self._graph.id(node)
        return self._ids[node - self._known]

    def is_known(self, node: int) -> bool:
        """Return whether the graph knows a commit, and so all its ancestors."""
        return node < self._known

    def parents(self, node: int) -> Sequence[int]:
        """Return the parents of a commit, in order, each once.

        Raises:
            ForgedGraphError: The graph has a parent that does not exist, or whose date or level is not smaller.
        """
        graph = self._graph
        if graph is None or node >= self._known:
            found = self._commits[node - self._known].parents
            return [self.node(each) for each in dict.fromkeys(parent.id for parent in found)]
        parents = graph.parents(node)
        date, level = graph.date(node), graph.level(node)
        for parent in parents:
            if parent >= self._known or graph.date(parent) >= date or graph.level(parent) >= level:
                raise ForgedGraphError
        return parents

    def seconds(self, node: int) -> int:
        """Return the time of a commit, in seconds since 1970-01-01T00:00:00Z."""
        if self._graph is not None and node < self._known:
            return self._graph.seconds(node)
        return self._commits[node - self._known].time.seconds

    def turn(self, node: int) -> int:
        """Return when a commit is visited, the smallest first: those that are read, then the graph's; newest first.

        Among commits of the graph a child always comes before its parents.
        """
        if self._graph is not None and node < self._known:
            return -self._graph.date(node)
        return -self._commits[node - self._known].time.seconds - _READ_FIRST

    def floor(self, wanted: Iterable[int]) -> tuple[int, int]:
        """Return the smallest date and level of commits, those of the graph; the largest of all when it knows none."""
        known = [node for node in wanted if node < self._known]
        if self._graph is None or not known:
            return _NEVER, _NEVER
        return min(map(self._graph.date, known)), min(map(self._graph.level, known))

    def is_below(self, node: int, floor: tuple[int, int]) -> bool:
        """Return whether the graph rules out that a commit reaches another one at or above a floor."""
        if self._graph is None or node >= self._known:
            return False
        return self._graph.date(node) <= floor[0] or self._graph.level(node) <= floor[1]


def ask(read: Read, graph: GraphSource | None, question: Callable[[Nodes], Answer]) -> Answer:
    """Answer a question about commits with the help of a graph, or without it where it contradicts itself.

    Raises:
        NotFoundError, CorruptObjectError: As ``read``.
    """
    try:
        return question(Nodes(read, graph))
    except ForgedGraphError:
        return question(Nodes(read, None))
