"""What the user reads when something failed, and where a bug leaves its trace."""

from __future__ import annotations

import errno
import os
import platform
import select
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlgit.cli.output import encode_json
from mlgit.cli.signals import Terminated
from mlgit.cli.style import labelled, tell
from mlgit.cli.text import clean_block
from mlgit.errors import FileSystemError, MlgitError
from mlgit.fileio import file_system_error
from mlgit.version import __version__

INTERRUPTED = 130
_STATUS = "what was finished before is kept; `mlgit status` shows where things stand"
_EXPLAINED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as the user sees it; the fields are those of ``mlgit.errors``."""

    message: str
    kind: str
    exit_code: int
    hint: str | None = None


def describe(error: BaseException, arguments: Sequence[str]) -> Failure:
    """Return what to say about an error; what nobody expected is written to a log file first.

    Args:
        error: Whatever came up.
        arguments: Of the program, for the log.
    """
    if isinstance(error, MlgitError) and error.exit_code != MlgitError.exit_code:
        return Failure(error.message, error.kind, error.exit_code, error.hint)
    if isinstance(error, Terminated):
        return Failure(f"stopped by {error}", "terminated", error.exit_code, _STATUS)
    if isinstance(error, KeyboardInterrupt):
        return Failure("interrupted", "interrupted", INTERRUPTED, _STATUS)
    if _is_out_of_memory(error):
        hint = "close other programs, or use a machine or a device with more memory"
        return Failure("out of memory", "out-of-memory", FileSystemError.exit_code, hint)
    if isinstance(error, OSError):
        return _describe_os_error(error)
    return _describe_bug(error, arguments)


def render(failure: Failure, *, as_json: bool, color: bool) -> str:
    """Return the failure as text: ``error: …`` and ``hint: …``, or one line of JSON."""
    if as_json:
        fields = ("kind", "message", "hint", "exit_code")
        return encode_json({"error": {name: getattr(failure, name) for name in fields}})
    lines = [labelled("error", failure.message, "bad", color=color)]
    if failure.hint:
        lines.append(labelled("hint", failure.hint, "title", color=color))
    return "\n".join(lines)


def report(error: BaseException, arguments: Sequence[str], *, as_json: bool, color: bool, debug: bool) -> int:
    """Print what happened on stderr.

    Args:
        error: Whatever came up.
        arguments: Of the program.
        as_json: Print JSON.
        color: Colours are welcome on a terminal.
        debug: Print the traceback too.

    Returns:
        The exit code.
    """
    failure = describe(error, arguments)
    if debug:
        tell(sys.stderr, clean_block("".join(traceback.format_exception(error)).rstrip()))
    tell(sys.stderr, render(failure, as_json=as_json, color=color and sys.stderr.isatty()))
    return failure.exit_code


def reader_is_gone() -> bool:
    """Whether stdout is a pipe that nobody reads any more, as after ``| head``."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError):  # no file behind it
        return False


def discard_stdout() -> None:
    """Let what is still to be written to stdout go nowhere, so that closing it does not fail once more."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # no file behind it
        return


def _is_out_of_memory(error: BaseException) -> bool:
    """Torch has words of its own for it; asking for its classes would import it."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def _describe_os_error(error: OSError) -> Failure:
    if isinstance(error.filename, str):
        shown = file_system_error(error, "use", Path(error.filename))
    else:
        shown = FileSystemError(f"the operating system refused: {(error.strerror or str(error)).lower()}")
    hint = shown.hint if error.errno in _EXPLAINED else None
    return Failure(shown.message, shown.kind, shown.exit_code, hint)


def _describe_bug(error: BaseException, arguments: Sequence[str]) -> Failure:
    log = _write_log(error, arguments)
    place = f"with the log file '{log}'" if log else "(its log file could not be written: set MLGIT_DEBUG=1 to see it)"
    return Failure(
        f"mlgit failed unexpectedly: {type(error).__name__}: {error}",
        MlgitError.default_kind,
        MlgitError.exit_code,
        f"this is a bug, please report it {place}",
    )


def _write_log(error: BaseException, arguments: Sequence[str]) -> Path | None:
    text = "\n".join(
        [
            f"mlgit {__version__}, Python {platform.python_version()}, {platform.platform()}",
            f"arguments: {list(arguments)!r}",
            *traceback.format_exception(error),
        ]
    )
    try:
        descriptor, name = tempfile.mkstemp(prefix="mlgit-", suffix=".log")
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:  # noqa: PTH123 - a descriptor
            stream.write(text)
    except OSError:
        return None
    return Path(name)
