"""Draw figures; nothing but the code that draws imports this, since matplotlib takes half a second."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mlgit.picture import new_figure, plain, save
from mlgit.recipes.figure import Figure, Panel, Series

_COLOURS = 10


def draw(figure: Figure, path: Path) -> None:
    """Write a picture of a figure; the same numbers give the same bytes.

    Args:
        figure: What it shows.
        path: Where; the suffix ``.png`` or ``.svg`` chooses the format. An existing file is replaced at once.

    Raises:
        InvalidInputError: Another suffix, or the directory does not exist.
        FileSystemError: The operating system refused.
    """
    picture = new_figure(5.4 * len(figure.panels), 4.4)
    picture.suptitle(plain(figure.title), fontsize="medium", parse_math=False)
    for number, panel in enumerate(figure.panels, 1):
        _draw_panel(picture.add_subplot(1, len(figure.panels), number), panel)
    save(picture, path)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    for series in panel.series:
        _draw_series(axes, series)
    axes.set_title(plain(panel.title), fontsize="small", parse_math=False)
    axes.set_xlabel(plain(panel.x_label), parse_math=False)
    axes.set_ylabel(plain(panel.y_label), parse_math=False)
    if all(x.is_integer() for series in panel.series for x in series.x):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # numbers of something
    axes.grid(visible=True, alpha=0.3)
    if any(series.label for series in panel.series):
        for text in axes.legend(loc="best", fontsize="small").get_texts():
            text.set_parse_math(False)


def _draw_series(axes: Axes, series: Series) -> None:
    colour = f"C{series.colour % _COLOURS}"
    label = f" {plain(series.label)}" if series.label else None  # a legend leaves out what begins with an underscore
    if series.style == "points":
        axes.scatter(series.x, series.y, s=14, color=colour, alpha=0.8, label=label)
    elif series.style == "reference":
        axes.plot(series.x, series.y, "--", color=colour, linewidth=0.8, alpha=0.7, label=label)
    else:
        axes.plot(series.x, series.y, color=colour, marker="o", markersize=4, label=label)
