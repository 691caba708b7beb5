from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mlgit.storage.objects import ObjectDatabase


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def objects(tmp_path: Path) -> ObjectDatabase:
    return ObjectDatabase.create(tmp_path / "objects")


@pytest.fixture(scope="module")
def shared_objects(tmp_path_factory: pytest.TempPathFactory) -> ObjectDatabase:
    """For properties: examples share one database, in which nothing is ever changed."""
    return ObjectDatabase.create(tmp_path_factory.mktemp("shared") / "objects")
