"""Walking the commit graph: order, ancestors and merge bases.

All functions read commits through a ``Read`` function, each commit at most once per call, and never recurse: a
history may be as deep as memory allows. A graph, where there is one, spares them most of the reading; it never changes
an answer.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import count, islice

from mlgit.history.interfaces import GraphSource
from mlgit.history.nodes import Nodes, Read, ask
from mlgit.objects import Commit, CommitId

Entry = tuple[CommitId, Commit]


class Order(StrEnum):
    """In which order ``walk`` yields commits."""

    TIME = "time"
    """Newest first, lazily; where clocks were wrong, a parent can come before one of its children."""
    DATE = "date"
    """Newest first, but no parent before any of its children."""
    TOPO = "topo"
    """No parent before any of its children, and lines of development are not mixed."""


def parent_ids(commit: Commit) -> tuple[CommitId, ...]:
    """Return the commit's parents in order, each once, whatever their roles."""
    return tuple(dict.fromkeys(parent.id for parent in commit.parents))


def walk(
    read: Read, starts: Iterable[CommitId], *, order: Order = Order.TIME, limit: int | None = None
) -> Iterator[Entry]:
    """Yield commits and all their ancestors, each once, in the order of ``git log``.

    ``Order.TIME`` is lazy: to yield n commits it reads these, and those of their parents that it did not yield.
    The other orders need to know every child, so they read everything before they yield, except under a ``limit``.

    Args:
        read: Reads one commit.
        starts: Where to begin; of commits with equal times the one named first comes first.
        order: As ``git log``, ``git log --date-order`` or ``git log --topo-order``.
        limit: Yield at most so many, the newest ones; ``order`` then arranges only these. None: all.

    Yields:
        Pairs of id and commit.
    """
    newest = islice(_by_time(read, starts), limit)
    return newest if order is Order.TIME else _arranged(list(newest), order)


def _by_time(read: Read, starts: Iterable[CommitId]) -> Iterator[Entry]:
    seen: set[CommitId] = set()
    heap: list[tuple[int, int, CommitId, Commit]] = []
    ticket = count()
    found: Iterable[CommitId] = starts
    while True:
        for commit_id in found:
            if commit_id not in seen:
                seen.add(commit_id)
                commit = read(commit_id)
                heapq.heappush(heap, (-commit.time.seconds, next(ticket), commit_id, commit))
        if not heap:
            return
        _, _, commit_id, commit = heapq.heappop(heap)
        yield commit_id, commit
        found = parent_ids(commit)


def _arranged(entries: list[Entry], order: Order) -> Iterator[Entry]:
    commits = dict(entries)
    children = Counter(parent for commit in commits.values() for parent in parent_ids(commit))
    ticket = count()
    ready: list[tuple[int, int, CommitId]] = []

    def make_ready(commit_id: CommitId) -> None:
        number = next(ticket)
        key = (-commits[commit_id].time.seconds, number) if order is Order.DATE else (0, -number)
        heapq.heappush(ready, (*key, commit_id))

    tips = [commit_id for commit_id in commits if not children[commit_id]]
    for commit_id in tips if order is Order.DATE else reversed(tips):
        make_ready(commit_id)
    while ready:
        commit_id = heapq.heappop(ready)[-1]
        yield commit_id, commits[commit_id]
        for parent in parent_ids(commits[commit_id]):
            children[parent] -= 1
            if not children[parent] and parent in commits:
                make_ready(parent)


def ancestors(read: Read, starts: Iterable[CommitId], *, graph: GraphSource | None = None) -> set[CommitId]:
    """Return the commits that can be reached from ``starts``, these included."""
    found = list(starts)

    def question(nodes: Nodes) -> set[CommitId]:
        pending = [nodes.node(start) for start in found]
        seen = set(pending)
        while pending:
            for parent in nodes.parents(pending.pop()):
                if parent not in seen:
                    seen.add(parent)
                    pending.append(parent)
        return set(map(nodes.id, seen))

    return ask(read, graph, question)


def is_ancestor(read: Read, old: CommitId, new: CommitId, *, graph: GraphSource | None = None) -> bool:
    """Return whether ``old`` can be reached from ``new``; a commit is its own ancestor, as in git.

    Reads what lies between the two and where they part, not all of history.
    """
    return ask(read, graph, lambda nodes: _is_ancestor(nodes, nodes.node(old), nodes.node(new)))


def _is_ancestor(nodes: Nodes, old: int, new: int) -> bool:
    if nodes.is_known(old):
        return bool(_reached(nodes, [new], {old}))
    painting = _Painting(nodes, [old], [new])
    while not painting.reached_from_right(old) and not painting.has_read_all() and painting.step():
        pass
    return painting.reached_from_right(old)


def reached_among(
    read: Read, starts: Iterable[CommitId], candidates: Iterable[CommitId], *, graph: GraphSource | None = None
) -> set[CommitId]:
    """Return those of the candidates that can be reached from any of ``starts``, as ``git branch --merged``."""
    begin, wanted = list(starts), list(candidates)

    def question(nodes: Nodes) -> set[CommitId]:
        found = _reached(nodes, map(nodes.node, begin), set(map(nodes.node, wanted)))
        return set(map(nodes.id, found))

    return ask(read, graph, question)


def _reached(nodes: Nodes, starts: Iterable[int], wanted: set[int]) -> set[int]:
    """Return what can be reached of ``wanted``; where the graph knows both, nothing older is visited."""
    pending = list(starts)
    seen, found = set(pending), wanted.intersection(pending)
    floor = nodes.floor(wanted)
    while pending and len(found) < len(wanted):
        node = pending.pop()
        if nodes.is_below(node, floor):
            continue
        for parent in nodes.parents(node):
            if parent not in seen:
                seen.add(parent)
                pending.append(parent)
                if parent in wanted:
                    found.add(parent)
    return found


def that_reach(
    read: Read, tips: Iterable[CommitId], old: CommitId, *, graph: GraphSource | None = None
) -> set[CommitId]:
    """Return those of ``tips`` from which ``old`` can be reached, as ``git branch --contains``."""
    given = list(tips)

    def question(nodes: Nodes) -> set[CommitId]:
        target = nodes.node(old)
        reaches = {target: True}
        return {tip for tip in given if _reaches(nodes, nodes.node(tip), target, reaches)}

    return ask(read, graph, question)


def _reaches(nodes: Nodes, tip: int, target: int, reaches: dict[int, bool]) -> bool:
    """Return whether ``target`` can be reached from ``tip``; ``reaches`` remembers it of every commit on the way."""
    path: list[tuple[int, Iterator[int]]] = []

    floor = nodes.floor([target])

    def enter(node: int) -> None:
        if node in reaches:
            return
        if nodes.is_below(node, floor):
            reaches[node] = False
        else:
            path.append((node, iter(nodes.parents(node))))

    enter(tip)
    while path:
        node, parents = path[-1]
        parent = next(parents, None)
        if parent is None:
            reaches[node] = False
            path.pop()
        elif reaches.get(parent):
            reaches.update((above, True) for above, _ in path)
            path.clear()
        else:
            enter(parent)
    return reaches[tip]


def first_ancestor(
    read: Read, start: CommitId, steps: int, *, graph: GraphSource | None = None
) -> tuple[CommitId, int]:
    """Follow first parents, as ``start~steps``.

    Returns:
        The commit that was reached, and how many steps were left because it has no parent.
    """

    def question(nodes: Nodes) -> tuple[CommitId, int]:
        node, left = nodes.node(start), steps
        while left and (parents := nodes.parents(node)):
            node, left = parents[0], left - 1
        return nodes.id(node), left

    return ask(read, graph, question)


def merge_bases(read: Read, a: CommitId, *others: CommitId, graph: GraphSource | None = None) -> list[CommitId]:
    """Return the best common ancestors of two commits, as ``git merge-base --all``.

    A common ancestor is best when no other common ancestor descends from it. Wrong clocks cost time, never the result.

    Args:
        read: Reads one commit.
        a: A commit.
        others: The other one; several stand for a merge of them all.
        graph: Spares reading.

    Returns:
        Newest first, then by id; empty when the two share no history; several after criss-cross merges.
    """
    return ask(read, graph, lambda nodes: _merge_bases(nodes, nodes.node(a), [nodes.node(other) for other in others]))


def _merge_bases(nodes: Nodes, a: int, others: list[int]) -> list[CommitId]:
    painting = _Painting(nodes, [a], others)
    while painting.step():
        pass
    found = painting.shared()
    if len(found) > 1:  # those of the graph were visited children first, so each of them is best
        found = [one for one in found if nodes.is_known(one) or not _reached_from(nodes, one, found)]
    ids = {nodes.id(one): nodes.seconds(one) for one in found}
    return sorted(ids, key=lambda commit_id: (-ids[commit_id], commit_id))


def _reached_from(nodes: Nodes, one: int, all_of_them: Iterable[int]) -> bool:
    return any(_is_ancestor(nodes, one, other) for other in all_of_them if other != one)


_LEFT, _RIGHT, _BELOW = 1, 2, 4
_SHARED = _LEFT | _RIGHT


class _Painting:
    """Commits coloured by the sides that reach them, newest first, until only ancestors of shared ones are left.

    A commit that both sides reach colours its ancestors "below": they are shared too, but none of them is best. As a
    commit is visited again whenever it gains a colour, times only decide how early the walk can stop.
    """

    def __init__(self, nodes: Nodes, left: Iterable[int], right: Iterable[int]) -> None:
        self._nodes = nodes
        self._colours: dict[int, int] = {}
        self._heap: list[tuple[int, int]] = []
        self._waiting: set[int] = set()
        self._open = 0  # how many of the waiting ones are not "below"
        for side, colour in ((left, _LEFT), (right, _RIGHT)):
            for node in side:
                self._add(node, colour)

    def step(self) -> bool:
        """Visit one commit; return False when there is nothing left that could change the answer."""
        if not self._open:
            return False
        node = heapq.heappop(self._heap)[-1]
        self._waiting.remove(node)
        colours = self._colours[node]
        self._open -= not colours & _BELOW
        if colours & _SHARED == _SHARED:
            colours |= _BELOW
        for parent in self._nodes.parents(node):
            self._add(parent, colours)
        return True

    def has_read_all(self) -> bool:
        """Return whether all that is left to visit is known to the graph."""
        return not self._heap or self._nodes.is_known(self._heap[0][-1])

    def reached_from_right(self, node: int) -> bool:
        """Return whether the right side has reached this commit."""
        return bool(self._colours.get(node, 0) & _RIGHT)

    def shared(self) -> list[int]:
        """Return the commits that both sides reach and that are not known to lie below another such one."""
        return [node for node, colours in self._colours.items() if colours == _SHARED]

    def _add(self, node: int, colours: int) -> None:
        old = self._colours.get(node, 0)
        new = old | colours
        if new == old:
            return
        self._colours[node] = new
        if node in self._waiting:
            self._open -= bool(new & _BELOW and not old & _BELOW)
            return
        self._waiting.add(node)
        self._open += not new & _BELOW
        heapq.heappush(self._heap, (self._nodes.turn(node), node))
