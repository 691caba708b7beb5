"""Compare mlgit with other tools that keep versions of models: time, bytes, memory, and whether all comes back.

The family of ``benchmarks/storage.py`` (a base, two full fine-tunings of it, the second one with 5 % of its bytes
changed) and the average of the two fine-tunings are committed one after another, and then brought back, oldest first,
into a working directory that lacks the file: by mlgit, plain git, Git LFS, DVC, git-theta, coral-ml, and ``cp``.

Each step is the tool's own command, a whole process and all it starts; where a tool needs two, their sum. Before each,
all of the repository and the file are read once, so that everything is in the page cache, and the disk is idle. Tools
differ in what they wait for, so that there are two times: until the command ends, and until ``sync`` of the file system
has ended as well ("on disk"). Bytes are all that a step adds beside the working file; memory is that of the largest
process (of 20 MB or more: what is smaller is not told apart). What comes back is compared byte by byte, and where bytes
differ, tensor by tensor. ``x`` columns are ratios to mlgit in the same round; all figures are medians over the rounds,
and the tools take turns at being first. coral-ml's command line reads ``.npy`` and ``.npz`` only and writes no file at
all, so its documented Python interface does the work.

    python benchmarks/peers.py [--megabytes 128] [--rounds 3] [--stack 16] [--dtype F32] [--json FILE]
                               [--environments DIR] [--only mlgit dvc ...] [--limit 1800] [--tidy]

Tools from the Python package index are installed into virtual environments of their own under ``--environments`` and
found there by the next run; Git LFS comes from the system's packages (installed with apt when absent and this is root).
A tool that does not install or fails on a tiny model is left out, and the output says why. ``--megabytes 1024`` is the
full run; it needs about 15 GB of disk in the directory for temporary files (``--folder``).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from peer_files import put, read_through, returned, tiny_model
from peer_tools import (
    MODEL,
    PEERS,
    STATES,
    Command,
    Peer,
    PeerError,
    install,
    last,
    plain,
    surroundings,
    versions,
)

HERE = Path(__file__).resolve()
Row = dict[str, object]


# Steps


@dataclass
class Bench:
    """One tool at work in one directory.

    Attributes:
        peer: The tool.
        folder: A directory that is empty at first.
        programs: Where the tool's programs are; None: among the others.
        limit: How many seconds a command may take.
    """

    peer: Peer
    folder: Path
    programs: Path | None
    limit: float
    root: Path = field(init=False)
    variables: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.root, home = self.folder / "repository", self.folder / "home"
        self.root.mkdir(parents=True)
        home.mkdir()
        self.variables = surroundings(home, self.programs)
        self.run(self.peer.start)

    @property
    def model(self) -> Path:
        """The working file."""
        return self.root / MODEL

    def run(self, commands: Sequence[Command]) -> tuple[float, int]:
        """Run commands; return seconds, and the bytes of memory of the largest process.

        Raises:
            PeerError: One failed.
        """
        start, memory = time.perf_counter(), 0
        for command in commands:
            memory = max(memory, self.run_one(command))
        return time.perf_counter() - start, memory

    def run_one(self, command: Command) -> int:
        """Run a command; return the bytes of memory of the largest process among it and those that it started."""
        program = shutil.which(command[0], path=self.variables["PATH"]) or command[0]
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [program, *command[1:]],
                cwd=self.root,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            timer = threading.Timer(self.limit, os.killpg, (process.pid, signal.SIGKILL))
            timer.start()
            _, status, usage = os.wait4(process.pid, 0)
            timer.cancel()
            process.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            message = last(said.read().decode("utf-8", "replace"))
        if process.returncode == -signal.SIGKILL:
            raise PeerError(f"`{plain(command)}` did not end within {self.limit:g} s, or was killed: {message}")
        if process.returncode:
            raise PeerError(f"`{plain(command)}` ended with {process.returncode}: {message}")
        return usage.ru_maxrss * 1024

    def stored(self) -> int:
        """Return the bytes of all files beside the model, each once."""
        found = {(status.st_dev, status.st_ino): status.st_size for status in self.statuses()}
        return sum(found.values())

    def statuses(self) -> Iterator[os.stat_result]:
        """Yield what the system tells of every file beside the model."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                if Path(folder, name) != self.model:
                    yield Path(folder, name).lstat()

    def settle(self) -> None:
        """Have the disk idle and every file in the page cache."""
        os.sync()
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink():
                    read_through(path)

    def step(self, commands: Sequence[Command]) -> dict[str, float]:
        """Run and measure commands."""
        self.settle()
        before = self.stored()
        start = time.perf_counter()
        seconds, memory = self.run(commands)
        subprocess.run(["sync", "-f", str(self.root)], check=True)
        synced = time.perf_counter() - start
        return {"seconds": seconds, "on disk": synced, "bytes": self.stored() - before, "memory": memory}


def one_round(bench: Bench, states: Sequence[Path], tidy: bool) -> Iterator[tuple[str, dict[str, float], str]]:
    """Yield each step, what it took, and what came back (empty: nothing to come back)."""
    names = [STATES[int(state.stem[-1])] for state in states]
    for number, state in enumerate(states):
        put(state, bench.model)
        yield f"commit, {names[number]}", bench.step(bench.peer.commit(number)), ""
    if tidy and bench.peer.tidy:
        yield "tidy", bench.step(bench.peer.tidy), ""
    for number, state in enumerate(states):
        bench.model.unlink()
        read_through(state)
        took = bench.step(bench.peer.checkout(number))
        yield f"checkout, {names[number]}", took, returned(state, bench.model)


# The comparison


@dataclass
class Entry:
    """What is known of a tool.

    Attributes:
        peer: The tool.
        programs: Where its programs are.
        versions: What it depends on, by name.
        reason: Why it is left out; empty: it is not.
        smallest: What came back of the smallest change.
        probes: What commands said that are known to fail.
        failures: Commands that failed, and what they said.
        found: By step and figure, one value per round.
        back: By step, what came back, in every round.
    """

    peer: Peer
    programs: Path | None = None
    versions: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    smallest: str = ""
    probes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    found: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    back: dict[str, list[str]] = field(default_factory=dict)

    def note(self, step: str, figures: Mapping[str, float], back: str) -> None:
        """Keep what a step took, and what came back."""
        for figure, value in figures.items():
            self.found.setdefault(step, {}).setdefault(figure, []).append(value)
        if back:
            self.back.setdefault(step, []).append(back)


def prepare(peer: Peer, environments: Path, base: Path, folder: Path, limit: float) -> Entry:
    """Install a tool and try it on a tiny model, and on what is known to fail."""
    entry = Entry(peer)
    try:
        entry.programs = install(peer, environments)
        entry.versions = versions(peer, entry.programs)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            bench = Bench(peer, Path(place), entry.programs, limit)
            tiny_model(bench.model, later=False)
            bench.run(peer.commit(len(STATES) - 2))
            entry.smallest = smallest_change(bench)
    except PeerError as error:
        entry.reason = str(error)
        return entry
    for probe in peer.probes:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            bench = Bench(peer, Path(place), entry.programs, limit)
            put(base, bench.model)
            try:
                bench.run([probe])
                entry.probes.append(f"`{plain(probe)}` works")
            except PeerError as error:
                entry.probes.append(str(error))
    return entry


def smallest_change(bench: Bench) -> str:
    """Return whether the smallest change there is, the next number above of every value, comes back, and the old one.

    Raises:
        PeerError: Nothing comes back at all: the tool does not run.
    """
    names = [bench.folder / name for name in ("old", "new")]
    for number, path in enumerate(names):
        tiny_model(path, later=bool(number))
    put(names[1], bench.model)
    last_state = len(STATES) - 1
    try:
        bench.run(bench.peer.commit(last_state))
    except PeerError as error:
        return f"LOST: {error}"
    found = []
    for number, path in zip((last_state - 1, last_state), names, strict=True):
        bench.model.unlink(missing_ok=True)
        bench.run(bench.peer.checkout(number))
        found.append(returned(path, bench.model))
    return " / ".join(dict.fromkeys(found))


def measure(entry: Entry, states: Sequence[Path], folder: Path, options: argparse.Namespace) -> None:
    """Run one round of one tool."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        totals = {"commit": dict.fromkeys(FIGURES, 0.0), "checkout": dict.fromkeys(FIGURES, 0.0)}
        try:
            bench = Bench(entry.peer, Path(place), entry.programs, options.limit)
            for step, figures, back in one_round(bench, states, options.tidy):
                entry.note(step, figures, back)
                print(f"{entry.peer.name:10} {step:24} {figures['seconds']:8.2f} s {back}", file=sys.stderr)
                add(totals.get(step.split(",")[0]), figures)
        except PeerError as error:
            entry.failures.append(str(error))
            print(f"{entry.peer.name:10} {error}", file=sys.stderr)
        else:
            for verb, figures in totals.items():
                entry.note(f"all {verb}s", figures, "")


def add(total: dict[str, float] | None, figures: Mapping[str, float]) -> None:
    """Add figures to a total, if there is one; the memory of processes that follow each other does not add up."""
    if total is not None:
        for figure, value in figures.items():
            total[figure] = max(total[figure], value) if figure == "memory" else total[figure] + value


FIGURES = ("seconds", "on disk", "bytes", "memory")
HEADS = ("command s", "on disk s", "stored MB", "memory MB")
STEPS = [*(f"commit, {state}" for state in STATES), "all commits", "tidy"]
STEPS += [*(f"checkout, {state}" for state in STATES), "all checkouts"]


def rows_of(entries: Sequence[Entry]) -> list[Row]:
    """Return a row per step and tool: medians, ratios to mlgit of the same round, and what came back."""
    own = next((entry.found for entry in entries if entry.peer.name == "mlgit"), {})
    rows: list[Row] = []
    for step in STEPS:
        for entry in entries:
            if step not in entry.found:
                continue
            row: Row = {"step": step, "tool": entry.peer.name}
            for figure in FIGURES:
                values, yardstick = entry.found[step][figure], own.get(step, {}).get(figure, [])
                ratios = [value / one for value, one in zip(values, yardstick, strict=False) if one]
                row[figure] = statistics.median(values)
                row[f"{figure}: ratio"] = statistics.median(ratios) if ratios else None
                row[f"{figure}: all"] = values
            row["back"] = " / ".join(sorted(set(entry.back.get(step, []))))
            rows.append(row)
    return rows


def table(rows: Sequence[Row]) -> Iterator[str]:
    yield " ".join([f"{'':10}", *(f"{head:>10} {'x':>6}" for head in HEADS)])
    step = None
    for row in rows:
        if row["step"] != step:
            step = row["step"]
            yield f"{step}"
        cells = [f"  {row['tool']:8}"]
        for figure in FIGURES:
            value, ratio = row[figure], row[f"{figure}: ratio"]
            unit = 1e6 if figure in {"bytes", "memory"} else 1
            shown = "-" if figure == "bytes" and "checkout" in str(step) else f"{float(str(value)) / unit:.2f}"
            cells.append(f"{shown:>10} {'' if ratio is None or shown == '-' else f'{ratio:.2f}':>6}")
        yield " ".join([*cells, str(row["back"])])


def remarks(entries: Sequence[Entry]) -> Iterator[str]:
    for entry in entries:
        main = entry.peer.packages[0] if entry.peer.packages else entry.peer.name
        yield f"{entry.peer.name}: {entry.versions.get(main, 'version unknown')}"
        if entry.reason:
            yield f"  left out: {entry.reason}"
        else:
            yield f"  every value changed by one unit in its last place: {entry.smallest}"
        if entry.peer.note:
            yield f"  with: {entry.peer.note}"
        yield from (f"  tried: {probe}" for probe in entry.probes)
        yield from (f"  failed: {failure}" for failure in dict.fromkeys(entry.failures))


def described(entry: Entry) -> Row:
    """Return what the JSON says of a tool."""
    last_state = len(STATES) - 1
    return {
        "versions": entry.versions,
        "start": [plain(command) for command in entry.peer.start],
        "commit": [plain(command) for command in entry.peer.commit(last_state)],
        "checkout": [plain(command) for command in entry.peer.checkout(last_state - 1)],
        "note": entry.peer.note,
        "left out": entry.reason,
        "smallest change": entry.smallest,
        "probes": entry.probes,
        "failures": entry.failures,
    }


def build(folder: Path, options: argparse.Namespace) -> tuple[list[Path], dict[str, object]]:
    """Have ``benchmarks/storage.py`` build the family, in a process of its own; return files and what it says."""
    command = [sys.executable, str(HERE.with_name("storage.py")), "--build", str(folder)]
    command += ["--megabytes", str(options.megabytes), "--stack", str(options.stack), "--dtypes", options.dtype]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    about = json.loads(done.stdout)
    return [Path(path) for path in about.pop("states")], about


def compare_all(folder: Path, options: argparse.Namespace) -> tuple[list[Entry], dict[str, object]]:
    """Measure every tool in every round."""
    environments = options.environments or folder / "environments"
    environments = environments.resolve()
    (folder / "family").mkdir()
    states, about = build(folder / "family", options)
    names = {peer.name for peer in PEERS} if options.only is None else {*options.only, "mlgit"}
    chosen = [peer for peer in PEERS if peer.name in names]
    entries = [prepare(peer, environments, states[0], folder, options.limit) for peer in chosen]
    print(*remarks(entries), sep="\n", file=sys.stderr)
    able = [entry for entry in entries if not entry.reason]
    for number in range(options.rounds):
        first = number % len(able)
        for entry in able[first:] + able[:first]:
            if not entry.failures:
                measure(entry, states, folder, options)
    return entries, about


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=128, help="size of one model, in MiB")
    parser.add_argument("--rounds", type=int, default=3, help="how often all is measured")
    parser.add_argument("--stack", type=int, default=16, help="how many repetitions make one tensor")
    parser.add_argument("--dtype", default="F32", help="F32, BF16 or F16")
    parser.add_argument("--only", nargs="+", choices=[peer.name for peer in PEERS], help="tools beside mlgit")
    parser.add_argument("--environments", type=Path, help="directory of the tools' environments; default: temporary")
    parser.add_argument("--limit", type=float, default=1800, help="seconds that one command may take")
    parser.add_argument("--tidy", action="store_true", help="measure what makes a repository small: `git gc`")
    parser.add_argument("--json", type=Path, help="where to write the figures; default: standard output")
    parser.add_argument("--folder", type=Path, help="directory for temporary files")
    report(parser.parse_args())


def report(options: argparse.Namespace) -> None:
    """Measure, print the table, and write JSON."""
    with tempfile.TemporaryDirectory(prefix="mlgit-peers-", dir=options.folder) as folder:
        entries, about = compare_all(Path(folder), options)
    rows = rows_of(entries)
    print(*table(rows), *remarks(entries), sep="\n", file=sys.stderr)
    document = about | {
        "rounds": options.rounds,
        "cores": len(os.sched_getaffinity(0)),
        "python": sys.version.split()[0],
        "tools": {entry.peer.name: described(entry) for entry in entries},
        "rows": rows,
    }
    text = json.dumps(document, indent=1)
    if options.json:
        options.json.write_text(text + "\n", "utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
