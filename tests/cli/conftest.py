from __future__ import annotations

import fcntl
import importlib.util
import json
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


def write_model(path: Path, **tensors: list[float]) -> None:
    """Write a safetensors file with 32-bit floats, in the order given."""
    header: dict[str, object] = {}
    data = b""
    for name, values in tensors.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": [len(values)], "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@dataclass(frozen=True)
class History:
    """A small repository: branch main at ``start``, branch other at ``change``, tags v1 and plain there."""

    root: Path
    start: str = "ae743ec4d87473eb0855376304d95765c00b3e88898f44fa7ed2a357bb9d4900"
    change: str = "662c7494190118f3d37b4bb3981fbf032e73f3545b2166a66e229823c1915f0c"

    def write(self, **tensors: list[float]) -> None:
        """Replace the working model."""
        write_model(self.root / "model.safetensors", **tensors)


@pytest.fixture
def author(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pin author and time, so that ids repeat."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLGIT_AUTHOR_NAME", "Ada")
    monkeypatch.setenv("MLGIT_AUTHOR_EMAIL", "ada@example.org")
    monkeypatch.setenv("MLGIT_AUTHOR_DATE", "1700000000 +0100")


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, author: None) -> History:
    """Stand in a small repository; its ids are the same on every machine, as the format says."""
    made = History(tmp_path / "model")
    assert frame.main(["init", str(made.root), "-q"]) == 0
    monkeypatch.chdir(made.root)
    made.write(body=[1.0, 2.0], head=[3.0])
    (made.root / "notes.txt").write_text("one\n")
    assert frame.main(["commit", "-m", "start\n\nwith a body"]) == 0
    assert frame.main(["switch", "-c", "other", "-q"]) == 0
    made.write(body=[1.0, 4.0], head=[3.0])
    assert frame.main(["commit", "-m", "change"]) == 0
    assert frame.main(["tag", "v1", "-m", "first\nmore"]) == 0
    assert frame.main(["tag", "plain"]) == 0
    assert frame.main(["switch", "main", "-q"]) == 0
    return made
