"""What all tests share: Hypothesis profiles, and one thread for torch so that numbers and times repeat."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before anything imports torch: several test processes with several threads each only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]  # machines are small and busy: no test is timed
settings.register_profile("default", deadline=None, max_examples=50, suppress_health_check=_SLOW)
settings.register_profile("ci", deadline=None, max_examples=50, suppress_health_check=_SLOW, derandomize=True)
settings.register_profile("nightly", deadline=None, max_examples=1000, suppress_health_check=_SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the tests of tests/gate at their full counts: hours")
    parser.addoption("--gate-report", metavar="FILE", help="write what the tests of tests/gate tried as JSON")


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether full counts are asked for."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(scope="session")
def count(full: bool) -> Callable[[int, int], int]:
    """Return a function that picks the first of two numbers in daily runs, the second one with ``--full``."""

    def pick(small: int, large: int) -> int:
        return large if full else small

    return pick


@pytest.fixture
def fingerprint() -> Callable[[Path], dict[str, str]]:
    """Return a function from a directory to the content of every file in it, caches left out."""

    def read(root: Path) -> dict[str, str]:
        files = sorted(path for path in root.rglob("*") if path.is_file() and path.name != "index.json")
        files = [path for path in files if path.suffix != ".predictions"]
        return {str(path.relative_to(root)): sha256(path.read_bytes()).hexdigest() for path in files}

    return read


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small day of work on the real digits, trained once for all tests; nobody changes it.

    Branches: main (pretrained), aux/parity, digit/0 and digit/1 (from main), digit/2 (from aux/parity), stranger (from
    other random weights, fine-tuned on the same task). Tasks: basics, parity, digit (test domain rotate).
    """
    pytest.importorskip("sklearn")
    from mlgit.objects import Stage
    from mlgit.porcelain import commit, import_, init, switch, task, train
    from mlgit.training.hyper import HyperParameters

    repository = init.init(tmp_path_factory.mktemp("trained") / "day").repository
    task.add_task(repository, "basics", kind="digits", options={"labels": "digit", "part": "pretrain"})
    task.add_task(repository, "parity", kind="digits", options={"labels": "parity", "part": "auxiliary"})
    task.add_task(repository, "digit", kind="digits", test_domain="rotate", options={"labels": "digit"})

    def run(name: str, steps: int, seed: int = 0, stage: Stage | None = None) -> None:
        hyper = HyperParameters(lr=1e-3, steps=steps, eval_every=max(1, steps // 2), freeze_steps=0)
        probe = HyperParameters(lr=1e-2, steps=40, eval_every=20)
        options = train.TrainOptions(hyper=hyper, probe_hyper=probe, seed=seed, stage=stage)
        train.train(repository, name, options=options)
        commit.commit(repository, f"train on {name}, seed {seed}", task=name)

    def go(name: str, start: str) -> None:
        switch.switch(repository, name, create=True, start=start)

    import_.import_model(repository, "mlgit:digits-cnn", "untrained")
    run("basics", 150, stage=Stage.PRETRAIN)
    go("aux/parity", "main")
    run("parity", 10)
    for number, start in enumerate(("main", "main", "aux/parity")):
        go(f"digit/{number}", start)
        run("digit", 30, seed=number)
    go("stranger", "main")
    import_.import_model(repository, "mlgit:digits-cnn", "other random weights", options=import_.ImportOptions(seed=1))
    run("basics", 150, seed=1, stage=Stage.PRETRAIN)
    run("digit", 30)
    switch.switch(repository, "main")
    return repository.root


@pytest.fixture
def day(trained_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the day's repository, which the test stands in and may change."""
    copy = tmp_path / "day"
    shutil.copytree(trained_once, copy)
    monkeypatch.chdir(copy)
    return copy
