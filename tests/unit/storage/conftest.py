from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mlgit.objects import Identity, Timestamp
from mlgit.storage import ObjectDatabase, RefStore

settings.register_profile(
    "storage", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
settings.load_profile("storage")


@pytest.fixture
def database(tmp_path: Path) -> ObjectDatabase:
    return ObjectDatabase.create(tmp_path / "objects")


@pytest.fixture
def refs(tmp_path: Path) -> RefStore:
    root = tmp_path / "repository"
    root.mkdir()
    return RefStore.create(root)


@pytest.fixture
def signed() -> dict[str, object]:
    """Who and when, for every change of a ref."""
    return {"who": Identity("Ada", "ada@example.org"), "when": Timestamp(1_700_000_000, 60)}


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Write chunks of the smallest size the format allows, so that small tensors have several."""
    monkeypatch.setattr("mlgit.storage.pack_format.DEFAULT_EXPONENT", 16)
    return 1 << 16


@pytest.fixture
def run_python() -> Callable[..., subprocess.Popen[bytes]]:
    """Start a Python process with a script and arguments."""

    def start(script: str, *arguments: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONWARNINGS": "error"},
        )

    return start


@pytest.fixture
def exit_status(run_python: Callable[..., subprocess.Popen[bytes]]) -> Callable[..., int]:
    """Run a script with arguments to its end and return its exit status."""

    def run(script: str, *arguments: object) -> int:
        with run_python(script, *arguments) as process:
            process.communicate(timeout=60)
            return process.returncode

    return run


@pytest.fixture
def fast_path(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory where there is one, for tests that sync hundreds of times."""
    memory = Path("/dev/shm")  # noqa: S108 - a random name below it is made
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)
