"""Walking the commit graph: order, ancestors and merge bases.

All functions read commits through a ``Read`` function, each commit at most once per call, and never recurse: a
history may be as deep as memory allows.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from itertools import count, islice

from mlgit.objects import Commit, CommitId

Read = Callable[[CommitId], Commit]
"""Returns the commit with an id; raises NotFoundError or CorruptObjectError."""

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


def ancestors(read: Read, starts: Iterable[CommitId]) -> set[CommitId]:
    """Return the commits that can be reached from ``starts``, these included."""
    seen = set(starts)
    stack = list(seen)
    while stack:
        for parent in parent_ids(read(stack.pop())):
            if parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return seen


def is_ancestor(read: Read, old: CommitId, new: CommitId) -> bool:
    """Return whether ``old`` can be reached from ``new``; a commit is its own ancestor, as in git.

    Reads what lies between the two and where they part, not all of history.
    """
    painting = _Painting(read, [old], [new])
    while painting.step():
        if painting.reached_from_right(old):
            return True
    return painting.reached_from_right(old)


def merge_bases(read: Read, a: CommitId, b: CommitId) -> list[CommitId]:
    """Return the best common ancestors of two commits, as ``git merge-base --all``.

    A common ancestor is best when no other common ancestor descends from it. Wrong clocks cost time, never the result.

    Returns:
        Newest first, then by id; empty when the two share no history; several after criss-cross merges.
    """
    painting = _Painting(read, [a], [b])
    while painting.step():
        pass
    found = painting.shared()
    best = [one for one in found if len(found) == 1 or not _reached_from(read, one, found)]
    return sorted(best, key=lambda commit_id: (-read(commit_id).time.seconds, commit_id))


def _reached_from(read: Read, one: CommitId, all_of_them: Iterable[CommitId]) -> bool:
    others = [other for other in all_of_them if other != one]
    painting = _Painting(read, [one], others)
    while painting.step():
        if painting.reached_from_right(one):
            return True
    return painting.reached_from_right(one)


_LEFT, _RIGHT, _BELOW = 1, 2, 4
_SHARED = _LEFT | _RIGHT


class _Painting:
    """Commits coloured by the sides that reach them, newest first, until only ancestors of shared ones are left.

    A commit that both sides reach colours its ancestors "below": they are shared too, but none of them is best. As a
    commit is visited again whenever it gains a colour, times only decide how early the walk can stop.
    """

    def __init__(self, read: Read, left: Iterable[CommitId], right: Iterable[CommitId]) -> None:
        self._read = read
        self._known: dict[CommitId, Commit] = {}
        self._colours: dict[CommitId, int] = {}
        self._heap: list[tuple[int, int, CommitId]] = []
        self._waiting: set[CommitId] = set()
        self._open = 0  # how many of the waiting ones are not "below"
        self._ticket = count()
        for side, colour in ((left, _LEFT), (right, _RIGHT)):
            for commit_id in side:
                self._add(commit_id, colour)

    def step(self) -> bool:
        """Visit one commit; return False when there is nothing left that could change the answer."""
        if not self._open:
            return False
        commit_id = heapq.heappop(self._heap)[-1]
        self._waiting.remove(commit_id)
        colours = self._colours[commit_id]
        self._open -= not colours & _BELOW
        if colours & _SHARED == _SHARED:
            colours |= _BELOW
        for parent in parent_ids(self._known[commit_id]):
            self._add(parent, colours)
        return True

    def reached_from_right(self, commit_id: CommitId) -> bool:
        """Return whether the right side has reached this commit."""
        return bool(self._colours.get(commit_id, 0) & _RIGHT)

    def shared(self) -> list[CommitId]:
        """Return the commits that both sides reach and that are not known to lie below another such one."""
        return [commit_id for commit_id, colours in self._colours.items() if colours == _SHARED]

    def _add(self, commit_id: CommitId, colours: int) -> None:
        old = self._colours.get(commit_id, 0)
        new = old | colours
        if new == old:
            return
        self._colours[commit_id] = new
        if commit_id in self._waiting:
            self._open -= bool(new & _BELOW and not old & _BELOW)
            return
        if commit_id not in self._known:
            self._known[commit_id] = self._read(commit_id)
        self._waiting.add(commit_id)
        self._open += not new & _BELOW
        heapq.heappush(self._heap, (-self._known[commit_id].time.seconds, next(self._ticket), commit_id))
