"""Draw an accuracy curve; the only module here that imports matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mlgit.errors import InvalidInputError
from mlgit.fileio import write_file
from mlgit.merging.curve import Curve

_METADATA: dict[str, dict[str, str | None]] = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": "mlgit"}}


def plot_curve(curve: Curve, path: Path, *, title: str | None = None) -> None:
    """Write a picture of the curve: accuracies with their standard errors, the chord, and the tolerated band.

    Args:
        curve: What was measured.
        path: Where; the suffix ``.png`` or ``.svg`` chooses the format. An existing file is replaced at once.
        title: Above the picture; by default the models and the verdict.

    Raises:
        InvalidInputError: Another suffix, or the directory does not exist.
        FileSystemError: The operating system refused; an existing file is as it was.
    """
    suffix = path.suffix.lower()
    if suffix not in _METADATA:
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
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw(axes, curve)
    heading = title if title is not None else f"{curve.ends}: {curve.verdict}"
    axes.set_title(_plain(heading), fontsize="medium", parse_math=False)
    picture = io.BytesIO()
    figure.savefig(picture, format=suffix[1:], dpi=150, metadata=_METADATA[suffix])
    write_file(path, picture.getvalue(), durable=False)


def _draw(axes: Axes, curve: Curve) -> None:
    """Draw everything but the title."""
    places = [point.lam for point in curve.points]
    chord = [point.chord for point in curve.points]
    errors = [point.standard_error or 0.0 for point in curve.points]
    reference, drops = _reference(curve)
    axes.fill_between(places, drops, reference, color="tab:orange", alpha=0.2, label=_band_name(curve), linewidth=0)
    axes.plot(places, chord, "--", color="tab:orange", label="line between the ends")
    axes.errorbar(
        places,
        [point.accuracy for point in curve.points],
        yerr=errors,
        color="tab:blue",
        marker="o",
        markersize=4,
        capsize=2,
        label="accuracy on the path (± paired standard error)",
    )
    axes.axvline(curve.worst.lam, color="0.7", linewidth=0.8, zorder=0)
    axes.set_xlabel("λ" if len(curve.labels) == 2 else "λ (share of the third model)")
    axes.set_ylabel(f"accuracy ({curve.examples} examples)")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="best", fontsize="small")


def _reference(curve: Curve) -> tuple[list[float], list[float]]:
    """Return the accuracy the criterion compares with at each point, and the lowest one it tolerates."""
    limit = curve.criterion.limit
    ends = (curve.points[0].accuracy, curve.points[-1].accuracy)
    flat = min(ends) if curve.criterion.definition == "frankle-worst" else sum(ends) / 2
    on_chord = curve.criterion.definition == "ratatouille"
    reference = [point.chord if on_chord else flat for point in curve.points]
    tolerated: Sequence[float] = [(p.standard_error or 0.0) if limit is None else limit for p in curve.points]
    return reference, [value - drop for value, drop in zip(reference, tolerated, strict=True)]


def _band_name(curve: Curve) -> str:
    limit = curve.criterion.limit
    return "tolerance: one standard error" if limit is None else f"tolerance: {limit:g} ({curve.criterion.definition})"


def _plain(text: str) -> str:
    """Return text that the font can draw and that holds no control characters; λ stays."""
    return "".join(c if c == "λ" or (c.isprintable() and ord(c) < 0x250) else f"\\u{ord(c):04x}" for c in text)
