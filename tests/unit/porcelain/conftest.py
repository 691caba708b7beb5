from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from mlgit.objects import CommitId, Identity, Timestamp
from mlgit.porcelain.actor import Actor
from mlgit.porcelain.commit import commit
from mlgit.repository import Repository

ADA = Identity("Ada", "ada@example.org")
EPOCH = 1_700_000_000


@dataclass
class Workshop:
    """A model directory whose clock ticks once per command, and what each commit held, byte for byte."""

    repository: Repository
    seconds: int = 0
    states: dict[CommitId, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def create(cls, root: Path) -> Workshop:
        return cls(Repository.create(root))

    @property
    def actor(self) -> Actor:
        self.seconds += 1
        return Actor(ADA, Timestamp(EPOCH + self.seconds))

    @property
    def now(self) -> Timestamp:
        return Timestamp(EPOCH + self.seconds)

    def write(self, *seeds: int, name: str = "model.safetensors") -> None:
        """Write a model; tensor n is near a value of its own, moved a little by seed n."""
        tensors = {f"layer{number}": tensor(number, seed) for number, seed in enumerate(seeds)}
        save_file(tensors, self.repository.root / name)

    def commit(self, *seeds: int, message: str = "work") -> CommitId:
        if seeds:
            self.write(*seeds)
        made = commit(self.repository, message, allow_empty=True, actor=self.actor).id
        self.states[made] = self.files()
        return made

    def files(self) -> dict[str, str]:
        """Return the content of the working files."""
        found = (path for path in sorted(self.repository.root.rglob("*")) if path.is_file())
        return {
            path.relative_to(self.repository.root).as_posix(): sha256(path.read_bytes()).hexdigest()
            for path in found
            if self.repository.folder not in path.parents
        }


def tensor(number: int, seed: int) -> np.ndarray:
    start = np.random.default_rng(number).standard_normal((40, 60), np.float32)
    return start + np.random.default_rng(1000 + seed).standard_normal((40, 60), np.float32) * np.float32(1e-3)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop.create(tmp_path / "model")


@pytest.fixture(scope="session")
def make_workshop() -> Callable[[Path], Workshop]:
    """Return a function that makes one more."""
    return Workshop.create


@pytest.fixture
def fast_path(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory where there is one, for tests that sync hundreds of times."""
    memory = Path("/dev/shm")  # noqa: S108 - a random name below it is made
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory where there is one, for repositories that tests copy."""
    memory = Path("/dev/shm")  # noqa: S108 - a random name below it is made
    if not os.access(memory, os.W_OK):
        yield tmp_path_factory.mktemp("memory")
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def lab_once(memory: Path) -> Path:
    """A repository in which recipes can be made; nobody changes it. See ``recipe_lab``."""
    from recipe_lab import build

    return build(memory / "lab").root


@pytest.fixture(scope="session")
def cooked_once(lab_once: Path, memory: Path) -> Path:
    """The same after ``recipe all``; nobody changes it."""
    from recipe_lab import go

    root = shutil.copytree(lab_once, memory / "cooked")
    go(Repository(root), "all")
    return root


@pytest.fixture
def lab(lab_once: Path, fast_path: Path) -> Repository:
    """A repository in which recipes can be made."""
    return Repository(shutil.copytree(lab_once, fast_path / "lab"))


@pytest.fixture
def cooked(cooked_once: Path, fast_path: Path) -> Repository:
    """A repository after ``recipe all``."""
    return Repository(shutil.copytree(cooked_once, fast_path / "cooked"))
