"""The guides for plug-ins: what they print is written to files, installed like a package, and used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def install(folder: Path, page: str, module: str) -> dict[str, str]:
    """Put a page's first block and its entry point where Python finds them; return the environment that does."""
    (folder / f"{module}.py").write_text(blocks(page, "python")[0])
    match = re.fullmatch(r'\[project\.entry-points\."(.+)"\]\n(.+) = "(.+)"\n', blocks(page, "toml")[0])
    assert match is not None
    information = folder / f"{module}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[{match[1]}]\n{match[2]} = {match[3]}\n")
    return os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def run(environment: dict[str, str], folder: Path, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_strategy_of_the_guide_passes_the_contract(tmp_path: Path) -> None:
    environment = install(tmp_path, "add-a-merge-strategy.md", "weighted_soup")
    (tmp_path / "test_weighted_soup.py").write_text(blocks("add-a-merge-strategy.md", "python")[1])
    output = run(environment, tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_weighted_soup.py")
    assert int(re.findall(r"(\d+) passed", output)[0]) >= 12


def test_the_strategy_of_the_guide_weighs_by_accuracy(tmp_path: Path) -> None:
    environment = install(tmp_path, "add-a-merge-strategy.md", "weighted_soup")
    script = """
import torch
from mlgit.evaluation.score import Score
from mlgit.merging.candidate import Candidate
from mlgit.merging.strategy import make_strategy

pool = [Candidate(name, {"w": torch.tensor([value])}) for name, value in (("a", 0.2), ("b", 0.6))]
merged = make_strategy("weighted", {"power": 1.0}).merge(
    pool, lambda weights: Score(float(weights["w"]), {}, torch.tensor([True]))
)
print(round(float(merged.weights["w"]), 6), {name: round(c, 6) for name, c in merged.by_label.items()})
"""
    assert run(environment, tmp_path, "-c", script) == "0.5 {'a': 0.25, 'b': 0.75}\n"


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A repository with a directory of data beside its model."""
    pets = tmp_path / "repository" / "pets"
    pets.mkdir(parents=True)
    random = np.random.default_rng(0)
    for domain in ("photo", "sketch"):
        images = random.integers(0, 256, (20, 1, 4, 4)).astype(np.uint8)
        np.savez(pets / f"{domain}.npz", images=images, labels=random.integers(0, 2, 20))
    return pets


def add_command() -> list[str]:
    (command,) = blocks("add-a-task-kind.md", "console")
    return ["-m", "mlgit", *command.removeprefix("$ mlgit ").split()]


def test_the_kind_of_the_guide_opens_a_task(tmp_path: Path, pets: Path) -> None:
    environment = install(tmp_path, "add-a-task-kind.md", "npz_task")
    run(environment, tmp_path, "-m", "mlgit", "init", "-q", "repository")
    output = run(environment, pets.parent, *add_command())
    assert "2 classes: no, yes" in output
    assert re.search(r"photo +20 +training", output)
    assert re.search(r"sketch +20 +test", output)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"neither"])
def test_the_kind_of_the_guide_names_a_broken_file(tmp_path: Path, pets: Path, content: bytes) -> None:
    environment = install(tmp_path, "add-a-task-kind.md", "npz_task")
    run(environment, tmp_path, "-m", "mlgit", "init", "-q", "repository")
    (pets / "sketch.npz").write_bytes(content)
    result = subprocess.run(
        [sys.executable, *add_command()], cwd=pets.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "sketch.npz' cannot be read" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_kind_of_task_of_the_guide_passes_the_contract(tmp_path: Path) -> None:
    environment = install(tmp_path, "add-a-task-kind.md", "npz_task")
    (tmp_path / "test_npz.py").write_text(blocks("add-a-task-kind.md", "python")[1])
    output = run(environment, tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_npz.py")
    assert int(re.findall(r"(\d+) passed", output)[0]) >= 12
