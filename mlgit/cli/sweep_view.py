"""How a sweep is shown: a live table on a terminal, a line per finished run elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlgit.cli.context import Context
from mlgit.cli.output import Column, Output, Part, Styled
from mlgit.cli.text import clean

if TYPE_CHECKING:
    from rich.table import Table

    from mlgit.cli.progress import TerminalProgress
    from mlgit.cli.style import Style
    from mlgit.porcelain.sweep import RunState

_COLUMNS = ("run", "branch", "start", "lr", "dropout", "weight decay", "batch", "state", "ID accuracy", "commit")
_STATE = _COLUMNS.index("state")
_LIVE = [_COLUMNS.index(name) for name in ("run", "branch", "start", "state", "ID accuracy", "commit")]
_STYLES: dict[str, Style] = {"finished": "good", "failed": "bad", "running": "title", "waiting": "faint"}


@contextmanager
def watching(context: Context, runs: int | None, *, quiet: bool) -> Iterator[Callable[[RunState], None]]:
    """Show what happens to the runs of a sweep within the block; yield what is to be told of it.

    Args:
        context: Says whether somebody looks at a terminal.
        runs: How many there are; None: several sweeps are made, and branches tell the runs apart.
        quiet: Show nothing.
    """
    from mlgit.cli.progress import TerminalProgress

    if not quiet and not context.output.as_json and isinstance(context.progress, TerminalProgress):
        with _live(context.progress) as tell:
            yield tell
        return

    def note(state: RunState) -> None:
        if state.attempts and not quiet and state.state != "running":
            context.output.note(*_line(state, runs))

    yield note


def _line(state: RunState, runs: int | None) -> list[Part]:
    number = f"run {state.run.number} of {runs} " if runs is not None else f"run {state.run.number} "
    took = "" if state.outcome is None else f" after {state.outcome.duration_s:.0f} s"
    if state.commit is None:
        code = state.outcome.exit_code if state.outcome else 1
        return [number, Styled("failed", "bad"), f"{took} with exit code {code}, attempt {state.attempts}: {state.log}"]
    return [number, "finished", took, " as ", Styled(state.run.branch, "ref"), " ", Styled(state.commit.short, "id")]


@contextmanager
def _live(bars: TerminalProgress) -> Iterator[Callable[[RunState], None]]:
    from rich.console import Console
    from rich.live import Live

    from mlgit.cli.tables import terminal_width

    states: dict[str, RunState] = {}
    began: dict[str, float] = {}
    console = Console(
        file=bars.stream,
        force_terminal=True,
        no_color=not bars.color,
        markup=False,
        emoji=False,
        highlight=False,
        width=terminal_width(bars.stream),
    )

    def tell(state: RunState) -> None:
        branch = state.run.branch
        if state.state == "running":
            began[branch] = time.monotonic()
        states[branch] = state
        if state.attempts and not live.is_started:  # not while the probe has its bar
            live.start()
        if live.is_started:
            live.refresh()  # every change is drawn; in between, seconds are counted

    live = Live(
        console=console,
        get_renderable=lambda: _table(dict(states), began, console.height - 3),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    try:
        yield tell
    finally:
        live.stop()


def _table(states: dict[str, RunState], began: dict[str, float], height: int) -> Table:
    """Return the table of this moment; what is finished goes first where there is no room for all."""
    from rich.table import Table

    done = sum(state.state == "finished" for state in states.values())
    shown = [state for state in states.values() if len(states) <= height or state.state != "finished"]
    table = Table(*(_COLUMNS[index] for index in _LIVE), box=None, caption=f"{done} of {len(states)} runs finished")
    for state in shown:
        cells = [clean(part.text if isinstance(part, Styled) else part or "-") for part in _cells(state)]
        if state.state == "running":
            cells[_STATE] += f" {time.monotonic() - began[state.run.branch]:.0f} s"
        table.add_row(*(cells[index] for index in _LIVE))
    return table


def print_runs(output: Output, runs: Sequence[RunState]) -> None:
    """Print all runs as a table."""
    right = ("run", "lr", "dropout", "weight decay", "batch", "ID accuracy")
    output.table([Column(name, right=name in right) for name in _COLUMNS], [_cells(each) for each in runs])


def _cells(state: RunState) -> list[Part]:
    from mlgit.cli.views import percent

    run, accuracy = state.run, state.metrics.get("id_accuracy")
    label = "" if run.initialisation.auxiliary is None else f" {run.initialisation.auxiliary}"
    return [
        str(run.number),
        Styled(run.branch, "ref"),
        run.start.short + label,
        f"{run.hyper.lr:g}",
        f"{run.hyper.dropout:g}",
        f"{run.hyper.weight_decay:g}",
        str(run.hyper.batch_per_domain),
        Styled(state.state, _STYLES[state.state]),
        None if accuracy is None else percent(accuracy),
        None if state.commit is None else Styled(state.commit.short, "id"),
    ]


def run_json(state: RunState) -> dict[str, object]:
    """Return a run as JSON."""
    run, outcome = state.run, state.outcome
    return {
        "run": run.number,
        "branch": run.branch,
        "start": run.start,
        "auxiliary": run.initialisation.auxiliary,
        "sub_run": run.initialisation.sub_run,
        "hyper_parameters": run.hyper.to_json(),
        "seed": run.seed,
        "job": run.job.identity,
        "arguments": list(run.job.arguments),
        "state": state.state,
        "commit": state.commit,
        "metrics": dict(state.metrics),
        "attempts": state.attempts,
        "exit_code": None if outcome is None else outcome.exit_code,
        "log": None if state.log is None else str(state.log),
    }
