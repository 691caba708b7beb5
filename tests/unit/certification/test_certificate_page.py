"""docs/certificates.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlgit.certification.definition import parse_certificate
from mlgit.certification.metrics import METRICS
from mlgit.evaluation.statistics import binomial_interval

PAGE = (Path(__file__).parents[3] / "docs" / "certificates.md").read_text(encoding="utf-8")


def rows(title: str) -> list[list[str]]:
    """Return the cells of the table whose first heading is ``title``."""
    table = re.search(rf"^\| {re.escape(title)} \|.*\n\| ---.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert table is not None
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in table[1].splitlines()]


def test_the_worked_example_is_a_certificate():
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    certificate = parse_certificate(text.encode(), "example")
    assert [threshold.metric for threshold in certificate.thresholds] == ["accuracy", "calibration-error"]
    assert (certificate.judge, certificate.confidence) == ("lower-bound", 0.95)


def test_the_interval_of_the_worked_example_is_the_one_of_its_counts():
    interval = binomial_interval(132, 166, 0.95)
    assert f"0.7952  {interval.low:.4f} to {interval.high:.4f}  at least 0.75  failed" in PAGE


def test_every_metric_is_on_the_page_with_its_range_and_direction():
    described = {row[0].strip("`"): row[2:] for row in rows("name")}
    assert set(described) == set(METRICS.names())
    for name, (limits, better) in described.items():
        low, high = (float(number) for number in limits.split(" to "))
        assert METRICS.get(name).range == pytest.approx((low, high), abs=0.01)
        assert METRICS.get(name).higher_is_better == (better == "higher")


@pytest.mark.parametrize("row", rows("limit on accuracy"), ids=lambda row: row[0])
def test_so_many_right_answers_are_enough_and_one_less_is_not(row: list[str]):
    limit, needed = float(row[0]), int(row[1])
    assert binomial_interval(needed, needed).low >= limit > binomial_interval(needed - 1, needed - 1).low


@pytest.mark.parametrize("title", ["key", "key of a threshold"])
def test_every_key_on_the_page_is_known_to_the_reader(title: str):
    keys = re.findall(r"`\[*([a-z_]+)\]*`", " ".join(row[0] for row in rows(title)))
    assert keys
    text = "\n".join(f"{key} = 0" for key in keys)
    with pytest.raises(ValueError, match="problem") as caught:
        parse_certificate((text if title == "key" else f"[[threshold]]\n{text}").encode(), "c.toml")
    assert "unknown key" not in str(caught.value)
