"""The Python library: a day through ``Repository``, and trust that reaches everything that builds a model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mlgit
from mlgit import Repository, clone
from mlgit.errors import InvalidInputError, MlgitError
from mlgit.objects import Stage
from mlgit.porcelain.import_ import ImportOptions
from mlgit.porcelain.open_model import Runtime
from mlgit.porcelain.train import TrainOptions
from mlgit.training.hyper import HyperParameters

FEW = HyperParameters(lr=1e-3, steps=2, eval_every=1, freeze_steps=0)
OPTIONS = TrainOptions(hyper=FEW, probe_hyper=FEW)
NET = """\
from torch import nn

def create(num_classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, num_classes))
"""


def test_a_day_through_the_library(day: Path, tmp_path: Path) -> None:
    repo = Repository(day)
    repo.switch("mine", create=True, start="main")
    repo.train("digit", options=OPTIONS)
    assert not repo.status().clean
    mine = repo.commit(message="a run", task="digit")
    assert repo.log(limit=1)[0].id == mine
    soup = repo.merge(["digit/0", "digit/1"], "soup", task="digit")
    assert soup.verdict in {"holds", "undecided"}
    assert repo.load().keys() == repo.load("main").keys()
    assert repo.diff("main", "mine").tensors
    assert repo.evaluate("mine", "digit/0", task="digit", together=True).ensemble is not None
    assert repo.lmc("digit/0", "digit/1", task="digit", grid="chord").points[0].lam == 0
    assert repo.lmc("digit/0", "digit/1", task="digit", grid="chord", split="test").split == "test"
    head = repo.head
    other = repo.merge(["digit/0", "digit/1"], "soup", onto="soup", start="main")
    assert (repo.resolve("soup"), repo.resolve("soup~1"), repo.head) == (other.id, repo.resolve("main"), head)
    with pytest.raises(InvalidInputError):
        repo.merge(["digit/0"], "soup", start="main")
    assert repo.diversity("digit/0", "digit/1", task="digit").pairs
    assert repo.probe("digit").commit.stage is Stage.PROBE
    repo.tag("v1")
    repo.export("v1", tmp_path / "v1.safetensors")
    assert repo.fsck().sound
    copy = clone(day, tmp_path / "copy")
    assert isinstance(copy, Repository)
    assert copy.show("v1").entry.id == repo.show("v1").entry.id
    assert copy.ls_tree() == repo.ls_tree()


def test_state_dicts_go_in_and_come_out(tmp_path: Path) -> None:
    repo = Repository.init(tmp_path / "new")
    weights = {"w": torch.randn(3), "n": torch.tensor(4)}
    repo.commit(weights, message="first", made={"lr": 0.1}, metrics={"loss": 1.5})
    found = repo.load("HEAD")
    assert all(torch.equal(found[name], value) for name, value in weights.items())
    assert repo.show().entry.commit.made["lr"] == 0.1
    repo.branch("b")
    repo.switch("b")
    repo.commit({**weights, "w": weights["w"] + 1}, message="second")
    merged = repo.merge(["main", "b"], "mean")
    assert merged.id is not None
    assert torch.allclose(repo.load(merged.id)["w"], weights["w"] + 0.5)


def test_code_runs_nowhere_without_trust_and_everywhere_with_it(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    repo = Repository.init(tmp_path / "new")
    (repo.root / "net.py").write_text(NET)
    repo.add_task("digit", kind="digits", test_domain="rotate")
    repo.import_model("python:net:create", options=ImportOptions(trust_code=True))
    repo.commit(message="the code, so that every branch has it")
    (tmp_path / "c.toml").write_text(
        'name = "c"\ntask = "digit"\nsplit = "test"\n[[threshold]]\nmetric = "accuracy"\nat_least = 0.0\n'
    )
    trusted = Runtime(trust_code=True)
    for number in range(2):
        repo.switch(f"run/{number}", create=True, start="main")
        seeded = TrainOptions(hyper=FEW, probe_hyper=FEW, seed=number)
        repo.train("digit", options=seeded, runtime=trusted)
        repo.commit(message="run", task="digit")
    pair = ("run/0", "run/1")
    verbs: list[Callable[[Runtime | None], object]] = [
        lambda runtime: repo.probe("digit", trial=1, runtime=runtime),
        lambda runtime: repo.evaluate("run/0", task="digit", runtime=runtime),
        lambda runtime: repo.lmc(*pair, task="digit", grid="chord", runtime=runtime),
        lambda runtime: repo.diversity(*pair, task="digit", runtime=runtime),
        lambda runtime: repo.certify("run/0", tmp_path / "c.toml", runtime=runtime),
        lambda runtime: repo.merge(pair, "soup", task="digit", runtime=runtime),
        lambda runtime: repo.train("digit", options=replace(OPTIONS, again=True), runtime=runtime),
    ]
    for verb in verbs:
        with pytest.raises(InvalidInputError) as caught:
            verb(None)
        assert caught.value.kind == "untrusted-code"
        verb(trusted)


def test_the_library_starts_without_torch() -> None:
    code = "import sys; from mlgit import Repository, clone; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_the_package_exports_exists() -> None:
    assert {"Repository", "clone"} <= set(mlgit.__all__)
    assert all(hasattr(mlgit, name) for name in mlgit.__all__)


def test_every_error_is_an_error_of_mlgit(tmp_path: Path) -> None:
    with pytest.raises(MlgitError):
        Repository(tmp_path)
