"""A task of code of its own that writes down each read of its data, and at which state of the refs it happened.

Copied into repositories; ``WATCHED`` names the repository, whose ``.mlgit/reads.jsonl`` takes the lines.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from mlgit.tasks.split import CPU, DomainData
from mlgit.tasks.task import TaskData
from mlgit.tasks.tensors import TensorDomain

CLASSES = 3


def refs(folder: Path) -> str:
    """Return a digest of all refs of a repository."""
    found = sha256()
    for path in sorted((folder / "refs").rglob("*")):
        if path.is_file() and path.suffix != ".lock":
            found.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return found.hexdigest()


def _caller() -> str:
    """Return the name of the function that reads."""
    frame = sys._getframe(3)
    while frame.f_code.co_name.startswith("<") and frame.f_back is not None:  # comprehensions
        frame = frame.f_back
    return frame.f_code.co_name


class Watched(DomainData):
    """A domain that tells of each read."""

    augments = True

    def __init__(self, task: str, inner: TensorDomain) -> None:
        self.task = task
        self.inner = inner
        self.name = inner.name

    def tell(self, what: str) -> None:
        root = os.environ.get("WATCHED")
        if not root:
            return
        folder = Path(root) / ".mlgit"
        line = {"task": self.task, "domain": self.name, "what": what, "by": _caller(), "refs": refs(folder)}
        with (folder / "reads.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")

    def __len__(self) -> int:
        return len(self.inner)

    @property
    def labels(self) -> torch.Tensor:
        self.tell("labels")
        return self.inner.labels

    @property
    def digest(self) -> str:
        self.tell("digest")
        return self.inner.digest

    def images(self, indices: torch.Tensor, device: torch.device = CPU) -> torch.Tensor:
        self.tell("images")
        return self.inner.images(indices, device)

    def augmented(self, indices: torch.Tensor, generator: torch.Generator, device: torch.device = CPU) -> torch.Tensor:
        self.tell("augmented")
        found = self.inner.images(indices, device)
        return found + 0.01 * torch.randn(found.shape, generator=generator)

    def subset(self, indices: torch.Tensor) -> Watched:
        self.tell("subset")
        return type(self)(self.task, self.inner.subset(indices))


def make(
    data: Path | None, called: str = "shapes", seed: int = 0, names: Sequence[str] = ("a", "b", "c"), size: int = 40
) -> TaskData:
    """Return images of 8 x 8 pixels: one pattern per class, moved a little in each domain, and noise."""
    del data
    random = np.random.default_rng(seed)
    patterns = random.standard_normal((CLASSES, 1, 8, 8))
    found = []
    for domain in names:
        shift = 0.5 * random.standard_normal((1, 8, 8))
        labels = random.integers(0, CLASSES, size)
        images = patterns[labels] + shift + random.standard_normal((size, 1, 8, 8))
        inputs = torch.from_numpy(images.astype(np.float32))
        scale = {"mean": torch.tensor(0.0), "std": torch.tensor(1.0)}
        found.append(Watched(called, TensorDomain(domain, inputs, torch.from_numpy(labels.astype(np.int64)), **scale)))
    return TaskData(domains=tuple(found), classes=("x", "y", "z"), input_shape=(1, 8, 8))
