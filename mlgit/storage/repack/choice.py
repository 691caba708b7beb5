"""Which tensors are stored whole, and to which one each other is a difference.

Works on rough distances in bits per element between small samples. For differences to whole tensors only, this is the
facility location problem, solved greedily and then improved as k-medoids are (Cornuéjols et al. 1977; Kaufman and
Rousseeuw 1987). Deeper trees grow from its result as minimum spanning trees do (Prim 1957). The cost is that of the
number of tensors times a constant number of candidates.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
CANDIDATES = 48
"""How many tensors of a group may become bases of all others."""
_NEIGHBOURS = 2
_NEAREST = 3
_WORTH = 0.97
"""A difference takes no more than this share of the whole tensor, or it is not made."""
_ROUNDS = 4
_CODING_BITS = 2.0
"""What the sign and the length of a difference take beside its digits, about."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A group of tensors.

    Attributes:
        points: Elements of each, ``(n, k)``, as float64 that order as the values do, or as unsigned integers whose
            exclusive or tells how far they are apart.
        whole: Bits per element that each takes on its own, ``(n,)``.
        fixed: Place -> depth of those that stay as they are stored.
        links: Place -> places of near relatives.
        favoured: Places of those that are bases now, or likely good ones.
        depth: How many differences may stand before a value.
    """

    points: Array
    whole: Array
    fixed: Mapping[int, int]
    links: Mapping[int, Sequence[int]]
    favoured: Sequence[int]
    depth: int

    @property
    def size(self) -> int:
        """How many tensors there are."""
        return len(self.whole)

    def distances(self, places: Array | list[int], other: int) -> Array:
        """Return the bits per element of differences of some to another, never more than they take whole."""
        here, there = self.points[places], self.points[other]
        apart = np.abs(here - there) if here.dtype.kind == "f" else np.bitwise_xor(here, there).astype(np.float64)
        bits: Array = np.log2(apart + 1.0).mean(axis=1) + _CODING_BITS
        return np.minimum(bits, self.whole[places], out=bits)


def choose(problem: Problem) -> list[int | None]:
    """Return for each tensor the place of its base, or None; what it says of the fixed ones means nothing."""
    candidates = _candidates(problem)
    everything = np.arange(problem.size)
    costs = np.stack([problem.distances(everything, other) for other in candidates], axis=1)
    star, star_cost = _star(problem, candidates, costs)
    if problem.depth > 1:
        tree, tree_cost = _tree(problem, candidates, costs, star)
        if tree_cost < star_cost:
            return tree
    return star


def _candidates(problem: Problem) -> list[int]:
    """Return places that may be bases of many: those in favour, and others spread over the history."""
    if problem.size <= CANDIDATES:
        found: Iterable[int] = range(problem.size)
    else:
        spread = np.linspace(0, problem.size - 1, CANDIDATES).astype(int).tolist()
        found = [*problem.favoured[: CANDIDATES // 2], *spread]
    return [place for place in dict.fromkeys(found) if problem.fixed.get(place, 0) == 0][:CANDIDATES] or [0]


def _star(problem: Problem, candidates: list[int], costs: Array) -> tuple[list[int | None], float]:
    """Return a base that is stored whole for each tensor, and the bits per element of all together."""
    free = np.array([place not in problem.fixed for place in range(problem.size)])
    number = np.array(candidates)
    opening = np.where(free[number], problem.whole[number], 0.0)
    is_open = ~free[number]
    while True:
        now = _assigned(problem, number, costs, is_open, free)[1]
        saved = np.maximum(0.0, now[:, None] - costs) * free[:, None]
        saved[number, range(len(number))] = 0.0  # a new base itself is stored whole
        saved[number[is_open]] = 0.0  # and so are the others
        gain = saved.sum(axis=0) - (opening - now[number] * free[number])
        gain[is_open] = 0.0
        best = int(gain.argmax())
        if gain[best] <= 1e-3 * problem.whole.sum():
            break
        is_open[best] = True
    is_open = _improved(problem, number, costs, is_open, free)
    bases, now = _assigned(problem, number, costs, is_open, free)
    return [None if base < 0 else int(number[base]) for base in bases], float(now.sum())


def _assigned(problem: Problem, number: Array, costs: Array, is_open: Array, free: Array) -> tuple[Array, Array]:
    """Return the column of the nearest open candidate, or -1, and the bits per element, of each tensor."""
    bases, bits = np.full(problem.size, -1), np.where(free, problem.whole, 0.0)
    if is_open.any():
        columns = np.flatnonzero(is_open)
        nearest = columns[costs[:, columns].argmin(axis=1)]
        found = costs[np.arange(problem.size), nearest]
        takes = free & (found < _WORTH * problem.whole)
        takes[number[columns]] = False
        bases, bits = np.where(takes, nearest, -1), np.where(takes, found, bits)
    return bases, bits


def _improved(problem: Problem, number: Array, costs: Array, is_open: Array, free: Array) -> Array:
    """Move each base to the best place among the tensors that rest on it, while that helps."""
    total = _assigned(problem, number, costs, is_open, free)[1].sum()
    for _ in range(_ROUNDS):
        bases = _assigned(problem, number, costs, is_open, free)[0]
        moved = is_open.copy()
        for column in np.flatnonzero(is_open & free[number]):
            rows = np.flatnonzero(bases == column)
            inside = np.flatnonzero(np.isin(number, [*rows, number[column]]))
            sums = costs[np.ix_([*rows, number[column]], inside)].sum(axis=0)
            sums -= costs[number[inside], inside] - problem.whole[number[inside]]
            moved[column] = False
            moved[inside[sums.argmin()]] = True
        new = _assigned(problem, number, costs, moved, free)[1].sum()
        if new >= total:
            break
        is_open, total = moved, new
    return is_open


def _tree(
    problem: Problem, candidates: list[int], costs: Array, star: list[int | None]
) -> tuple[list[int | None], float]:
    """Return bases that may be differences themselves, and the bits per element of all together."""
    depths = dict(problem.fixed) | {base: 0 for base in star if base is not None and base not in problem.fixed}
    near = _near(problem, candidates, costs, list(depths))
    waiting: dict[int, list[tuple[float, int]]] = {}
    for place, bases in near.items():
        for base, bits in bases:
            waiting.setdefault(base, []).append((bits, place))
    chosen: list[int | None] = [None] * problem.size
    total = float(sum(problem.whole[base] for base in depths if base not in problem.fixed))
    heap = [(bits, place, base) for base in depths for bits, place in waiting.get(base, ())]
    heapq.heapify(heap)
    while heap:
        bits, place, base = heapq.heappop(heap)
        if place in depths or depths[base] >= problem.depth:
            continue
        chosen[place], depths[place] = base, depths[base] + 1
        total += bits
        for further in waiting.get(place, ()):
            heapq.heappush(heap, (*further, place))
    return chosen, total + float(sum(problem.whole[place] for place in range(problem.size) if place not in depths))


def _near(
    problem: Problem, candidates: list[int], costs: Array, roots: list[int]
) -> dict[int, list[tuple[int, float]]]:
    """Return for each tensor that is not fixed a few places that are near, with the bits per element."""
    nearest = np.argsort(costs, axis=1)[:, : _NEAREST + 1]
    near: dict[int, list[tuple[int, float]]] = {}
    columns = {place: column for column, place in enumerate(candidates)}
    for place in range(problem.size):
        if place in problem.fixed:
            continue
        around = range(max(0, place - _NEIGHBOURS), min(problem.size, place + _NEIGHBOURS + 1))
        named = [*problem.links.get(place, ()), *around, *(candidates[column] for column in nearest[place]), *roots]
        pairs = []
        for base in dict.fromkeys(named):
            column = columns.get(base)
            bits = costs[place, column] if column is not None else problem.distances([place], base)[0]
            if base != place and bits < _WORTH * problem.whole[place]:
                pairs.append((base, float(bits)))
        near[place] = pairs
    return near
