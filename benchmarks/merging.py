"""Measure what a merge of eight models costs beside the plain loop over safetensors files; print a table, write JSON.

A base and eight full fine-tunings of it are built: the real ones of ``../shared/data/family``, repeated under new
names, every repetition varied, and each with its differences to the base moved by a distance of its own, so that no two
are equal. They are committed, each on a branch from the base, and then merged by

- the plain loop: ``safe_open`` on every file, name by name a sum in float32 and a division; then ``save_file`` and an
  fsync of file and directory;
- ``merge``: sums in float64, a commit, and the merged model in the working directory.

Also without what is around them: the loop alone, and mlgit's sums over the same files (``average``); and how long it
takes to read the eight models out of the store, verified (``decode``). Each step runs in a process of its own, with
everything imported before the clock starts and the files in the page cache; every step of mlgit is followed at once
by what it is compared with. A ratio is the median of those of the rounds. Memory is what a process holds at most over
one that has only imported torch: all of it, pages of mapped files included, and its own without them.

``--stack`` repetitions make one tensor, as large networks have them; with 1, a model of 1 GB has 18,000 tensors of
60 KB, and most of the time goes into looking them up.

    python benchmarks/merging.py [--megabytes 128] [--rounds 3] [--models 8] [--stack 8] [--dtype F32] [--json FILE]

``--megabytes 1024`` is the full run; it needs about 25 GB of disk in the directory for temporary files (``--folder``).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from measuring import (
    FAMILY,
    MEMBERS,
    MODEL,
    TORCH_NAMES,
    Weights,
    measured,
    memory,
    moved,
    real_members,
    sync,
    synthetic_members,
    varied,
)
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mlgit.api import Repository
from mlgit.porcelain.merge import MergeOptions, merge
from mlgit.weights.arithmetic import lazy_average
from mlgit.weights.stored import StoredWeights

SHIFT = 104_729
"""How far the elements move from one repetition to the next, and the differences from one fine-tuning to the next."""
FLOORS = {"merge: time": 1.0, "average: time": 1.0, "merge: memory": 300e6}
"""The most that a row may be: ratios, and bytes of memory."""


Measured = Mapping[str, float]
IDLE = "import torch; print(open('/proc/self/status').read())"


# What the processes do


def run_plain(result: dict[str, float], folder: Path) -> None:
    target = folder / "plain.safetensors"
    with measured(result):
        save_file(dict(plain_means(files_of(folder))), target)
        sync(target)


def run_loop(result: dict[str, float], folder: Path) -> None:
    with measured(result):
        for _ in plain_means(files_of(folder)):
            pass


def run_average(result: dict[str, float], folder: Path) -> None:
    with measured(result), ExitStack() as stack:
        files = [stack.enter_context(safe_open(path, "pt")) for path in files_of(folder)]
        members = [{name: file.get_tensor(name) for name in file.keys()} for file in files]  # noqa: SIM118
        for _ in lazy_average(members, [1 / len(members)] * len(members), statistics="average").values():
            pass


def run_decode(result: dict[str, float], folder: Path) -> None:
    repository = Repository(folder / "repository")
    with measured(result):
        for name in branches(folder):
            weights = StoredWeights(repository.objects, repository.manifest_of(repository.resolve(name)))
            for _ in weights.values():
                pass


def run_merge(result: dict[str, float], folder: Path) -> None:
    repository = Repository(folder / "repository")
    with measured(result):
        merge(repository, branches(folder), "soup", options=MergeOptions(statistics="average"))


STEPS: Mapping[str, Callable[[dict[str, float], Path], None]] = {
    "plain": run_plain,
    "loop": run_loop,
    "average": run_average,
    "decode": run_decode,
    "merge": run_merge,
}


def plain_means(paths: list[Path]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the mean of every tensor of safetensors files, summed up in the files' own dtype."""
    with ExitStack() as stack:
        first, *others = [stack.enter_context(safe_open(path, "pt")) for path in paths]
        for name in first.keys():  # noqa: SIM118 - it is no mapping
            total = first.get_tensor(name).clone()
            for other in others:
                total += other.get_tensor(name)
            yield name, total / len(paths) if total.is_floating_point() else total


def measure_idle() -> Measured:
    """Return what a process holds that has only imported torch."""
    status = subprocess.run([sys.executable, "-c", IDLE], check=True, stdout=subprocess.PIPE, text=True).stdout
    return {"own": memory("RssAnon", status), "peak": memory("VmHWM", status)}


def measure(step: str, folder: Path) -> Measured:
    """Run one step in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--step", step, "--folder", str(folder)]
    done: Measured = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print(f"{step:10} {done['seconds']:8.3f} s, processor {done['processor']:8.3f} s", file=sys.stderr)
    return done


# The family


def repeated(members: list[Weights], number: int, repetitions: int, stack: int, dtype: torch.dtype) -> Weights:
    """Return fine-tuning ``number`` (0: the base), its tensors repeated under new names."""
    base = members[0]
    tuned = members[1 + number % (len(members) - 1)] if number else base
    weights: Weights = {}
    for first in range(0, repetitions, stack):
        for name, start in base.items():
            parts = []
            for repetition in range(first, min(first + stack, repetitions)):
                part = start.double() if start.is_floating_point() else start
                if number and start.is_floating_point():
                    change = tuned[name].double() - start.double()
                    part = start.double() + moved(change, number * SHIFT)
                parts.append(varied(part, repetition, dtype))
            weights[f"part{first // stack}.{name}"] = torch.cat(parts) if start.ndim and stack > 1 else parts[0]
    return weights


def build_family(folder: Path, members: list[Weights], options: argparse.Namespace) -> None:
    """Write the fine-tunings as files, and commit each on a branch from the base."""
    dtype = getattr(torch, TORCH_NAMES[options.dtype])
    size = sum(tensor.numel() for tensor in members[0].values()) * dtype.itemsize
    repetitions = max(1, round(options.megabytes * 2**20 / size))
    repository = Repository.init(folder / "repository")
    work = repository.root / MODEL
    for number in range(options.models + 1):
        if number:
            repository.switch(f"member/{number}", create=True, start="main")
        weights = repeated(members, number, repetitions, options.stack, dtype)
        save_file(weights, work)
        if number:
            save_file(weights, folder / f"member{number}.safetensors")
            sync(folder / f"member{number}.safetensors")
        repository.commit(message="A state")
        print(f"committed model {number}", file=sys.stderr)
    repository.switch("main")


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("member*.safetensors"))


def branches(folder: Path) -> list[str]:
    return [f"member/{path.stem.removeprefix('member')}" for path in files_of(folder)]


# The comparison


def check_equal(folder: Path) -> None:
    """Compare the merged model with the mean that the plain loop saved, up to the rounding of the latter."""
    merged, plain = load_file(folder / "repository" / MODEL), load_file(folder / "plain.safetensors")
    for name, tensor in plain.items():
        step = torch.finfo(tensor.dtype).eps if tensor.is_floating_point() else 0
        close = (merged[name].double() - tensor.double()).abs() <= 8 * step * (tensor.double().abs() + 1)
        if tensor.is_floating_point() and not close.all():
            raise SystemExit(f"'{name}' is not the mean")


def one_round(folder: Path, number: int) -> dict[str, float]:
    """Return every figure once: ratios, seconds, bytes of memory."""
    repository = Repository(folder / "repository")
    repository.switch(f"merged/{number}", create=True, start="main")
    idle = measure_idle()
    steps = {name: measure(name, folder) for name in ("merge", "plain", "average", "loop", "decode")}
    check_equal(folder)
    (folder / "plain.safetensors").unlink()
    repository.switch("main")
    found = {
        "merge: time": steps["merge"]["seconds"] / steps["plain"]["seconds"],
        "average: time": steps["average"]["seconds"] / steps["loop"]["seconds"],
        "decode: time": steps["decode"]["seconds"] / steps["plain"]["seconds"],
    }
    found |= {f"{name}: seconds": done["seconds"] for name, done in steps.items()}
    found |= {f"{name}: processor seconds": done["processor"] for name, done in steps.items()}
    for name in ("merge", "plain"):
        found[f"{name}: memory"] = steps[name]["peak"] - idle["peak"]
        found[f"{name}: own memory"] = steps[name]["own"] - idle["own"]
    return found


def rows(rounds: list[dict[str, float]]) -> Iterator[dict[str, object]]:
    for name in rounds[0]:
        values = [found[name] for found in rounds]
        value, floor = statistics.median(values), FLOORS.get(name)
        met = None if floor is None else value <= floor
        yield {"what": name, "value": value, "all": values, "floor": floor, "met": met}


def shown(row: Mapping[str, object]) -> str:
    def figure(value: object) -> str:
        if not isinstance(value, float | int):
            return ""
        return f"{value / 1e6:.0f} MB" if "memory" in str(row["what"]) else f"{value:.3f}"

    verdict = {True: "met", False: "MISSED", None: ""}[row["met"]]  # type: ignore[index]  # True, False or None
    return f"{row['what']:24} {figure(row['value']):>9} {figure(row['floor']):>9}  {verdict}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=128, help="size of one model, in MiB")
    parser.add_argument("--models", type=int, default=8, help="how many are merged")
    parser.add_argument("--rounds", type=int, default=3, help="how often all is measured")
    parser.add_argument("--stack", type=int, default=8, help="how many repetitions make one tensor")
    parser.add_argument("--dtype", choices=TORCH_NAMES, default="F32", help="of the models")
    parser.add_argument("--json", type=Path, help="where to write the figures; default: standard output")
    parser.add_argument("--folder", type=Path, help="directory for temporary files")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        result: dict[str, float] = {}
        STEPS[options.step](result, options.folder)
        print(json.dumps(result))
        return
    real = all((FAMILY / f"{name}.safetensors").exists() for name in MEMBERS)
    if not real:
        print(f"'{FAMILY}' is absent: random weights stand in", file=sys.stderr)
    members = real_members() if real else synthetic_members()
    with tempfile.TemporaryDirectory(prefix="mlgit-merging-", dir=options.folder) as temporary:
        folder = Path(temporary)
        build_family(folder, members, options)
        found = list(rows([one_round(folder, number) for number in range(options.rounds)]))
    print(f"{'what':24} {'measured':>9} {'floor':>9}", *map(shown, found), sep="\n", file=sys.stderr)
    document = {
        "family": "real" if real else "synthetic",
        "megabytes": options.megabytes,
        "models": options.models,
        "dtype": options.dtype,
        "stack": options.stack,
        "rounds": options.rounds,
        "cores": len(os.sched_getaffinity(0)),
        "threads of torch": torch.get_num_threads(),
        "rows": found,
    }
    text = json.dumps(document, indent=1)
    if options.json:
        options.json.write_text(text + "\n", "utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
