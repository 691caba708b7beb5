from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlgit.errors import FileSystemError, InvalidInputError
from mlgit.tasks.split import seed_hash
from mlgit.training.draws import draw, draw_from
from mlgit.training.hyper import HyperParameters
from mlgit.training.space_file import read_space

MILD = """
[draw]
lr = { choice = [1e-5, 3e-5, 5e-5] }
dropout = { choice = [0.0, 0.1, 0.5] }
weight_decay = { choice = [1e-4, 1e-6] }
"""
BED = """
[draw]
lr = { base = 10, low = -5, high = -3.5 }
dropout = { choice = [0.0, 0.1, 0.5] }
weight_decay = { base = 10, low = -6, high = -2 }
batch_per_domain = { base = 2, low = 3, high = 5.5 }
"""


@pytest.mark.parametrize(("text", "name"), [(MILD, "mild"), (BED, "domainbed")])
def test_a_file_can_say_what_the_spaces_of_the_papers_are(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / "space.toml").write_text(text)
    space = read_space(tmp_path / "space.toml")
    for run in range(20):
        for trial in range(3):
            assert draw_from(space, run, trial=trial) == draw(name, run, trial=trial)


def test_first_values_belong_to_run_0_and_to_what_is_not_drawn(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text("[first]\nlr = 0.5\ndropout = 0.25\n[draw]\nlr = { low = 1, high = 2 }\n")
    space = read_space(tmp_path / "space.toml")
    assert draw_from(space, 0) == HyperParameters(lr=0.5, dropout=0.25)
    expected = np.random.RandomState(seed_hash(seed_hash(7, 0), "lr")).uniform(1, 2)
    assert draw_from(space, 7) == HyperParameters(lr=expected, dropout=0.25)


@pytest.mark.parametrize(
    "text",
    [
        "lr = 1",
        "[draws]",
        "[draw]\nsteps = { choice = [1] }",
        "[draw]\nlr = 3",
        "[draw]\nlr = { choice = [] }",
        "[draw]\nlr = { choice = ['x'] }",
        "[draw]\nlr = { low = 1 }",
        "[draw]\nlr = { low = 2, high = 1 }",
        "[draw]\nlr = { low = 1, high = inf }",
        "[draw]\nlr = { base = 0, low = 1, high = 2 }",
        "[draw]\nlr = { low = 1, high = 2, step = 3 }",
        "[first]\nlr = -1",
        "[first]\nlr = 'x'",
        "[draw",
        "draw = 3",
    ],
)
def test_what_is_no_space_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "space.toml").write_text(text)
    with pytest.raises(InvalidInputError):
        read_space(tmp_path / "space.toml")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileSystemError, match=r"space\.toml"):
        read_space(tmp_path / "space.toml")
