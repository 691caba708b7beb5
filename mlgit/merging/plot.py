"""Draw an accuracy curve; the only module here that imports matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from mlgit.merging.curve import Curve
from mlgit.picture import check_place, new_figure, plain, save


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
    check_place(path)
    figure = new_figure(6.4, 4.2)
    axes = figure.add_subplot()
    _draw(axes, curve)
    heading = title if title is not None else f"{curve.ends}: {curve.verdict}"
    axes.set_title(plain(heading), fontsize="medium", parse_math=False)
    save(figure, path)


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
    place = " on the test domain" if curve.split == "test" else ""
    axes.set_ylabel(f"accuracy{place} ({curve.examples} examples)")
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
