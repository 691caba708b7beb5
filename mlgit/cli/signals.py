"""A request to stop, turned into an exception, so that everything open is closed on the way out."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STOPPING = (signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP came. Like Ctrl-C it is no ``Exception``, so nothing takes it for a failure.

    Args:
        number: Which signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextmanager
def stopping_cleanly() -> Iterator[None]:
    """Raise ``Terminated`` in the main thread when a signal asks this process to stop.

    Only the first one counts: a second must not disturb the cleaning up. A signal that is ignored (``nohup``) stays
    so, and a process forked meanwhile dies of it as usual.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()
    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        if os.getpid() != process:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if not came:
            came.append(number)
            raise Terminated(number)

    caught = [number for number in _STOPPING if signal.getsignal(number) == signal.SIG_DFL]
    for number in caught:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)
