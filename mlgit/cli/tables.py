"""Tables: folded to the width of a terminal, never cut or folded anywhere else."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from mlgit.cli.style import Column, Part, Style, Styled
from mlgit.cli.text import clean

_RICH: Mapping[Style, str] = {
    "good": "green",
    "bad": "bold red",
    "warning": "bold yellow",
    "id": "yellow",
    "ref": "bold cyan",
    "title": "bold",
    "faint": "dim",
}


def plain_table(columns: Sequence[Column], rows: Iterable[Sequence[Part]]) -> str:
    """Return the table as text, one line per row, columns two spaces apart."""
    lines = [[clean(column.title) for column in columns], *([_cell(part) for part in row] for row in rows)]
    widths = [max(map(_width, cells)) for cells in zip(*lines, strict=True)]
    return "".join(
        "  ".join(
            _pad(cell, width, right=column.right) for cell, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )


def print_table(stream: TextIO, columns: Sequence[Column], rows: Iterable[Sequence[Part]], *, color: bool) -> None:
    """Print the table on a terminal; cells that are too wide go on in further lines."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold" if color else "")
    for column in columns:
        table.add_column(Text(clean(column.title)), justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        cells = (Text(_cell(part), style=_RICH[part.style] if isinstance(part, Styled) else "") for part in row)
        table.add_row(*cells)
    console = Console(
        file=stream,
        color_system="standard" if color else None,
        no_color=not color,
        markup=False,
        emoji=False,
        highlight=False,
        width=terminal_width(stream),
    )
    console.print(table)


def _cell(part: Part) -> str:
    if part is None:
        return "-"
    return clean(part.text if isinstance(part, Styled) else part)


def _pad(cell: str, width: int, *, right: bool) -> str:
    space = " " * (width - _width(cell))
    return space + cell if right else cell + space


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def terminal_width(stream: TextIO) -> int:
    """Return the columns of a terminal, or 80."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80
