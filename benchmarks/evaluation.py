"""Measure what evaluating many weight sets costs beside the bare forward passes, and print it as JSON.

Both sides pass the same decoded images in the same batches through the same architecture, for 20 sets of weights that
lie in memory: mlgit by one ``Evaluator``; the bare side copies each set into the module, passes each batch, and counts
the right answers. Single sets take turns, so that whatever else the machine does hits both; the ratio is that of the
medians of one set. Floor: at most 1.05. Beside it stand what decoding costs once, how long the same 20 sets
take when their predictions are remembered on disk, and what half precision would have changed.

    python benchmarks/evaluation.py [--sets 20] [--rounds 9] [--threads 1] [--device cpu]
        [--factory mlgit:digits-cnn] [--images 1000] [--size 8]

There are three domains with N random pictures of S by S pixels (``--images N --size S``), for larger networks such as
torchvision:mobilenet_v3_small too; ``--images 0`` takes the few real digits, where what one evaluation costs besides
its forward passes, half a millisecond, shows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from mlgit.evaluation.cache import PredictionCache, Remembered
from mlgit.evaluation.evaluator import Evaluator
from mlgit.evaluation.loaded import load_domains
from mlgit.evaluation.score import Predictions
from mlgit.models.device import resolve_device
from mlgit.models.factories import build
from mlgit.models.network import Network
from mlgit.tasks.arrays import ArrayDomain
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.kinds import open_task
from mlgit.tasks.split import ValidationSplit

FLOOR = 1.05
Sets = Sequence[dict[str, torch.Tensor]]


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Return how long it takes, in seconds."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def make_split(chosen: argparse.Namespace) -> tuple[ValidationSplit, int]:
    """Return the images and the number of classes."""
    if not chosen.images:
        task = open_task(TaskDefinition(name="digits", kind="digits", test_domain="rotate"))
        return task.validation(), task.num_classes
    generator = torch.Generator().manual_seed(0)
    channels = 1 if chosen.factory.startswith("mlgit:") else 3
    shape = (chosen.images, channels, chosen.size, chosen.size)
    domains = tuple(
        ArrayDomain(
            name,
            torch.randint(256, shape, generator=generator, dtype=torch.uint8),
            torch.arange(chosen.images) % 7,
            mean=0.5,
            std=0.25,
        )
        for name in ("a", "b", "c")
    )
    return ValidationSplit(domains), 7


def make_sets(network: Network, count: int) -> Sets:
    """Return weights near those of the network."""
    generator = torch.Generator().manual_seed(0)
    start = network.weights()
    return [
        {
            name: tensor * (1 + 0.05 * torch.randn(tensor.shape, generator=generator))
            if tensor.is_floating_point()
            else tensor
            for name, tensor in start.items()
        }
        for _ in range(count)
    ]


def bare_side(
    network: Network,
    split: ValidationSplit,
    device: torch.device,
    outputs: Callable[[torch.Tensor], torch.Tensor] = lambda logits: logits,
) -> Callable[[Sets], list[int]]:
    """Return the plain loop over tensors that are decoded and on the device; ``outputs`` is applied to logits."""
    module = network.module.to(device).eval()
    domains = load_domains(split.domains, device)
    batches = [(list(domain.batches()), domain.labels) for domain in domains]

    def run(sets: Sets) -> list[int]:
        right = []
        with torch.no_grad(), torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False):
            for weights in sets:
                module.load_state_dict(weights)
                found = [
                    outputs(torch.cat([module(batch) for batch in images])).argmax(1).cpu() for images, _ in batches
                ]
                right.append(sum(int((a == b).sum()) for a, (_, b) in zip(found, batches, strict=True)))
        return right

    return run


def half_precision(predictions: Sequence[tuple[Predictions, ...]]) -> dict[str, float | int]:
    """Say what storing probabilities as float16 would change."""
    flipped, total, worst = 0, 0, 0.0
    for parts in predictions:
        for part in parts:
            half = Predictions(part.domain, part.probabilities.half().float(), part.labels)
            flipped += int((half.correct != part.correct).sum())
            total += len(part)
            worst = max(worst, float((half.probabilities - part.probabilities).abs().max()))
    return {"answers_changed": flipped, "of": total, "largest_error": worst}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--factory", default="mlgit:digits-cnn")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=8)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    device = resolve_device(chosen.device)
    split, classes = make_split(chosen)
    first, second, third = (Network(build(chosen.factory, num_classes=classes, seed=0)) for _ in range(3))
    sets = make_sets(first, chosen.sets)
    bare = bare_side(second, split, device)
    evaluator = Evaluator(first, split, device)
    decoding_s = timed(lambda: load_domains(split.domains, device), device)
    right = [int(evaluator(weights).correct.sum()) for weights in sets]
    if right != bare_side(second, split, device, lambda logits: logits.softmax(1))(sets):  # it makes near ones equal
        raise SystemExit("both sides do not find the same")
    times: dict[str, list[float]] = {"mlgit": [], "bare": []}
    for _ in range(chosen.rounds):
        for weights in sets:
            times["mlgit"].append(timed(partial(evaluator, weights), device))
            times["bare"].append(timed(partial(bare, [weights]), device))
    with tempfile.TemporaryDirectory() as folder:
        memory = Remembered(PredictionCache(Path(folder)), {"factory": chosen.factory})
        writer = Evaluator(first, split, device, remembered=memory)
        predictions = [writer.predict(weights, key=str(number)) for number, weights in enumerate(sets)]
        reader = Evaluator(third, split, device, remembered=memory)
        remembered_s = timed(lambda: [reader(weights, key=str(n)) for n, weights in enumerate(sets)], device)
        if reader.computed:
            raise SystemExit("what was remembered was computed again")
        stored_bytes = memory.cache.size_bytes()
    middle = {name: statistics.median(values) for name, values in times.items()}
    report = {
        "benchmark": "evaluation-overhead",
        "ratio": round(middle["mlgit"] / middle["bare"], 4),
        "floor": FLOOR,
        "sets": chosen.sets,
        "images": len(split),
        "median_ms": {name: round(1000 * value, 2) for name, value in middle.items()},
        "decoding_once_ms": round(1000 * decoding_s, 2),
        "remembered_ms": round(1000 * remembered_s, 2),
        "stored_bytes": stored_bytes,
        "half_precision": half_precision(predictions),
        "factory": chosen.factory,
        "device": str(device),
        "threads": chosen.threads,
        "torch": torch.__version__,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
