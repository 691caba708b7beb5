"""Measure what the storage costs beside plain safetensors files, print a table, and write JSON.

A family of models is built: a base, two full fine-tunings of it, and the second one with 5 % of its bytes changed.
Their tensors are the real ones of ``../shared/data/family``, repeated under new names, every repetition rolled by a
distance and multiplied by a factor of its own, so that nothing occurs twice; where these files are absent, random ones
with differences of 1.5 % stand in, and the output says so. ``--stack`` joins repetitions to larger tensors, as large
networks have them.

Each step runs in a process of its own, with everything imported before the clock starts and the files in the page
cache; each is followed at once by what it is compared with: ``safetensors.torch.save_file`` and an fsync of file and
directory, a copy with the same fsyncs, ``load_file`` into a module. A ratio is the median of those of the rounds.
Memory is what a process holds at most over one that has only imported torch: all of it, pages of mapped files
included, and its own without them.

    python benchmarks/storage.py [--megabytes 256] [--rounds 3] [--dtypes F32 BF16] [--stack 1] [--profile]
                                 [--json FILE]

``--megabytes 1024`` is the full run: every floor of the storage, in one command. It needs about 10 GB of disk in the
directory for temporary files (``--folder``). ``--profile`` adds a round under a profiler that does not count, and tells
where the time of each missed floor went (the slowest step's, when none is missed): seconds in a function itself, over
all threads.
"""

from __future__ import annotations

import argparse
import cProfile
import filecmp
import json
import os
import pstats
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from measuring import (
    FAMILY,
    MEMBERS,
    MODEL,
    TORCH_NAMES,
    Weights,
    measured,
    real_members,
    sync,
    synthetic_members,
    varied,
)
from safetensors.torch import load_file, save_file

from mlgit.api import Repository
from mlgit.storage.codecs import NUMBERS, codec
from mlgit.weights import stored  # noqa: F401 - imported before the clock starts

STATES = ("base", "fine-tuning 1", "fine-tuning 2", "5 % changed")
CHANGED_SHARE = 0.05
PROFILE = "MLGIT_BENCHMARK_PROFILE"
"""The environment variable that names the file for the profile of a step."""
WAITS = ("'_queue.SimpleQueue' objects>", "'_thread.lock' objects>", "'_thread.RLock' objects>")
SLOWEST = 12
"""How many functions of a profile are told."""

Measured = Mapping[str, float]


# What the processes do


@contextmanager
def stepped(result: dict[str, float]) -> Iterator[None]:
    """Measure the block, and profile it when that was asked for."""
    with measured(result), profiled(os.environ.get(PROFILE)):
        yield


@contextmanager
def profiled(path: str | None) -> Iterator[None]:
    """Write to ``path`` how long each function ran, in this thread and those that start; None: do nothing."""
    if path is None:
        yield
        return
    profiles = [cProfile.Profile()]

    def begin(*_: object) -> None:
        profiles.append(cProfile.Profile())
        profiles[-1].enable()

    threading.setprofile(begin)
    profiles[0].enable()
    try:
        yield
    finally:
        profiles[0].disable()
        threading.setprofile(None)
        pstats.Stats(*profiles).dump_stats(path)


def run_idle(result: dict[str, float]) -> None:
    with stepped(result):
        pass


def run_save(result: dict[str, float], source: Path, target: Path) -> None:
    weights = {name: tensor.clone() for name, tensor in load_file(source).items()}
    with stepped(result):
        save_file(weights, target)
        sync(target)


def run_copy(result: dict[str, float], source: Path, target: Path) -> None:
    with stepped(result):
        shutil.copyfile(source, target)
        sync(target)


def run_commit(result: dict[str, float], root: Path) -> None:
    repository = Repository(root)
    with stepped(result):
        repository.commit(message="A state")


def run_restore(result: dict[str, float], root: Path, revision: str) -> None:
    repository = Repository(root)
    with stepped(result):
        repository.restore(".", source=revision)


def run_load_file(result: dict[str, float], source: Path) -> None:
    module = {name: torch.zeros_like(tensor) for name, tensor in load_file(source).items()}
    with stepped(result):
        fill(module, load_file(source))


def run_load(result: dict[str, float], root: Path, revision: str, source: Path) -> None:
    module = {name: torch.zeros_like(tensor) for name, tensor in load_file(source).items()}
    with stepped(result):
        Repository(root).load(revision, into=module)


def fill(module: Weights, weights: Weights) -> None:
    """Copy weights into tensors that exist, as ``load_state_dict`` does."""
    for name, tensor in module.items():
        tensor.copy_(weights[name])


STEPS: Mapping[str, Callable[..., None]] = {
    "idle": run_idle,
    "save": run_save,
    "copy": run_copy,
    "commit": run_commit,
    "restore": run_restore,
    "load_file": run_load_file,
    "load": run_load,
}
PATHS = {"root", "source", "target"}


def child(step: str, given: Mapping[str, str]) -> None:
    """Run one step and print what it took."""
    for number in NUMBERS:
        codec(number)
    arguments = {name: Path(value) if name in PATHS else value for name, value in given.items()}
    result: dict[str, float] = {}
    STEPS[step](result, **arguments)
    print(json.dumps(result))


def measure(step: str, profile: Path | None = None, **arguments: object) -> Measured:
    """Run one step in a process of its own."""
    given = json.dumps({name: str(value) for name, value in arguments.items()})
    command = [sys.executable, str(Path(__file__).resolve()), "--step", step, "--given", given]
    variables = os.environ | ({PROFILE: str(profile)} if profile else {})
    done = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=variables).stdout)
    print(f"{step:10} {done['seconds']:8.3f} s", file=sys.stderr)
    return done


# The family


def repeated(member: Weights, repetitions: int, stack: int, dtype: torch.dtype) -> Weights:
    """Return a member's tensors under new names, every repetition varied."""
    weights: Weights = {}
    for first in range(0, repetitions, stack):
        for name, tensor in member.items():
            parts = [varied(tensor, first + number, dtype) for number in range(min(stack, repetitions - first))]
            weights[f"part{first // stack}.{name}"] = torch.cat(parts) if tensor.ndim and stack > 1 else parts[0]
    return weights


def partly_changed(old: Weights, other: Weights) -> Weights:
    """Return ``old`` with every tensor of ``other`` that makes the share of changed bytes reach its mark."""
    weights, seen, changed = {}, 0, 0
    for name, tensor in old.items():
        seen += tensor.nbytes
        differs = not torch.equal(tensor, other[name])  # some layers were frozen
        take = differs and changed + tensor.nbytes <= CHANGED_SHARE * seen
        changed += tensor.nbytes if take else 0
        weights[name] = other[name] if take else tensor
    return weights


def averaged(first: Weights, second: Weights) -> Weights:
    """Return the mean of two models, summed in float64; what is no floating-point number is the first one's."""
    return {
        name: ((tensor.double() + second[name].double()) / 2).to(tensor.dtype) if tensor.is_floating_point() else tensor
        for name, tensor in first.items()
    }


def build_only(folder: Path, members: list[Weights], real: bool, options: argparse.Namespace) -> None:
    """Write the family and the average of its fine-tunings to ``folder``, and print what was written as JSON."""
    (dtype,) = options.dtypes
    states = build_family(folder, members, options.megabytes, options.stack, getattr(torch, TORCH_NAMES[dtype]))
    states.append(folder / f"state{len(states)}.safetensors")
    first, second = (load_file(state) for state in states[1:3])
    save_file(averaged(first, second), states[-1])
    sync(states[-1])
    about = {
        "family": "real" if real else "synthetic",
        "megabytes": options.megabytes,
        "stack": options.stack,
        "dtype": dtype,
        "tensors": len(first),
        "bytes": states[0].stat().st_size,
        "states": [str(state) for state in states],
    }
    print(json.dumps(about))


def build_family(folder: Path, members: list[Weights], megabytes: int, stack: int, dtype: torch.dtype) -> list[Path]:
    size = (
        sum(tensor.numel() for tensor in members[0].values()) * torch.float32.itemsize
    )  # the same tensors in any dtype
    repetitions = max(1, round(megabytes * 2**20 / size))
    states = [repeated(member, repetitions, stack, dtype) for member in members]
    states[3] = partly_changed(states[2], states[3])
    paths = [folder / f"state{number}.safetensors" for number in range(len(states))]
    for path, weights in zip(paths, states, strict=True):
        save_file(weights, path)
        sync(path)  # or it would be written while something else is measured
    return paths


# The comparison


def stored_bytes(root: Path) -> int:
    return sum(path.stat().st_size for path in (root / ".mlgit" / "objects").glob("*.pack"))


def one_round(folder: Path, states: list[Path], profiles: Path | None = None) -> dict[str, float]:
    """Return every ratio once, and the peaks of memory in bytes; write profiles of mlgit's steps, if asked."""
    root, copy = folder / "repository", folder / "copy.safetensors"
    Repository.init(root)
    found: dict[str, float] = {}
    own, peak = [], []
    idle = measure("idle")
    for name, state in zip(STATES, states, strict=True):
        shutil.copyfile(state, root / MODEL)
        sync(root / MODEL)
        before = stored_bytes(root)
        commit = measure("commit", profile_of(profiles, f"commit, {name}"), root=root)
        save = measure("save", source=state, target=copy)
        copy.unlink()
        found[f"commit, {name}: time"] = commit["seconds"] / save["seconds"]
        found[f"commit, {name}: bytes"] = (stored_bytes(root) - before) / state.stat().st_size
        own.append(commit["own"] - idle["own"])
        peak.append(commit["peak"] - idle["peak"])
        found[f"commit, {name}: seconds"] = commit["seconds"]
    found["commit: own memory"], found["commit: memory"] = max(own), max(peak)
    own, peak = [], []
    for back, (name, state) in enumerate(zip(reversed(STATES), reversed(states), strict=True)):
        revision = f"HEAD~{back}"
        (root / MODEL).unlink(missing_ok=True)
        restore = measure("restore", profile_of(profiles, f"checkout, {name}"), root=root, revision=revision)
        plain = measure("copy", source=state, target=copy)
        copy.unlink()
        if not filecmp.cmp(root / MODEL, state, shallow=False):
            raise SystemExit(f"{name} did not come back as it was")
        found[f"checkout, {name}: time"] = restore["seconds"] / plain["seconds"]
        found[f"checkout, {name}: seconds"] = restore["seconds"]
        own.append(restore["own"] - idle["own"])
        peak.append(restore["peak"] - idle["peak"])
        load = measure("load", profile_of(profiles, f"load, {name}"), root=root, revision=revision, source=state)
        load_plain = measure("load_file", source=state)
        found[f"load, {name}: time"] = load["seconds"] / load_plain["seconds"]
        found[f"load, {name}: seconds"] = load["seconds"]
    found["checkout: own memory"], found["checkout: memory"] = max(own), max(peak)
    shutil.rmtree(root)
    return found


def profile_of(profiles: Path | None, step: str) -> Path | None:
    return profiles / step.replace(" ", "-") if profiles else None


def floors(dtype: str) -> dict[str, float]:
    """Return the most that each row may be: ratios, and bytes of memory."""
    full_bytes = 0.69 if dtype == "F32" else 0.41
    limits = {"commit, base: time": 1.3, "commit, base: bytes": 0.89}
    for number in (1, 2):
        limits |= {
            f"commit, fine-tuning {number}: time": 1.3,
            f"commit, fine-tuning {number}: bytes": full_bytes,
        }
    limits |= {"commit, 5 % changed: time": 0.3, "commit, 5 % changed: bytes": 0.05}
    limits |= {f"checkout, {state}: time": 1.5 for state in STATES}
    limits |= {f"load, {state}: time": 1.3 for state in STATES}
    return limits | {"commit: memory": 300e6, "checkout: memory": 300e6}


def compare(folder: Path, members: list[Weights], dtype: str, options: argparse.Namespace) -> list[dict[str, object]]:
    """Measure one dtype; return one row per figure."""
    states = build_family(folder, members, options.megabytes, options.stack, getattr(torch, TORCH_NAMES[dtype]))
    rounds = [one_round(folder, states) for _ in range(options.rounds)]
    if options.profile:
        (folder / "profiles").mkdir()
        one_round(folder, states, folder / "profiles")
    limits = floors(dtype)
    rows: list[dict[str, object]] = []
    for name in rounds[0]:
        values = [found[name] for found in rounds]
        value, floor = statistics.median(values), limits.get(name)
        met = None if floor is None else value <= floor
        rows.append({"dtype": dtype, "what": name, "value": value, "all": values, "floor": floor, "met": met})
    if options.profile:
        explain(rows, folder / "profiles")
    return rows


def explain(rows: list[dict[str, object]], profiles: Path) -> None:
    """Add to each missed row of time where its time went; when none is missed, to the one nearest to its floor."""
    timed = [row for row in rows if row["floor"] and str(row["what"]).endswith(": time")]
    timed.sort(key=lambda row: float(str(row["value"])) / float(str(row["floor"])), reverse=True)
    for row in [row for row in timed if not row["met"]] or timed[:1]:
        path = profile_of(profiles, str(row["what"]).removesuffix(": time"))
        row["profile"] = slowest(pstats.Stats(str(path)))


def slowest(stats: pstats.Stats) -> list[dict[str, object]]:
    """Return the functions that took the most time, without what they call; threads that wait for others do not."""
    found: Mapping[tuple[str, int, str], tuple[int, int, float, float, object]] = vars(stats)["stats"]
    working = [entry for entry in found.items() if not entry[0][2].endswith(WAITS)]
    functions = sorted(working, key=lambda entry: -entry[1][2])
    return [
        {"function": name, "file": "" if file == "~" else file, "line": line, "calls": calls, "seconds": own}
        for (file, line, name), (_, calls, own, _, _) in functions[:SLOWEST]
    ]


def told(row: Mapping[str, object]) -> Iterator[str]:
    """Yield where the time of a row went, if that is known."""
    profile = row.get("profile")
    if isinstance(profile, list):
        yield f"{row['dtype']} {row['what']}: seconds, calls, function"
        for entry in profile:
            place = f" ({'/'.join(Path(entry['file']).parts[-3:])}:{entry['line']})" if entry["file"] else ""
            yield f"  {entry['seconds']:8.3f} {entry['calls']:>9}  {entry['function']}{place}"


def shown(row: Mapping[str, object]) -> str:
    def figure(value: object) -> str:
        if not isinstance(value, float | int):
            return ""
        return f"{value / 1e6:.0f} MB" if "memory" in str(row["what"]) else f"{value:.3f}"

    verdict = {True: "met", False: "MISSED", None: ""}[row["met"]]  # type: ignore[index]  # True, False or None
    return f"{row['dtype']:5} {row['what']:34} {figure(row['value']):>9} {figure(row['floor']):>9}  {verdict}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=256, help="size of one float32 model, in MiB")
    parser.add_argument("--rounds", type=int, default=3, help="how often all is measured")
    parser.add_argument("--dtypes", nargs="+", choices=TORCH_NAMES, default=["F32", "BF16"])
    parser.add_argument("--stack", type=int, default=1, help="how many repetitions make one tensor")
    parser.add_argument("--profile", action="store_true", help="tell where the time of missed floors goes")
    parser.add_argument("--json", type=Path, help="where to write the figures; default: standard output")
    parser.add_argument("--folder", type=Path, help="directory for temporary files")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--given", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        child(options.step, options.given)
        return
    real = all((FAMILY / f"{name}.safetensors").exists() for name in MEMBERS)
    if not real:
        print(f"'{FAMILY}' is absent: random weights stand in", file=sys.stderr)
    members = real_members() if real else synthetic_members()
    if options.build:
        build_only(options.build, members, real, options)
        return
    rows: list[dict[str, object]] = []
    for dtype in options.dtypes:
        with tempfile.TemporaryDirectory(prefix="mlgit-storage-", dir=options.folder) as folder:
            rows += compare(Path(folder), members, dtype, options)
    print(f"{'dtype':5} {'what':34} {'measured':>9} {'floor':>9}", *map(shown, rows), sep="\n", file=sys.stderr)
    print(*(line for row in rows for line in told(row)), sep="\n", file=sys.stderr)
    document = {
        "family": "real" if real else "synthetic",
        "megabytes": options.megabytes,
        "stack": options.stack,
        "rounds": options.rounds,
        "cores": len(os.sched_getaffinity(0)),
        "rows": rows,
    }
    text = json.dumps(document, indent=1)
    if options.json:
        options.json.write_text(text + "\n", "utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
