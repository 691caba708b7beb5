"""Another network and other data: torchvision's ResNet-18 with random weights on a folder of generated images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

COLOURS = {"blue": (40, 60, 200), "green": (30, 180, 60), "red": (210, 50, 40)}
DOMAINS = {"bright": 40, "dark": -30, "noisy": 0}
CERTIFICATE = """\
name = "colours"
task = "colours"
split = "test"
[[threshold]]
metric = "worst-domain-accuracy"
at_least = 0.0
[[threshold]]
metric = "calibration-error"
at_most = 1.0
"""


@pytest.fixture
def run(mlgit: Callable) -> Callable:
    """Run mlgit and demand an exit code, 0 unless told."""

    def command(*arguments: object, code: int = 0) -> Any:
        ran = mlgit(*arguments)
        assert ran.exit_code == code, f"{arguments}: {ran}"
        return ran

    return command


def images(root: Path) -> Path:
    """Write six images per domain and class, each mostly of one colour."""
    random = np.random.default_rng(0)
    for domain, light in DOMAINS.items():
        for name, colour in COLOURS.items():
            folder = root / domain / name
            folder.mkdir(parents=True)
            for number in range(6):
                noise = random.normal(light, 60 if domain == "noisy" else 15, (24, 20, 3))
                pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    (root / "notes.txt").write_text("no image")
    return root


def test_a_day_with_resnet_on_a_folder_of_images(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = images(tmp_path / "colours-data")
    run("init", tmp_path / "repo")
    monkeypatch.chdir(tmp_path / "repo")
    run("import", "torchvision:resnet18", "--weights", "none", "-m", "random weights")
    shown = run("task", "add", "colours", "--data", data, "--test-domain", "noisy", "--set", "image_size=32")
    assert "3 classes: blue, green, red" in shown.stdout
    assert "passed over: notes.txt" in shown.stderr
    assert str(tmp_path) not in Path("mlgit.toml").read_text()
    run("commit", "-m", "define the task")
    run("probe", "--task", "colours", "--steps", "5")
    short = ["--steps", "2", "--lr", "1e-4", "--batch-size", "4", "--eval-every", "1"]
    for number in range(2):
        run("switch", "-c", f"run/{number}", "main")
        run("train", "--task", "colours", "--seed", number, *short)
        run("commit", "--task", "colours", "-m", f"run {number}")
    run("switch", "main")
    curve = json.loads(run("lmc", "run/0", "run/1", "--task", "colours", "--grid", "chord", "--json").stdout)["curve"]
    assert [point["lambda"] for point in curve["points"]] == [0, 0.5, 1]
    run("merge", "run/*", "--task", "colours", "-m", "soup")
    (tmp_path / "c.toml").write_text(CERTIFICATE)
    run("certify", "HEAD", "--certificate", tmp_path / "c.toml")
    document = json.loads(run("log", "--json", "-n", "1").stdout)["commits"][0]
    assert document["stage"] == "merge"
    assert [parent["coefficient"] for parent in document["parents"]] == [None, 0.5, 0.5]
    assert document["certificates"][0]["certificate"] == "colours"
    untouched = json.loads(run("diff", "main~1", "run/0", "--json").stdout)
    assert untouched["unchanged_tensors"] >= 60, "frozen statistics are the same tensors"


def test_one_validation_example_is_enough_to_print_a_path(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "tiny-data"
    for name, colour in list(COLOURS.items())[:2]:
        (root / "only" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8), colour).save(root / "only" / name / f"{number}.png")
    run("init", tmp_path / "repo")
    monkeypatch.chdir(tmp_path / "repo")
    Path("net.py").write_text(
        "from torch import nn\n"
        "def create(num_classes=2):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.ReLU(), nn.Linear(4, num_classes))\n"
    )
    trust = "--trust-code"
    run("import", "python:net:create", trust)
    run("task", "add", "tiny", "--data", root, "--set", "image_size=8")
    run("commit", "-m", "define the task")
    for number in range(2):
        run("switch", "-c", f"run/{number}", "main")
        run("commit", "--task", "tiny", "--train", "--steps", "1", "--seed", number, trust)
    table = run("lmc", "run/0", "run/1", "--task", "tiny", trust).stdout
    assert table.count("\n") == 13
    run("merge", "run/0", "run/1", "--task", "tiny", "-m", "soup", "--force", trust)
    run("merge", "run/0", "run/1", "--task", "tiny", "-m", "soup", code=2)
