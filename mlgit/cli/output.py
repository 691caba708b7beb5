"""The one object that prints: data on stdout, everything else on stderr.

Every string handed over counts as chosen by somebody else and is cleaned; nothing reads markup out of it. Colour
is an addition: the text says the same without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TextIO

from mlgit.cli.style import Column, Part, Styled, join, labelled, tell
from mlgit.cli.text import clean_block
from mlgit.errors import FileSystemError

__all__ = ["SCHEMA", "Column", "Output", "Part", "Styled", "encode_json", "writing"]

SCHEMA = 1
"""Version of the JSON that mlgit prints; a field may be added under the same number, never changed or removed."""


def encode_json(document: Mapping[str, object]) -> str:
    """Return ``document`` with its schema number as one line of ASCII; control characters are escaped.

    Raises:
        ValueError: A number is not finite; JSON has no word for it, so the caller decides what it means.
    """
    import json

    return json.dumps({"schema": SCHEMA, **document}, ensure_ascii=True, allow_nan=False)


@contextmanager
def writing() -> Iterator[None]:
    """Explain why the standard output took no data; a reader that went away stays a BrokenPipeError.

    Raises:
        FileSystemError: The disk is full, or the like.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise FileSystemError(f"cannot write to the standard output: {reason}", kind="output") from error


class Output:
    """Prints for one run of one verb.

    Args:
        stdout: Where data goes.
        stderr: Where notes and warnings go.
        color: Colours are welcome, on those of the two that are terminals.
        level: -1 quiet, 0 normal, 1 verbose.
        as_json: The verb prints one JSON document; warnings become JSON lines, notes are left out.
        pause: Hides progress bars while a line is written to the terminal.
    """

    def __init__(
        self,
        stdout: TextIO,
        stderr: TextIO,
        *,
        color: bool = True,
        level: int = 0,
        as_json: bool = False,
        pause: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.level = level
        self.as_json = as_json
        self.terminal = stdout.isatty()
        """Whether somebody looks at the data right now."""
        self._stdout = stdout
        self._stderr = stderr
        self._pause = pause
        self._color_out = color and self.terminal
        self._color_err = color and stderr.isatty()

    @property
    def unicode(self) -> bool:
        """Whether stdout can show characters outside ASCII, such as the lines of a graph."""
        return (self._stdout.encoding or "").lower().startswith("utf")

    def line(self, *parts: Part) -> None:
        """Print one line of data: the parts one after the other, without spaces between them."""
        self._data(join(parts, color=self._color_out) + "\n")

    def block(self, text: str, *, indent: str = "") -> None:
        """Print text of several lines, such as a message, each after ``indent``."""
        self._data("".join(f"{indent}{line}".rstrip() + "\n" for line in clean_block(text).split("\n")))

    def table(self, columns: Sequence[str | Column], rows: Iterable[Sequence[Part]]) -> None:
        """Print a table of data.

        On a terminal, wide cells are folded to its width. Elsewhere nothing is ever cut or folded.

        Args:
            columns: Titles, or columns with their side.
            rows: One cell per column each.
        """
        from mlgit.cli.tables import plain_table, print_table

        head = [column if isinstance(column, Column) else Column(column) for column in columns]
        if self.terminal:
            with self._pause(), writing():
                print_table(self._stdout, head, rows, color=self._color_out)
        else:
            self._data(plain_table(head, rows))

    def json(self, document: Mapping[str, object]) -> None:
        """Print the one JSON document of this run; its ``schema`` number is added here."""
        self._data(encode_json(document) + "\n")

    def data(self, parts: Iterable[bytes | memoryview]) -> None:
        """Print bytes as they are, or, on a terminal, as text that it only shows."""
        if self.terminal:
            self._data(clean_block(b"".join(parts).decode("utf-8", "surrogateescape")))
            return
        with writing():
            self._stdout.flush()
            for part in parts:
                self._stdout.buffer.write(part)

    def note(self, *parts: Part) -> None:
        """Say on stderr what was done; silent with ``--quiet`` and ``--json``."""
        if self.level >= 0 and not self.as_json:
            self._tell(join(parts, color=self._color_err))

    def detail(self, *parts: Part) -> None:
        """Say on stderr what only ``--verbose`` wants to know."""
        if self.level >= 1 and not self.as_json:
            self._tell(join(parts, color=self._color_err))

    def warn(self, message: str) -> None:
        """Say on stderr what the user should know although the verb goes on."""
        if self.as_json:
            self._tell(encode_json({"warning": {"message": message}}))
        else:
            self._tell(labelled("warning", message, "warning", color=self._color_err))

    def _data(self, text: str) -> None:
        with self._pause() if self.terminal else nullcontext(), writing():
            self._stdout.write(text)

    def _tell(self, text: str) -> None:
        with self._pause():
            tell(self._stderr, text)
