from __future__ import annotations

import fcntl
import importlib.util
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from mlgit.cli import main as frame

HERE = Path(__file__).parent
PROGRAM = HERE / "program.py"
FOREIGN = (
    "NO_COLOR",
    "FORCE_COLOR",
    "COLUMNS",
    "XDG_CONFIG_HOME",
    "PYTHONUNBUFFERED",
    "PYTHONIOENCODING",
    "PYTHONUTF8",
)


@dataclass(frozen=True)
class Ran:
    """What one run of mlgit printed and returned."""

    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on the terminal or the settings of whoever runs it."""
    for name in list(os.environ):
        if name.startswith(("MLGIT_", "_MLGIT")) or name in FOREIGN:
            monkeypatch.delenv(name)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def mlgit(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run mlgit in this process, its output going to files, as into pipes."""

    def run(*arguments: str) -> Ran:
        capfd.readouterr()
        code = frame.main(list(arguments))
        printed = capfd.readouterr()
        return Ran(code, printed.out, printed.err)

    return run


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Replace the verbs of mlgit by those of program.py."""
    if "program" not in sys.modules:
        spec = importlib.util.spec_from_file_location("program", PROGRAM)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "program", module)
        spec.loader.exec_module(module)
    monkeypatch.setattr(frame, "VERBS", sys.modules["program"].VERBS)
    return sys.modules["program"]


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start program.py in a process of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        process = subprocess.Popen([sys.executable, str(PROGRAM), *arguments], **streams)  # type: ignore[call-overload]
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Run mlgit in this process on a terminal of 100 columns; stdout and stderr come together, as one sees them."""

    def run(*arguments: str, stdout: object = None) -> tuple[int, str]:
        screen, line = pty.openpty()
        fcntl.ioctl(line, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        seen: list[bytes] = []
        reader = threading.Thread(target=_read_all, args=(screen, seen))
        reader.start()
        with os.fdopen(line, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stdout or stream)
            patch.setattr(sys, "stderr", stream)
            code = frame.main(list(arguments))
        reader.join(10)
        os.close(screen)
        return code, b"".join(seen).decode().replace("\r\n", "\n")

    return run


def _read_all(descriptor: int, seen: list[bytes]) -> None:
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # the other side is closed
            return
        if not part:
            return
        seen.append(part)
