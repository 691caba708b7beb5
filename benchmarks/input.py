"""Measure images per second of the input pipeline beside torchvision's, and print it as JSON.

Both sides give batches of augmented training images, 32 of each of three domains per step, drawn with replacement
from the same folder, with the transforms of DomainBed. The other side is ``ImageFolder`` with torchvision's transforms
(first generation on Pillow images, as published, or ``v2``) in a ``DataLoader`` without further processes: a run has
one thread. Sides take turns, step by step, so that whatever else the machine does hits all of them. mlgit's images are
decoded before (the time is given apart), the other side decodes each time, as in a real run. Also: evaluation images.

    python benchmarks/input.py DIR [--size 96] [--rounds 30] [--batch 32] [--threads 1]

DIR holds <domain>/<class>/<image>: PACS, or any other. Floor: at least 3 times the images per second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader, RandomSampler
from torchvision import transforms as first
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.kinds import Place, open_task

FLOOR = 3.0
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
Step = Callable[[], object]


def published(size: int) -> first.Compose:
    return first.Compose(
        [
            first.RandomResizedCrop(size, scale=(0.7, 1.0)),
            first.RandomHorizontalFlip(),
            first.ColorJitter(0.3, 0.3, 0.3, 0.3),
            first.RandomGrayscale(),
            first.ToTensor(),
            first.Normalize(MEAN, STD),
        ]
    )


def second_generation(size: int) -> v2.Compose:
    return v2.Compose(
        [
            v2.ToImage(),
            v2.RandomResizedCrop(size, scale=(0.7, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.3, 0.3, 0.3, 0.3),
            v2.RandomGrayscale(0.1),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )


def plain(size: int) -> first.Compose:
    return first.Compose([first.Resize((size, size)), first.ToTensor(), first.Normalize(MEAN, STD)])


def forever(loader: DataLoader[object]) -> Iterator[object]:
    while True:
        yield from loader


def of_torchvision(root: Path, domains: list[str], transform: object, batch: int) -> Step:
    loaders = []
    for domain in domains:
        data = ImageFolder(str(root / domain), transform=transform)
        sampler = RandomSampler(data, replacement=True, num_samples=10**6)
        loaders.append(forever(DataLoader(data, batch_size=batch, sampler=sampler, drop_last=True)))
    return lambda: [next(loader) for loader in loaders]


def measure(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as folder:
        report = compare(chosen, Path(folder))
    print(json.dumps(report, indent=2))


def compare(chosen: argparse.Namespace, cache: Path) -> dict[str, object]:
    definition = TaskDefinition(name="data", kind="imagefolder", options={"image_size": chosen.size})
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        task = open_task(definition, place=Place(data=chosen.data, cache=cache))
        seconds.append(time.perf_counter() - started)
    domains = list(task.data.domains[:3])
    started = time.perf_counter()
    for domain in domains:
        domain.images(torch.tensor([0]))
    decoding = time.perf_counter() - started
    draws = torch.Generator().manual_seed(0)
    names, batch = [domain.name for domain in domains], chosen.batch

    def rows() -> list[torch.Tensor]:
        return [torch.randint(len(domain), (batch,), generator=draws) for domain in domains]

    def augmented() -> object:
        return torch.cat([domain.augmented(part, draws) for domain, part in zip(domains, rows(), strict=True)])

    def evaluated() -> object:
        return torch.cat([domain.images(part) for domain, part in zip(domains, rows(), strict=True)])

    images = batch * len(domains)
    training = measure(
        {
            "mlgit": augmented,
            "torchvision": of_torchvision(chosen.data, names, published(chosen.size), batch),
            "torchvision_v2": of_torchvision(chosen.data, names, second_generation(chosen.size), batch),
        },
        chosen.rounds,
    )
    evaluation = measure(
        {"mlgit": evaluated, "torchvision": of_torchvision(chosen.data, names, plain(chosen.size), batch)},
        chosen.rounds,
    )
    return {
        "benchmark": "input-pipeline",
        "ratio": round(training["torchvision"] / training["mlgit"], 2),
        "ratio_to_v2": round(training["torchvision_v2"] / training["mlgit"], 2),
        "floor": FLOOR,
        "images_per_s": {name: round(images / value) for name, value in training.items()},
        "evaluation_images_per_s": {name: round(images / value) for name, value in evaluation.items()},
        "opened_first_s": round(seconds[0], 2),
        "opened_again_s": round(seconds[1], 2),
        "decoded_once_s": round(decoding, 2),
        "images": sum(len(domain) for domain in domains),
        "size": chosen.size,
        "rounds": chosen.rounds,
        "threads": chosen.threads,
        "torch": str(torch.__version__),
    }


if __name__ == "__main__":
    main()
