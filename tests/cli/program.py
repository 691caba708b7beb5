"""mlgit with verbs that misbehave, for tests of the frame; run as a program, or loaded by the `program` fixture."""

from __future__ import annotations

import os
import signal
import sys
import time
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from mlgit import errors
from mlgit.cli import main
from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.output import Column, Styled
from mlgit.cli.verb import Group

PAYLOADS = {
    "set the title\x1b]0;owned\x07": r"set the title\x1b]0;owned\x07",
    "clear the screen\x1b[2J\x1b[H": r"clear the screen\x1b[2J\x1b[H",
    "eight-bit codes\x9b31m\x90\x9d": r"eight-bit codes\x9b31m\x90\x9d",
    "a link\x1b]8;;http://evil\x1b\\text": r"a link\x1b]8;;http://evil\x1b\text",
    "overwrite\rerror": r"overwrite\rerror",
    "rub out\b\b\b\x7f\x00": r"rub out\x08\x08\x08\x7f\x00",
    "reversed \u202egnp.exe": r"reversed \u202egnp.exe",
    "isolated \u2066x\u2069\u200f\u061c": r"isolated \u2066x\u2069\u200f\u061c",
    "zero width\u200b\u200d\ufeff\U000e0041\u3164": r"zero width\u200b\u200d\ufeff\U000e0041\u3164",
    "other lines\u2028\u2029\x85": r"other lines\u2028\u2029\x85",
    "[bold red]markup[/] [link=http://evil]x[/link] :boom: [/]": "[bold red]markup[/] [link=http://evil]x[/link] "
    ":boom: [/]",
    "not UTF-8 \udcff\ud83d": r"not UTF-8 \udcff\ud83d",
}
"""Text somebody else chose -> what must be shown of it."""


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


def show(context: Context, number: int, json: Json = False) -> None:
    """Print text somebody else chose, in every way there is."""
    text = list(PAYLOADS)[number]
    output = context.output
    output.note("note ", text)
    output.warn(text)
    if json:
        output.json({"text": text, text: [text]})
    else:
        output.line("line ", text, " ", Styled(text, "ref"))
        output.block(text, indent="    ")
        output.table([text, Column("right", right=True)], [[text, 1], [Styled(text, "good"), text]])
    raise errors.CheckFailedError(text, hint=text)


def fail(context: Context, how: str, json: Json = False) -> int:
    """Fail in one of many ways."""
    context.output.line("before")
    causes: dict[str, BaseException] = {
        "check": errors.CheckFailedError("the barrier is too high", hint="accept it with `--force`"),
        "input": errors.InvalidInputError("'x' is no number"),
        "weights": errors.IncompatibleWeightsError("2 differ:\na\nb"),
        "missing": errors.NotFoundError("no branch is named 'x'", kind="unknown-branch", hint="did you mean 'y'?"),
        "taken": errors.AlreadyExistsError("branch 'x' exists"),
        "moved": errors.ConflictError("'main' moved"),
        "corrupt": errors.CorruptObjectError("tensor 12 is not what it was"),
        "remote": errors.RemoteError("no answer"),
        "job": errors.JobFailedError("run 3 failed"),
        "disk": errors.FileSystemError("cannot write 'x': no space left on device"),
        "base": errors.MlgitError("impossible"),
        "full": OSError(28, "No space left on device", "some/file"),
        "absent": FileNotFoundError(2, "No such file or directory", "some/file"),
        "bare": OSError("strange"),
        "pipe": BrokenPipeError(32, "Broken pipe"),
        "memory": MemoryError(),
        "torch-memory": OutOfMemoryError("CUDA out of memory"),
        "cpu-memory": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        "bug": ValueError("something \x1b[2J odd"),
        "interrupt": KeyboardInterrupt(),
        "abort": typer.Abort(),
    }
    if how == "deep":
        return fail(context, how, json)
    if how == "code":
        return 5
    raise causes[how]


def wait(context: Context, place: Path, json: Json = False) -> None:
    """Wait to be stopped, and clean up."""
    try:
        (place / "open").touch()
        context.output.line("waiting")
        (place / "ready").touch()
        time.sleep(60)
    finally:
        (place / "cleaning").touch()
        time.sleep(0.3)
        (place / "open").unlink()


def fork(context: Context) -> None:
    """Start a child as pools of workers do, terminate it, and print the signal it died of."""
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(tell, b".")
        time.sleep(5)
        os._exit(0)
    os.read(ready, 1)
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    context.output.line(os.WTERMSIG(status))


def many(context: Context, json: Json = False) -> None:
    """Print more than a pipe holds."""
    if json:
        context.output.json({"numbers": list(range(100_000))})
    for number in range(100_000):
        context.output.line(number)


def data(context: Context) -> None:
    """Print bytes."""
    context.output.line("before")
    context.output.data([b"\x00\x1b[2J\xff", b"\xc3\xa4\n"])


def bars(context: Context) -> None:
    """Draw bars."""
    with context.progress.task("outer \x1b[2J[bold]", total=2) as outer:
        for number in range(2):
            with context.progress.task("inner {x}") as inner:
                inner.advance(note="note [red]\x1b]0;x\x07")
                context.output.line("data ", number)
                context.output.note("note ", number)
            outer.advance()


def typed(
    context: Context,
    paths: Annotated[list[Path] | None, typer.Argument()] = None,
    *,
    number: Annotated[int, typer.Option(min=1, max=9)] = 3,
    rate: Annotated[float, typer.Option(min=0)] = 0.5,
    size: int | None = None,
    color: Annotated[Color, typer.Option()] = Color.RED,
    names: Annotated[list[str] | None, typer.Option("--name")] = None,
    flag: bool = False,
) -> None:
    """Print the values of options of all types."""
    context.output.line(repr((paths, number, rate, size, color, names, flag)))


def where(context: Context) -> None:
    """Print the context."""
    fields = ("directory", "command", "author_name", "author_email", "author_date", "user_settings")
    for field in fields:
        context.output.line(field, " ", repr(getattr(context, field)))
    context.output.line("level ", context.output.level, " ", type(context.progress).__name__)
    context.output.note("a note")
    context.output.detail("a detail")
    context.output.warn("a warning")


def add(context: Context, name: str) -> None:
    """Add a thing.

    More about it.
    """
    context.output.line("added ", name)


def list_things(context: Context) -> None:
    """List the things."""
    context.output.line("none")


thing = Group("Keep things", {"add": add, "list": list_things})

VERBS = {
    "first panel": {"show": "program:show", "fail": "program:fail", "thing": "program:thing"},
    "empty panel": {},
    "second panel": {name: f"program:{name}" for name in ("wait", "many", "data", "bars", "typed", "where", "fork")},
}

if __name__ == "__main__":
    sys.modules["program"] = sys.modules["__main__"]
    main.VERBS = VERBS
    main.run()
