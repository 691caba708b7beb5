"""Measure how soon ``mlgit log -n 20`` has answered in a repository of 10,000 commits, and print it as JSON.

The yardstick is a Python that imports typer and rich, the two libraries of the command line, and ends. Both programs,
and for comparison a Python that does nothing, run in turns, so that whatever else the machine does hits all alike. The
ratio is that of the median times. Floor: at most 1.5. All run from bytecode, as installed programs do: it is written
into the temporary directory by a first run that does not count, whatever ``PYTHONDONTWRITEBYTECODE`` says.

    python benchmarks/startup.py [--commits 10000] [--branches 20] [--per-pack 1000] [--rounds 25]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlgit.objects import Commit, CommitId, Identity, Manifest, Parent, Role, Stage, Timestamp
from mlgit.repository import HEADS, Repository

FLOOR = 1.5
WHO = Identity("Ada", "ada@example.org")
START = 1_700_000_000


def build(root: Path, commits: int, branches: int, per_pack: int) -> None:
    """Write a line of commits, with branches that end all along it."""
    repository = Repository.create(root)
    line: list[CommitId] = []
    while len(line) < commits:
        with repository.objects.transaction() as transaction:
            manifest = transaction.put_record(Manifest({}))
            for number in range(len(line), min(len(line) + per_pack, commits)):
                line.append(
                    transaction.put_record(
                        Commit(
                            manifest=manifest,
                            parents=(Parent(line[-1], Role.BASE),) if line else (),
                            stage=Stage.SNAPSHOT,
                            metrics={"id_accuracy": number / commits},
                            author=WHO,
                            time=Timestamp(START + 60 * number),
                            message=f"Change number {number}",
                        )
                    )
                )
    tips = {f"line-{number}": line[number * commits // branches] for number in range(branches)} | {"main": line[-1]}
    for name, tip in tips.items():
        repository.refs.update(HEADS + name, tip, expected=None, who=WHO, when=Timestamp(START), reason="built")


def seconds(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commits", type=int, default=10_000, help="commits in the repository")
    parser.add_argument("--branches", type=int, default=20, help="branches beside main")
    parser.add_argument("--per-pack", type=int, default=1000, help="commits per write")
    parser.add_argument("--rounds", type=int, default=25, help="runs of each program")
    options = parser.parse_args()
    programs = {
        "mlgit log -n 20": [sys.executable, "-c", "from mlgit.cli.main import run; run()", "log", "-n", "20"],
        "import typer, rich": [sys.executable, "-c", "import typer, rich"],
        "nothing": [sys.executable, "-c", "pass"],
    }
    with tempfile.TemporaryDirectory(prefix="mlgit-startup-") as folder:
        root = Path(folder, "model")
        build(root, options.commits, options.branches, options.per_pack)
        environment = os.environ | {"HOME": folder, "PYTHONPYCACHEPREFIX": str(Path(folder, "bytecode"))}
        for name in ("XDG_CONFIG_HOME", "PYTHONDONTWRITEBYTECODE"):
            environment.pop(name, None)
        times: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(options.rounds + 1):
            for name, command in programs.items():
                times[name].append(seconds(command, environment, root))
    medians = {name: statistics.median(found[1:]) for name, found in times.items()}  # the first writes the bytecode
    log, bare, _ = medians.values()
    ratio = log / bare
    result = {
        "commits": options.commits,
        "rounds": options.rounds,
        "median_s": {name: round(median, 4) for name, median in medians.items()},
        "ratio": round(ratio, 3),
        "floor": FLOOR,
        "met": ratio <= FLOOR,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
