"""A program for the jobs of the executors' contract: small, quick to start, and observable from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    """Do what the first argument says with the others; return the exit code.

    ``write PATH TEXT`` adds a line to a file. ``fail CODE``. ``raise``. ``show PATH`` writes the environment and the
    directory as JSON. ``die`` is killed. ``hang PATH`` writes its process and that of a child, and never ends. ``meet
    FOLDER NAME COUNT`` waits until COUNT jobs have come. ``alone FOLDER`` fails with 7 where another one is.
    """
    name, *rest = arguments
    print(f"{name} {' '.join(rest)}".strip())  # noqa: T201 - goes to the job's log, which is looked at
    return _ACTIONS[name](*rest)


def _write(path: str, text: str) -> int:
    with Path(path).open("a", encoding="utf-8") as stream:
        stream.write(text + "\n")
    return 0


def _raise() -> int:
    raise ValueError("a job that fails of itself")


def _show(path: str) -> int:
    content = {"environment": dict(os.environ), "directory": os.getcwd()}  # noqa: PTH109 - what the system says
    Path(path).write_text(json.dumps(content), encoding="utf-8")
    return 0


def _die() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def _hang(path: str) -> int:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    part = Path(path + ".part")
    part.write_text(f"{os.getpid()} {child.pid}", encoding="utf-8")
    part.rename(path)
    while True:
        time.sleep(1000)


def _meet(folder: str, name: str, count: str) -> int:
    (Path(folder) / name).touch()
    while len(list(Path(folder).iterdir())) < int(count):
        time.sleep(0.01)
    return 0


def _alone(folder: str) -> int:
    try:
        Path(folder, "busy").mkdir()
    except FileExistsError:
        return 7
    time.sleep(0.1)
    Path(folder, "busy").rmdir()
    return 0


_ACTIONS: Mapping[str, Callable[..., int]] = {
    "write": _write,
    "fail": int,
    "raise": _raise,
    "show": _show,
    "die": _die,
    "hang": _hang,
    "meet": _meet,
    "alone": _alone,
}
