from __future__ import annotations

import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from repository_state import check_sound, everything, visible
from safetensors.numpy import save_file

from mlgit.cli import main as frame

DATE = "1700000000 +0100"


@dataclass(frozen=True)
class Ran:
    """What one run of mlgit printed and returned."""

    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture(autouse=True)
def fixed_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test depends on who runs it, when, or on what terminal."""
    for name in list(os.environ):
        if name.startswith(("MLGIT_", "_MLGIT")) or name in {"FORCE_COLOR", "COLUMNS", "XDG_CONFIG_HOME"}:
            monkeypatch.delenv(name)
    settings = {"MLGIT_AUTHOR_NAME": "Ada", "MLGIT_AUTHOR_EMAIL": "ada@example.org", "MLGIT_AUTHOR_DATE": DATE}
    home = {"HOME": str(tmp_path_factory.mktemp("home")), "NO_COLOR": "1", "TERM": "xterm"}
    for name, value in {**settings, **home}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def mlgit(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run mlgit in this process."""

    def run(*arguments: object) -> Ran:
        capfd.readouterr()
        code = frame.main([str(argument) for argument in arguments])
        printed = capfd.readouterr()
        return Ran(code, printed.out, printed.err)

    return run


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Run mlgit in this process on a terminal; stdout and stderr come together."""

    def run(*arguments: object) -> tuple[int, str]:
        screen, line = pty.openpty()
        fcntl.ioctl(line, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        seen: list[bytes] = []
        reader = threading.Thread(target=_read_all, args=(screen, seen))
        reader.start()
        with os.fdopen(line, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "stderr", stream)
            code = frame.main([str(argument) for argument in arguments])
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


@pytest.fixture
def memory() -> Iterator[Path]:
    """Return a new directory that everybody may enter, in memory where there is such a place."""
    fast = Path("/dev/shm")  # noqa: S108 - a random name below it is made
    with tempfile.TemporaryDirectory(dir=fast if os.access(fast, os.W_OK) else None) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def write_model() -> Callable[..., None]:
    """Write a small model as safetensors: the same seed, the same bytes."""

    def write(path: Path, seed: int, names: tuple[str, ...] = ("features.weight", "head.weight")) -> None:
        random = np.random.default_rng(seed)
        save_file({name: random.standard_normal((4, 3)).astype(np.float32) for name in names}, path)

    return write


@pytest.fixture
def make_repository(mlgit: Callable[..., Ran], write_model: Callable[..., None]) -> Callable[[Path], Path]:
    """Make a repository with two commits on main, one more on branch other, a tag, and an uncommitted change."""

    def make(root: Path) -> Path:
        assert mlgit("init", root).exit_code == 0
        write_model(root / "model.safetensors", 1)
        (root / "notes.txt").write_text("one\n")
        run = ["-C", root]
        assert mlgit(*run, "commit", "-m", "one").exit_code == 0
        assert mlgit(*run, "switch", "-c", "other").exit_code == 0
        write_model(root / "model.safetensors", 2)
        (root / "sub").mkdir()
        write_model(root / "sub" / "more.safetensors", 3, ("more.weight",))
        assert mlgit(*run, "commit", "-m", "two").exit_code == 0
        assert mlgit(*run, "switch", "main").exit_code == 0
        assert mlgit(*run, "tag", "v1", "-m", "first").exit_code == 0
        (root / "notes.txt").write_text("changed\n")
        return root

    return make


@pytest.fixture
def repository(make_repository: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in the repository that make_repository makes."""
    root = make_repository(tmp_path / "model")
    monkeypatch.chdir(root)
    return root


@contextmanager
def unchanged(root: Path) -> Iterator[None]:
    """Check that a block changes nothing at all below a repository, and that the next command works there."""
    before = everything(root)
    yield
    assert everything(root) == before
    check_sound(root)
    assert frame.main(["-C", str(root), "branch", "still-works"]) == 0
    assert frame.main(["-C", str(root), "branch", "-d", "still-works"]) == 0


def check_refused(ran: Ran, exit_code: int, *words: str) -> None:
    """Check that a command failed as it should: one error, its words, perhaps a hint, no data, no traceback."""
    assert ran.exit_code == exit_code, ran
    lines = ran.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] in (["error"], ["error", "hint"]), ran.stderr
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr
    for word in words:
        assert word in ran.stderr


@dataclass(frozen=True)
class Checks:
    """The helpers above, as a fixture: test files cannot import one another."""

    everything = staticmethod(everything)
    visible = staticmethod(visible)
    sound = staticmethod(check_sound)
    unchanged = staticmethod(unchanged)
    refused = staticmethod(check_refused)


@pytest.fixture
def check() -> Checks:
    return Checks()


@pytest.fixture
def fork(tmp_path: Path) -> Callable[..., Ran]:
    """Run mlgit in a child of this process, where everything is imported already.

    Args of the function: the arguments; before is called in the child first, to arrange trouble.
    """
    printed = tmp_path / "printed-by-child"

    def run(*arguments: object, before: Callable[[], None] = lambda: None) -> Ran:
        sys.stdout.flush()
        sys.stderr.flush()
        outputs = [printed.with_suffix(suffix) for suffix in (".out", ".err")]
        streams = [open(path, "w", encoding="utf-8") for path in outputs]  # noqa: PTH123, SIM115 - closed below
        child = os.fork()
        if child == 0:
            code = 99
            try:
                sys.stdout, sys.stderr = streams
                before()
                code = frame.main([str(argument) for argument in arguments])
                sys.setprofile(None)
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        for stream in streams:
            stream.close()
        _, status = os.waitpid(child, 0)
        out, err = (path.read_text("utf-8") for path in outputs)
        return Ran(os.waitstatus_to_exitcode(status), out, err)

    return run


@pytest.fixture
def fresh(memory: Path) -> Callable[[Path], Path]:
    """Return a new copy of a directory."""
    count = iter(range(10**6))

    def copy(start: Path) -> Path:
        return Path(shutil.copytree(start, memory / f"copy-{next(count)}" / start.name, symlinks=True))

    return copy


@pytest.fixture
def start_mlgit() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start mlgit as users do, in a process of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "mlgit", *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
