"""Networks and data of other makers go the whole way: train, commit, merge, lmc and certify."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlgit.objects import Stage
from mlgit.repository import Repository
from mlgit.weights.stored import load

COLOURS = {"blue": (40, 60, 200), "red": (210, 50, 40)}
DOMAINS = {"bright": 40, "dark": -30, "noisy": 0}
CERTIFICATE = """\
name = "works"
task = "colours"
split = "test"
[[threshold]]
metric = "worst-domain-accuracy"
at_least = 0.0
[[threshold]]
metric = "calibration-error"
at_most = 1.0
"""
SHORT = ["--steps", "2", "--lr", "1e-4", "--batch-size", "4", "--eval-every", "1"]
PYTHON = """\
import numpy as np
from torch import nn


def waves(data, count=40, test="steep"):
    assert data is None
    domains = {}
    for number, name in enumerate(["calm", "flat", test]):
        random = np.random.default_rng(number)
        labels = np.arange(count) % 2
        phase = random.uniform(0, 2 * np.pi, (count, 1))
        signal = np.sin(np.arange(16) * (0.3 + 0.5 * labels[:, None]) + phase) * (1 + number)
        domains[name] = (signal.astype(np.float32)[:, None, None, :], labels)
    return {"domains": domains, "classes": ["slow", "fast"]}


def net(num_classes=2):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, num_classes)
    )
"""


@pytest.fixture
def run(mlgit: Callable) -> Callable:
    """Run mlgit and demand success."""

    def command(*arguments: object) -> Any:
        ran = mlgit(*arguments)
        assert ran.exit_code == 0, f"{arguments}: {ran}"
        return ran

    return command


@pytest.fixture
def repo(run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Stand in a new repository."""
    run("init", tmp_path / "repo")
    monkeypatch.chdir(tmp_path / "repo")
    return Repository(tmp_path / "repo")


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Thirty images of 32 by 32 pixels, each mostly of one colour."""
    random = np.random.default_rng(0)
    for domain, light in DOMAINS.items():
        for name, colour in COLOURS.items():
            folder = tmp_path / "colours" / domain / name
            folder.mkdir(parents=True)
            for number in range(5):
                noise = random.normal(light, 60 if domain == "noisy" else 15, (32, 32, 3))
                pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "colours"


def go_the_whole_way(run: Callable, repo: Repository, certificate: Path, *trust: str) -> None:
    """Train twice on task ``colours``, average, measure the path, judge; check what was recorded and averaged."""
    run("probe", "--task", "colours", "--steps", "3", *trust)
    for number in range(2):
        run("switch", "-c", f"run/{number}", "main")
        run("train", "--task", "colours", "--seed", number, *SHORT, *trust)
        run("commit", "--task", "colours", "-m", f"run {number}")
    run("switch", "main")
    found = run("lmc", "run/0", "run/1", "--task", "colours", "--grid", "chord", "--json", *trust)
    points = json.loads(found.stdout)["curve"]["points"]
    assert [point["lambda"] for point in points] == [0, 0.5, 1]
    run("merge", "run/0", "run/1", "--task", "colours", "-m", "soup", "--force", *trust)
    certificate.write_text(CERTIFICATE)
    run("certify", "HEAD", "--certificate", certificate, *trust)
    document = json.loads(run("log", "--json", "-n", "1").stdout)["commits"][0]
    assert document["stage"] == "merge"
    assert [parent["coefficient"] for parent in document["parents"]] == [None, 0.5, 0.5]
    assert [each["certificate"] for each in document["certificates"]] == ["works"]
    check_weights(repo)


def check_weights(repo: Repository) -> None:
    """Check that both runs learned, kept batch statistics, and were averaged."""
    start, one, two, soup = (
        load(repo.objects, repo.manifest_of(repo.resolve(name))) for name in ("main~1", "run/0", "run/1", "main")
    )
    assert repo.commit_of(repo.resolve("run/0")).stage is Stage.TARGET
    moved = 0
    for name, tensor in soup.items():
        if "running" in name or "tracked" in name:
            assert tensor.equal(start[name])
            assert tensor.equal(one[name])
        elif tensor.is_floating_point():
            moved += not one[name].equal(two[name])
            middle = (one[name].double() + two[name].double()) / 2
            assert tensor.equal(middle.to(tensor.dtype)), name
    assert moved > 3


def add_colours(run: Callable, data: Path) -> None:
    run("task", "add", "colours", "--data", data, "--test-domain", "noisy", "--set", "image_size=32")
    run("commit", "-m", "define the task")


@pytest.mark.slow
def test_a_resnet_of_torchvision_goes_the_whole_way(
    run: Callable, repo: Repository, colours: Path, tmp_path: Path
) -> None:
    run("import", "torchvision:resnet18", "--weights", "none")
    add_colours(run, colours)
    go_the_whole_way(run, repo, tmp_path / "c.toml")


def test_a_vit_of_timm_goes_the_whole_way(run: Callable, repo: Repository, colours: Path, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    run("import", "timm:test_vit?img_size=32")
    add_colours(run, colours)
    go_the_whole_way(run, repo, tmp_path / "c.toml")
    manifest = repo.manifest_of(repo.resolve("HEAD"))
    assert (manifest.factory, manifest.head) == ("timm:test_vit?img_size=32", "head")


def test_a_task_and_a_network_of_ones_own_go_the_whole_way(run: Callable, repo: Repository, tmp_path: Path) -> None:
    trust = "--trust-code"
    Path("ours.py").write_text(PYTHON)
    run("import", "python:ours:net", trust)
    run("task", "add", "colours", "--kind", "python:ours:waves", "--test-domain", "steep", "--set", "count=36", trust)
    run("commit", "-m", "define the task")
    go_the_whole_way(run, repo, tmp_path / "c.toml", trust)
