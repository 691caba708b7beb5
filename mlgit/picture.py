"""What all pictures share; nothing but what draws imports this, since matplotlib takes half a second."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mlgit.errors import InvalidInputError
from mlgit.fileio import write_file

_METADATA: dict[str, dict[str, str | None]] = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": "mlgit"}}


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure that no window knows of.

    Args:
        width: In inches.
        height: Likewise.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def check_place(path: Path) -> None:
    """Refuse a file that could not be written.

    Raises:
        InvalidInputError: The suffix is neither ``.png`` nor ``.svg``, or the directory does not exist.
    """
    if path.suffix.lower() not in _METADATA:
        raise InvalidInputError(
            f"cannot draw '{path}': the suffix '{path.suffix}' is neither .png nor .svg",
            kind="bad-plot-format",
            hint="end the name with .png or .svg",
        )
    if not path.parent.is_dir():
        raise InvalidInputError(
            f"cannot draw '{path}': '{path.parent}' is not a directory",
            kind="no-directory",
            hint="make the directory first",
        )


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the same figure gives the same bytes. An existing file is replaced at once.

    Raises:
        InvalidInputError: See ``check_place``.
        FileSystemError: The operating system refused; an existing file is as it was.
    """
    check_place(path)
    suffix = path.suffix.lower()
    picture = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "mlgit"}):
        figure.savefig(picture, format=suffix[1:], dpi=150, metadata=_METADATA[suffix])
    write_file(path, picture.getvalue(), durable=False)


def plain(text: str) -> str:
    """Return text that the font can draw and that holds no control characters; λ and a few signs stay."""
    return "".join(c if c in "λμ±" or (c.isprintable() and ord(c) < 0x250) else f"\\u{ord(c):04x}" for c in text)
