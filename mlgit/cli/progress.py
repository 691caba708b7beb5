"""Progress bars on a terminal, drawn by Rich, for whoever takes a ``mlgit.progress.Progress``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from mlgit.cli.text import clean
from mlgit.progress import Bar

if TYPE_CHECKING:  # drawing costs 60 ms to import, and most runs draw nothing
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class TerminalProgress:
    """Draws one bar per open task, all at once; they vanish when the last one is closed.

    Args:
        stream: The terminal.
        color: Whether it may be coloured.
    """

    def __init__(self, stream: TextIO, *, color: bool = True) -> None:
        self.stream = stream
        self.color = color
        self._bars: Bars | None = None
        self._open = 0

    @contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Bar]:
        """Open a bar; see ``mlgit.progress.Progress.task``."""
        if self._bars is None:
            self._bars = _bars(self.stream, color=self.color)
        bars = self._bars
        identity = bars.add_task(clean(title), total=total, note="")
        self._open += 1
        if self._open == 1:
            bars.start()
        try:
            yield _TerminalBar(bars, identity)
        finally:
            self._open -= 1
            if self._open == 0:
                bars.stop()
            bars.remove_task(identity)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Take the bars away while something else is written to the terminal."""
        if self._bars is None or self._open == 0:
            yield
            return
        self._bars.stop()
        try:
            yield
        finally:
            self._bars.start()


class _TerminalBar:
    def __init__(self, bars: Bars, identity: TaskID) -> None:
        self._bars = bars
        self._identity = identity

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Move the bar; an empty note leaves the one before."""
        if note:
            self._bars.update(self._identity, advance=amount, note=clean(note))
        else:
            self._bars.update(self._identity, advance=amount)


def _bars(stream: TextIO, *, color: bool) -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(
        file=stream,
        force_terminal=True,
        no_color=not color,
        markup=False,
        emoji=False,
        highlight=False,
    )
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        transient=True,
        redirect_stdout=False,  # what is printed meanwhile comes through Output, which hides the bars first
        redirect_stderr=False,
    )
