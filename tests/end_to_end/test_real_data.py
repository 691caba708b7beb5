"""Real photographs and a real pretrained network, where they lie beside the project; a few steps only."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).parents[2] / ".." / "shared"
PHOTOS, CODE, WEIGHTS = (
    SHARED / "data" / "pacs.tar",
    SHARED / "weights" / "mobilenet.py",
    SHARED / "weights" / "mobilenetv1_imagenet.safetensors",
)
PER_CLASS = 5


@pytest.fixture
def run(mlgit: Callable) -> Callable:
    """Run mlgit and demand an exit code, 0 unless told."""

    def command(*arguments: object, code: int = 0) -> Any:
        ran = mlgit(*arguments)
        assert ran.exit_code == code, f"{arguments}: {ran}"
        return ran

    return command


def few_photos(root: Path) -> Path:
    """Unpack the first images of every class of every domain."""
    taken: dict[str, int] = {}
    with tarfile.open(PHOTOS) as archive:
        for member in archive:
            folder = str(Path(member.name).parent)
            if member.isfile() and taken.get(folder, 0) < PER_CLASS:
                taken[folder] = taken.get(folder, 0) + 1
                archive.extract(member, root, filter="data")
    assert len(taken) == 28
    return root / "pacs"


@pytest.mark.slow
@pytest.mark.skipif(not all(path.exists() for path in (PHOTOS, CODE, WEIGHTS)), reason="the real data are not here")
def test_fine_tunings_of_a_real_network_on_real_photographs_are_merged(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = few_photos(tmp_path)
    run("init", tmp_path / "repo")
    monkeypatch.chdir(tmp_path / "repo")
    shutil.copy(CODE, "mobilenet.py")
    factory = ("--factory", "python:mobilenet:create", "--num-classes", "7")
    run("import", WEIGHTS, *factory, code=2)
    assert "no classifier" in run("import", WEIGHTS, *factory, "--trust-code", "-m", "ImageNet").stderr
    run("task", "add", "pacs", "--data", data, "--test-domain", "sketch", "--set", "image_size=64")
    run("commit", "-m", "define the task")
    run("probe", "--task", "pacs", "--steps", "30", "--trust-code")
    short = ["--steps", "2", "--lr", "3e-5", "--batch-size", "4", "--eval-every", "2"]
    run("train", "--task", "pacs", *short, code=2)
    for number in range(2):
        run("switch", "-c", f"pacs/{number}", "main")
        run("commit", "--task", "pacs", "--train", "--seed", number, "--trust-code", *short)
    run("switch", "main")
    run("merge", "pacs/*", "--task", "pacs", "-m", "soup", code=2)
    run("merge", "pacs/*", "--task", "pacs", "-m", "soup", "--trust-code")
    scores = json.loads(run("evaluate", "pacs/*", "HEAD", "--task", "pacs", "--trust-code", "--json").stdout)["scores"]
    assert len(scores) == 3
    assert all(score["accuracy"] > 1 / 7 for score in scores), "a pretrained network beats guessing"
    record = json.loads(run("show", "--json").stdout)["commit"]["made"]
    assert record["lmc"]["verdict"] in ("holds", "undecided")
