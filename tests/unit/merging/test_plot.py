from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from mlgit.errors import InvalidInputError
from mlgit.merging.criterion import Criterion, Point
from mlgit.merging.curve import Curve
from mlgit.merging.plot import plot_curve


def curve(labels: tuple[str, ...] = ("a", "b"), criterion: Criterion | None = None) -> Curve:
    points = [(0.0, 0.9, 0.9), (0.5, 0.6, 0.85), (1.0, 0.8, 0.8)]
    made = tuple(Point(lam, accuracy, chord, accuracy - chord, 0.02, 0.0) for lam, accuracy, chord in points)
    return Curve(labels, made, criterion or Criterion(), 100)


def test_a_png_is_a_png_and_an_svg_an_svg(tmp_path: Path) -> None:
    plot_curve(curve(), tmp_path / "lmc.png")
    assert (tmp_path / "lmc.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    plot_curve(curve(("a", "b", "c")), tmp_path / "lmc.SVG")
    root = ET.fromstring((tmp_path / "lmc.SVG").read_text("utf-8"))  # noqa: S314 - written a line above
    assert root.tag.endswith("svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lmc.SVG", "lmc.png"]


@pytest.mark.parametrize("definition", ["ratatouille", "frankle-mean", "frankle-worst"])
def test_every_definition_can_be_drawn(tmp_path: Path, definition: str) -> None:
    criterion = Criterion(definition=definition, tolerance=0.03)  # type: ignore[arg-type]  # from a parameter
    plot_curve(curve(criterion=criterion), tmp_path / "lmc.png", title="on ID validation")
    assert (tmp_path / "lmc.png").stat().st_size > 5000


@pytest.mark.parametrize("label", ["$\\frac{$", "\x1b[31m\u202e", "模型", "a\nb", ""])
def test_labels_that_mean_something_to_the_renderer_are_drawn_as_text(tmp_path: Path, label: str) -> None:
    plot_curve(curve((label, "b")), tmp_path / "lmc.svg")
    assert "\x1b" not in (tmp_path / "lmc.svg").read_text("utf-8")


@pytest.mark.parametrize("name", ["lmc.pdf", "lmc", "png"])
def test_another_suffix_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"neither \.png nor \.svg"):
        plot_curve(curve(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is not a directory"):
        plot_curve(curve(), tmp_path / "nowhere" / "lmc.png")


def test_drawing_leaves_the_global_state_of_matplotlib_alone(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    plot_curve(curve(), tmp_path / "lmc.svg")
    assert dict(mpl.rcParams) == before
    assert (
        "matplotlib.pyplot" not in __import__("sys").modules or not __import__("matplotlib.pyplot").pyplot.get_fignums()
    )
