"""Threads for encoding and decoding, shared by everything that uses one database."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from mlgit.interrupts import held_back

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

T = TypeVar("T")
MAX_THREADS = 16
"""More threads would cost memory, a few MiB each, and no disk is fast enough for them."""


def thread_count() -> int:
    """Return how many threads to use: one per core this process may run on, at most ``MAX_THREADS``."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_THREADS)


class Workers:
    """A pool of threads that starts when it is first needed, anew after a fork."""

    def __init__(self) -> None:
        self.count = thread_count()
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._pid = 0

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Run ``function`` in a thread; ``InOrder`` keeps Ctrl-C out of it."""
        with self._lock:
            if self._pool is None or self._pid != os.getpid():
                from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - most runs need no threads

                self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="mlgit-codec")
                self._pid = os.getpid()
            return self._pool.submit(function)


class InOrder(Generic[T]):
    """Runs functions in threads and hands out their results in the order given; the number waiting is bounded.

    Args:
        workers: The threads.
        window: How many may be under way.
    """

    def __init__(self, workers: Workers, window: int | None = None) -> None:
        self._workers = workers
        self._window = window or 2 * workers.count
        self._futures: deque[Future[T]] = deque()

    def __len__(self) -> int:
        return len(self._futures)

    def submit(self, function: Callable[[], T]) -> Iterator[T]:
        """Start ``function``; yield the results that must be taken to keep within the window."""
        with held_back():  # between its steps Ctrl-C would leave a lock taken, or a thread that nobody ends
            self._futures.append(self._workers.submit(function))
        while len(self._futures) > self._window:
            yield self._futures.popleft().result()

    def map(self, functions: Sequence[Callable[[], T]]) -> Iterator[T]:
        """Yield the results of ``functions``; a single one is run right here."""
        if len(functions) == 1:
            yield functions[0]()
            return
        for function in functions:
            yield from self.submit(function)
        yield from self.drain()

    def drain(self) -> Iterator[T]:
        """Yield all results that are left."""
        while self._futures:
            yield self._futures.popleft().result()

    def cancel(self) -> None:
        """Drop everything, and wait for what already runs: it may be writing into somebody's buffer."""
        if not self._futures:
            return
        from concurrent.futures import wait  # noqa: PLC0415 - as above

        for future in self._futures:
            future.cancel()
        wait(self._futures)
        self._futures.clear()
