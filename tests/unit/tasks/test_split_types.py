"""The type checker itself is the oracle: selection code cannot be handed the test domain."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

import mlgit.tasks.split

SNIPPET = """\
from mlgit.tasks.split import Split, TestSplit, TrainingSplit, ValidationSplit

def select(split: ValidationSplit) -> None: ...
def train(split: TrainingSplit) -> None: ...

def good(v: ValidationSplit, t: TrainingSplit) -> None:
    select(v)
    train(t)

def bad(s: TestSplit, v: ValidationSplit, t: TrainingSplit, any_split: Split) -> None:
    select(s)
    select(t)
    train(s)
    train(v)
    select(any_split)
"""


@pytest.fixture
def complaints(tmp_path: Path) -> list[tuple[int, str]]:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(SNIPPET)
    source = str(Path(mlgit.tasks.split.__file__))
    # other modules, torch among them, are not looked at: they say nothing about these types and cost half a minute
    options = ["--follow-imports=skip", "--no-site-packages", "--ignore-missing-imports", "--no-error-summary"]
    said, problems, _ = api.run([*options, f"--cache-dir={tmp_path / 'cache'}", str(snippet), source])
    assert problems == ""
    found = re.findall(r"snippet\.py:(\d+): error: (.*)", said)
    return [(int(line), message) for line, message in found]


def test_mypy_refuses_every_split_but_the_right_one(complaints: list[tuple[int, str]]) -> None:
    lines = SNIPPET.splitlines()
    assert [lines[line - 1].strip() for line, _ in complaints] == [
        "select(s)",
        "select(t)",
        "train(s)",
        "train(v)",
        "select(any_split)",
    ]
    assert 'incompatible type "TestSplit"; expected "ValidationSplit"' in complaints[0][1]
