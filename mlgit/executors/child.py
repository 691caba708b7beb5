"""What runs in the process of one job: ``python -P -m mlgit.executors.child SETTINGS ARGUMENTS…``.

The job ends when its parent does, however that died: the standard input is a pipe that the parent holds open.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time

GRACE_S = 10.0
"""How long a job may take to end when it is asked to, in seconds."""


def main() -> int:
    """Run one job and return its exit code."""
    settings = json.loads(sys.argv[1])
    os.environ.update(settings["environment"])  # before anything that reads it is imported
    threading.Thread(target=_end_with_parent, daemon=True).start()
    module, _, name = settings["program"].partition(":")
    code: int = getattr(importlib.import_module(module), name)(sys.argv[2:])
    return code


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
