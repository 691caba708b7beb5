"""Pieces of printed text: a colour that carries no meaning of its own, and labels that cannot be forged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TextIO

from mlgit.cli.text import clean, clean_block

Style = Literal["good", "bad", "warning", "id", "ref", "title", "faint"]
_CODES: Mapping[Style, str] = {
    "good": "32",
    "bad": "1;31",
    "warning": "1;33",
    "id": "33",
    "ref": "1;36",
    "title": "1",
    "faint": "2",
}


@dataclass(frozen=True, slots=True)
class Styled:
    """Text with a colour, for a terminal that shows colours."""

    text: object
    style: Style


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table; numbers stand right."""

    title: str
    right: bool = False


Part = str | int | float | Styled | None
"""A piece of a line or a cell of a table; None is nothing in a line and ``-`` in a table."""


def paint(text: str, style: Style, *, color: bool) -> str:
    """Return cleaned text, between the terminal's codes for ``style`` if ``color``."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if color and text else text


def join(parts: Sequence[Part], *, color: bool) -> str:
    """Return the parts, cleaned, one after the other without spaces."""
    return "".join(
        paint(clean(part.text), part.style, color=color)
        if isinstance(part, Styled)
        else clean("" if part is None else part)
        for part in parts
    )


def labelled(label: str, message: str, style: Style, *, color: bool) -> str:
    """Return ``label: message``; further lines are indented, so that no message can pretend to be another one."""
    body = clean_block(message).replace("\n", "\n" + " " * (len(label) + 2))
    return f"{paint(label + ':', style, color=color)} {body}"


def tell(stream: TextIO, text: str) -> None:
    """Print cleaned text for people; a reader that went away is no reason to stop."""
    try:
        stream.write(text + "\n")
        stream.flush()
    except (OSError, ValueError):  # ValueError: the stream is closed
        return
