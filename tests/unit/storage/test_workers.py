"""Threads that encode and decode: what an interrupt at their start leaves."""

from __future__ import annotations

import subprocess
import sys

INTERRUPTED = """
import signal, threading
real = threading.Thread.start
def start(thread):
    real(thread)
    signal.raise_signal(signal.SIGINT)
threading.Thread.start = start
from mlgit.storage.workers import InOrder, Workers
workers = Workers()
try:
    list(InOrder(workers).submit(int))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_while_a_thread_starts_does_not_keep_the_process_from_ending() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
