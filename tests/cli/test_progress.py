from __future__ import annotations

import io
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest

from mlgit.cli.progress import TerminalProgress

CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def test_nothing_is_drawn_when_stderr_is_no_terminal(mlgit: Callable, program: ModuleType) -> None:
    ran = mlgit("bars")
    assert ran.exit_code == 0
    assert ran.stdout == "data 0\ndata 1\n"
    assert ran.stderr == "note 0\nnote 1\n"


def test_bars_are_drawn_on_a_terminal_and_vanish(terminal: Callable, program: ModuleType) -> None:
    code, screen = terminal("bars")
    assert code == 0
    shown = CODES.sub("", screen).replace("\r", "")
    assert r"outer \x1b[2J[bold]" in shown
    assert "inner {x}" in shown
    assert r"note [red]\x1b]0;x\x07" in shown
    assert not any(unicodedata.category(char) in {"Cc", "Cf"} for char in shown if char != "\n")
    assert screen.rstrip().endswith("\x1b[2K")  # the last thing done to the bars is to erase them
    assert screen.count("\x1b[?25h") == screen.count("\x1b[?25l")  # the cursor is back


def test_lines_printed_meanwhile_stand_on_their_own(terminal: Callable, program: ModuleType) -> None:
    _, screen = terminal("bars")
    lines = [CODES.sub("", line).rsplit("\r", 1)[-1].strip() for line in screen.splitlines()]
    assert [line for line in lines if line.startswith(("data", "note "))] == ["data 0", "note 0", "data 1", "note 1"]


def test_data_goes_to_the_pipe_and_bars_to_the_terminal(terminal: Callable, program: ModuleType) -> None:
    out = io.StringIO()
    code, screen = terminal("bars", stdout=out)
    assert code == 0
    assert out.getvalue() == "data 0\ndata 1\n"
    assert "data" not in screen
    assert "outer" in screen


@pytest.mark.parametrize("option", ["-q", "--quiet"])
def test_quiet_draws_nothing(terminal: Callable, program: ModuleType, option: str) -> None:
    assert terminal("bars", option) == (0, "data 0\ndata 1\n")


def test_a_dumb_terminal_gets_no_bars(terminal: Callable, program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert terminal("bars") == (0, "data 0\nnote 0\ndata 1\nnote 1\n")


def test_an_exception_leaves_no_bar_behind() -> None:
    stream = io.StringIO()
    progress = TerminalProgress(stream)
    with pytest.raises(KeyboardInterrupt), progress.task("outer", total=1), progress.task("inner"):
        raise KeyboardInterrupt
    assert stream.getvalue().count("\x1b[?25h") == stream.getvalue().count("\x1b[?25l") == 1
    before = stream.getvalue()
    with progress.hidden():
        pass
    assert stream.getvalue() == before


def test_tasks_may_be_opened_from_many_threads() -> None:
    stream = io.StringIO()
    progress = TerminalProgress(stream)

    def work(number: int) -> None:
        with progress.task(f"task {number}", total=10) as bar:
            for _ in range(10):
                bar.advance()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert stream.getvalue().count("\x1b[?25h") == stream.getvalue().count("\x1b[?25l") > 0


def test_the_library_that_draws_is_not_imported_before_something_is_drawn() -> None:
    code = (
        "import sys, io; from mlgit.cli.progress import TerminalProgress; progress = TerminalProgress(io.StringIO());"
        "assert not any(name.startswith('rich') for name in sys.modules);"
        "progress.task('x').__enter__(); assert 'rich.progress' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
