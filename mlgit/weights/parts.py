"""Work on long rows of numbers, part by part, in a few threads of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from mlgit.storage.workers import thread_count

PART = 2**15
"""Elements per part: they fit into a core's cache, and torch works on so few in the calling thread.

torch's own threads wait for each other by spinning, which is very slow where other processes use the cores.
"""

_THREADED = 2**21
_MAX_THREADS = 4


def in_parts(count: int, work: Callable[[slice], object]) -> None:
    """Call ``work`` on slices that together cover ``count`` elements, each one once.

    Args:
        count: How many elements there are.
        work: Works on the elements of one slice, whatever the others are: the result must not depend on their order.
    """
    threads = min(thread_count(), _MAX_THREADS)
    if count < _THREADED or threads == 1:
        _work_on(range(0, count, PART), count, work)
        return
    starts = range(0, count, PART)
    share = max(1, -(-len(starts) // threads))
    with ThreadPoolExecutor(threads, thread_name_prefix="mlgit-arithmetic") as pool:
        running = [
            pool.submit(_work_on, starts[first : first + share], count, work) for first in range(0, len(starts), share)
        ]
        for future in running:
            future.result()


def _work_on(starts: range, count: int, work: Callable[[slice], object]) -> None:
    for start in starts:
        work(slice(start, min(start + PART, count)))
