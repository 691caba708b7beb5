"""What the benchmarks of storage and merging share: real weights of any size, and how a step is measured."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file

from mlgit.fileio import sync_directory

FAMILY = Path(__file__).parents[2] / "shared" / "data" / "family"
MEMBERS = ("pretrained_lp", "target_vanilla_0", "target_vanilla_1", "target_inter_3")
"""The base and three fine-tunings of it."""
MODEL = "model.safetensors"
TORCH_NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
STEP = 7919
"""How far the elements move from one repetition to the next."""
GROWTH = 0.00731
"""By how much values grow from one repetition to the next, so that no compressor finds one in another."""

Weights = dict[str, torch.Tensor]


@contextmanager
def measured(result: dict[str, float]) -> Iterator[None]:
    """Note wall and processor time of the block, and the most memory of its own that the process had meanwhile."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            result["own"] = max(result.get("own", 0), memory("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    start, used = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        result["seconds"], result["processor"] = time.perf_counter() - start, time.process_time() - used
        ended.set()
        watcher.join()
    result["own"] = max(result.get("own", 0), memory("RssAnon"))
    result["peak"] = memory("VmHWM")


def memory(field: str, status: str = "") -> int:
    """Return a figure of a process in bytes; ``ru_maxrss`` would start at what its parent held."""
    for line in (status or Path("/proc/self/status").read_text("ascii")).splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"the system does not tell {field}")


def sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    sync_directory(path.parent)


def real_members() -> list[Weights]:
    return [load_file(FAMILY / f"{name}.safetensors") for name in MEMBERS]


def synthetic_members() -> list[Weights]:
    generator = torch.Generator().manual_seed(0)
    shapes = {f"layer{number}": (256, 64 * (1 + number % 9)) for number in range(24)}

    def noise(scale: float) -> Weights:
        return {name: scale * torch.randn(shape, generator=generator) for name, shape in shapes.items()}

    base = noise(0.03)
    changes = [noise(0.03 * 0.015) for _ in range(3)]
    return [base, *({name: base[name] + change[name] for name in base} for change in changes)]


def moved(tensor: torch.Tensor, distance: int) -> torch.Tensor:
    return tensor.flatten().roll(distance).reshape(tensor.shape)


def varied(tensor: torch.Tensor, repetition: int, dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor's content in another order and, when they are not integers, of slightly larger values."""
    rolled = moved(tensor, repetition * STEP)
    return (rolled * (1 + GROWTH * repetition)).to(dtype) if tensor.is_floating_point() else rolled
