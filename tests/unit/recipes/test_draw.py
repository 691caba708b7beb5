from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from mlgit.errors import InvalidInputError
from mlgit.recipes.figure import Figure, Panel, Series
from mlgit.recipes.figures import draw


def figure(label: str = "soup", panels: int = 2) -> Figure:
    series = (
        Series(label=label, x=(1.0, 2.0), y=(0.5, 0.6)),
        Series(label="", x=(1.0, 2.0), y=(0.5, 0.55), style="reference"),
        Series(label="same", x=(1.0,), y=(0.7,), style="points", colour=11),
    )
    panel = Panel(title=label, x_label=label, y_label=label, series=series)
    return Figure(name="runs", title=label, panels=(panel,) * panels)


def test_a_png_is_a_png_and_an_svg_an_svg_of_all_panels(tmp_path: Path) -> None:
    draw(figure(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    for panels in (1, 2):
        draw(figure(panels=panels), tmp_path / "a.svg")
        root = ET.fromstring((tmp_path / "a.svg").read_text("utf-8"))  # noqa: S314 - written a line above
        assert root.tag.endswith("svg")
        assert sum(each.get("id", "").startswith("axes_") for each in root.iter()) == panels


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw(figure(), tmp_path / f"{name}.svg")
        draw(figure(), tmp_path / f"{name}.png")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("label", ["$\\frac{$", "\x1b[31m\u202e", "模型", "a\nb", "_hidden"])
def test_names_that_mean_something_to_the_renderer_are_drawn_as_text(tmp_path: Path, label: str) -> None:
    draw(figure(label), tmp_path / "a.svg")
    assert "\x1b" not in (tmp_path / "a.svg").read_text("utf-8")


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"neither \.png nor \.svg"):
        draw(figure(), tmp_path / "a.pdf")
