"""Work that is done ahead of those who ask for its results, in threads, in order, with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from mlgit.storage.workers import thread_count

K = TypeVar("K")
T = TypeVar("T")

MAX_THREADS = 8
MAX_UNDER_WAY = 256
BUDGET = 48 * 2**20
"""What the work under way and its results that nobody has taken yet may cost, in bytes."""


def ahead(
    keys: Iterable[K], work: Callable[[K], T], cost: Callable[[K], int], *, budget: int | None = None
) -> Iterator[tuple[K, T]]:
    """Yield each key with the result of ``work``, in the order given.

    Args:
        keys: What to work on.
        work: Called in a thread, several at a time; the result must not depend on which ones. An exception is raised
            here, in its key's turn.
        cost: Bytes of memory that the work for a key needs, its result included.
        budget: Bound of the costs of what is under way or waits to be taken; a key that costs more goes alone.
    """
    limit = BUDGET if budget is None else budget
    under_way: deque[tuple[K, int, Future[T]]] = deque()
    spent = 0
    pool = ThreadPoolExecutor(min(thread_count(), MAX_THREADS), thread_name_prefix="mlgit-ahead")
    try:
        for key in keys:
            price = cost(key)
            while under_way and (spent + price > limit or len(under_way) >= MAX_UNDER_WAY):
                done, paid, future = under_way.popleft()
                yield done, future.result()
                spent -= paid
            under_way.append((key, price, pool.submit(work, key)))
            spent += price
        while under_way:
            done, _, future = under_way.popleft()
            yield done, future.result()
    finally:
        for _, _, future in under_way:
            future.cancel()
        pool.shutdown()
