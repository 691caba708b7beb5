"""Measure what a training step costs beside a bare PyTorch loop on the same tensors, and print it as JSON.

Both sides train ``mlgit:digits-cnn`` on the same tensors with the same optimiser, batch by batch: short pieces of one
and of the other take turns, so that whatever else the machine does hits both. The ratio is that of the median steps;
evaluations are left out on both sides. Floor: at most 1.03.

    python benchmarks/training.py [--rounds 20] [--steps 60] [--batch 32] [--threads 1]
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from typing import Self

import torch
from torch import nn

from mlgit.models.factories import build
from mlgit.models.network import Network
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.kinds import open_task
from mlgit.tasks.split import TrainingSplit, ValidationSplit
from mlgit.training.hyper import HyperParameters
from mlgit.training.run import train

FLOOR = 1.03


class Stopwatch:
    """A progress bar that notes when each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def task(self, title: str, total: int | None = None) -> Self:
        """Be the bar."""
        del title, total
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        del exception

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Note the time."""
        del amount, note
        self.ends.append(time.perf_counter())


def durations(ends: list[float]) -> list[float]:
    """Return the lengths of the steps but the first and the last, which are evaluated."""
    return [end - start for start, end in itertools.pairwise(ends[:-1])]


def with_mlgit(
    network: Network, splits: tuple[TrainingSplit, ValidationSplit], hyper: HyperParameters, device: torch.device
) -> list[float]:
    watch = Stopwatch()
    train(network, *splits, hyper, seed=0, device=device, progress=watch)
    return durations(watch.ends)


def bare(
    network: Network, splits: tuple[TrainingSplit, ValidationSplit], hyper: HyperParameters, *, fused: bool
) -> list[float]:
    images = [domain.images(torch.arange(len(domain))) for domain in splits[0].domains]
    labels = [domain.labels for domain in splits[0].domains]
    module = network.module
    start = network.weights()
    module.train()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    optimizer = torch.optim.Adam(module.parameters(), lr=hyper.lr, weight_decay=hyper.weight_decay, fused=fused)
    ends = []
    for _ in range(hyper.steps):
        rows = [torch.randint(len(part), (hyper.batch_per_domain,)) for part in images]
        batch = torch.cat([part[chosen] for part, chosen in zip(images, rows, strict=True)])
        target = torch.cat([part[chosen] for part, chosen in zip(labels, rows, strict=True)])
        loss = nn.functional.cross_entropy(module(batch), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ends.append(time.perf_counter())
    network.load(start)
    return durations(ends)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    task = open_task(TaskDefinition(name="digits", kind="digits", test_domain="rotate"))
    splits = task.training(), task.validation()
    network = Network(build("mlgit:digits-cnn", num_classes=task.num_classes, seed=0))
    hyper = HyperParameters(lr=1e-4, batch_per_domain=chosen.batch, steps=chosen.steps, eval_every=chosen.steps)
    device = torch.device("cpu")
    times: dict[str, list[float]] = {"mlgit": [], "bare": [], "bare_default_adam": []}
    for _ in range(chosen.rounds):
        times["mlgit"] += with_mlgit(network, splits, hyper, device)
        times["bare"] += bare(network, splits, hyper, fused=True)
        times["bare_default_adam"] += bare(network, splits, hyper, fused=False)
    middle = {name: statistics.median(values) for name, values in times.items()}
    report = {
        "benchmark": "training-step-overhead",
        "ratio": round(middle["mlgit"] / middle["bare"], 4),
        "floor": FLOOR,
        "ratio_to_default_adam": round(middle["mlgit"] / middle["bare_default_adam"], 4),
        "median_step_ms": {name: round(1000 * value, 4) for name, value in middle.items()},
        "images_per_step": chosen.batch * len(splits[0].domains),
        "rounds": chosen.rounds,
        "steps_per_round": chosen.steps,
        "threads": chosen.threads,
        "torch": str(torch.__version__),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
