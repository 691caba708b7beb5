"""The side of the tests: build the shim, start the server, ask it to run commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).parent
WRITE, SYNC, RENAME, LINK, UNLINK, MKDIR, CREATE, TRUNCATE, OTHER = (1 << bit for bit in range(9))
ALL = (1 << 9) - 1
PLAIN = (
    *("mlgit.porcelain.clone", "mlgit.porcelain.gc", "mlgit.porcelain.config", "mlgit.porcelain.stash"),
    *("mlgit.porcelain.commit", "mlgit.porcelain.reset", "mlgit.porcelain.undo", "mlgit.porcelain.tag"),
    *("mlgit.porcelain.branch", "mlgit.porcelain.restore", "mlgit.porcelain.status", "mlgit.porcelain.init"),
    *("mlgit.cli.frame", "mlgit.cli.failures", "mlgit.cli.signals", "mlgit.cli.output", "tomllib", "json", "random"),
)
"""What version control imports: without torch, a fork is cheap."""
WITH_TORCH = (
    *("mlgit.porcelain.train", "mlgit.porcelain.probe", "mlgit.porcelain.merge", "mlgit.porcelain.certify"),
    *("mlgit.porcelain.import_", "mlgit.porcelain.export", "mlgit.porcelain.task", "mlgit.porcelain.run"),
    "sklearn.datasets",
)


@dataclass(frozen=True)
class Plan:
    """Trouble at one call.

    Attributes:
        root: Calls below this directory are counted.
        mode: ``count``, ``kill`` before the call, ``tear`` (half a write, then killed), ``fail`` once, ``fail-on``
            from there on, or ``shorten`` (half a write, and no error).
        at: Which call, from 1.
        classes: Which kinds of calls are counted.
        error: The number of the error to fail with.
    """

    root: str
    mode: str = "count"
    at: int = 0
    classes: int = ALL
    error: int = 0


@dataclass(frozen=True)
class Done:
    """How a child of the server ended.

    Attributes:
        status: Exit status, negative for a signal; 0 when all steps were done, whatever they returned.
        results: What the steps returned; None when it was killed.
        out: What was printed and belongs to no finished step.
        err: The same on stderr.
        fired: How often there was trouble.
        calls: Name and path of the calls that were counted, with the mode ``count``; else of the last one.
        seen: How many there were.
    """

    status: int
    results: list[Any] | None
    out: str
    err: str
    fired: int
    calls: list[list[str]]
    seen: int


def build_shim(folder: Path) -> Path | None:
    """Compile the shim; None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        return None
    library = folder / "faults.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, HERE / "faults.c"], check=True)
    return library


def python_path() -> dict[str, str]:
    """Return the variable that lets other programs find what tests share."""
    return {"PYTHONPATH": os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])}


class Program:
    """A server with everything imported; use as a context manager.

    Args:
        shim: The shim's library.
        environment: Of the commands.
        modules: What to import first.
    """

    def __init__(self, shim: Path, environment: dict[str, str], modules: tuple[str, ...] = PLAIN + WITH_TORCH) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "server.py"), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, "LD_PRELOAD": str(shim), **python_path(), "OMP_NUM_THREADS": "1"},
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=60)

    def ask(self, *steps: list[str], cwd: Path | str = os.sep, plan: Plan | None = None) -> Done:
        """Do steps in one child."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {
            "steps": [[str(part) for part in step] for step in steps],
            "cwd": str(cwd),
            "plan": plan and asdict(plan),
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Done(**json.loads(self._process.stdout.readline()))

    def do(self, *steps: list[str], cwd: Path | str = os.sep) -> list[Any]:
        """Do steps that must not break, and return what they returned."""
        done = self.ask(*steps, cwd=cwd)
        assert done.results is not None, done
        return done.results

    def mlgit(self, *arguments: object, cwd: Path | str = os.sep) -> dict[str, Any]:
        """Run a command that must succeed."""
        ran: dict[str, Any] = self.do(["mlgit", *map(str, arguments)], cwd=cwd)[0]
        assert ran["code"] == 0, (arguments, ran)
        return ran
