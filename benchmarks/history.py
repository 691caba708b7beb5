"""Measure questions about a long history beside real git, print a table, and write JSON.

A history is built twice: as an mlgit repository, written straight in the format of packs, and as a git repository of
the same commits with the same parents and times (``git fast-import``, then ``git gc``, which writes git's
commit-graph).

Its shape: a ladder whose two sides merge each other at every step, three fifths of all commits; then two lines of a
fifth each that never meet, ``main`` and ``side``; and branches that end all along. So the merge bases of ``main`` and
``side``, two of them, lie two fifths of all commits down. Every commit has a manifest of its own with ``entries /
commits`` tensors that no other commit has.

``packed`` is one large pack, as after ``mlgit repack``; ``loose`` is one pack per commit, as after so many commits.
mlgit and git run in turns, each as a process of its own; a ratio is that of the median times. ``log -n 20`` is compared
with a Python that imports typer and rich and ends, too. Memory is what ``gc --dry-run`` holds at most: all of it, pages
of mapped indexes included, and its own without them.

    python benchmarks/history.py [--commits 5000] [--entries 100000] [--layouts packed loose] [--rounds 5]
                                 [--json FILE] [--folder DIRECTORY]

``--commits 100000 --entries 10000000`` is the full run. It needs about 4 GB of disk in ``--folder``, by default the
directory for temporary files; one layout is built after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from blake3 import blake3

from mlgit.objects import Commit, CommitId, Identity, Manifest, ManifestId, Parent, Role, Stage, Timestamp
from mlgit.objects.ids import preamble, tensor_preamble
from mlgit.repository import HEADS, Repository
from mlgit.storage import pack_format as layout
from mlgit.storage.codecs.plain import compress, decompress
from mlgit.storage.objects import ObjectDatabase
from mlgit.storage.pack_folder import PackFolder, pack_name

WHO = Identity("Ada", "ada@example.org")
START = 1_700_000_000
STEP_S = 60
BRANCHES = 50
TENSOR = tensor_preamble("F32", [2])
TENSOR_BYTES = 8
FORM = TENSOR.split(b"\n")[1]
RAW, ZSTD = 0, 1
EXPONENT = 20
LOOKUPS = 2000


class Shape(NamedTuple):
    """Commits by number: their parents, and the branches."""

    parents: list[tuple[int, ...]]
    branches: dict[str, int]


def shape_of(commits: int) -> Shape:
    """Return the graph that is described above."""
    parents: list[tuple[int, ...]] = [(), (0,)]
    rungs = max(1, commits * 3 // 10)
    for _ in range(1, rungs):
        left = len(parents) - 2
        parents += [(left, left + 1), (left + 1, left)]
    main, side = len(parents) - 2, len(parents) - 1
    while len(parents) < commits:
        parents += [(main,), (side,)]
        main, side = len(parents) - 2, len(parents) - 1
    step = max(1, len(parents) // BRANCHES)
    branches = {f"topic-{number}": number for number in range(0, len(parents), step)}
    return Shape(parents, branches | {"main": main, "side": side})


class Stored(NamedTuple):
    """An object of a pack in the making."""

    digest: bytes
    kind: str
    size: int
    codec: int
    stored: bytes


def record(kind: str, data: bytes) -> Stored:
    digest = blake3(preamble(kind) + data).digest()
    packed = compress(data)
    return Stored(digest, kind, len(data), *((ZSTD, packed) if len(packed) < len(data) else (RAW, data)))


def tensors(first: int, count: int) -> list[Stored]:
    """Return tensors of two floats; no two have equal bytes."""
    found = []
    for number in range(first, first + count):
        data = number.to_bytes(TENSOR_BYTES, "little")
        found.append(Stored(blake3(TENSOR + data).digest(), "tensor", TENSOR_BYTES, RAW, data))
    return found


def manifest(held: Sequence[Stored]) -> Stored:
    """Return the manifest of tensors; the canonical JSON is put together here, 20 times as fast as by its class."""
    entries = ",".join(
        f'"layer{number:06d}":{{"dtype":"F32","id":"{one.digest.hex()}","shape":[2]}}'
        for number, one in enumerate(held)
    )
    text = f'{{"factory":null,"files":[],"head":null,"tensors":{{{entries}}},"type":"manifest","version":1}}'
    return record("manifest", text.encode())


def _raw(one: Stored) -> bytes:
    return one.stored if one.codec == RAW else decompress(one.stored, one.size)


def commits_of(shape: Shape, entries: int) -> Iterator[list[Stored]]:
    """Yield what each commit brings: tensors, manifest, and the commit last."""
    ids: list[CommitId] = []
    for number, parents in enumerate(shape.parents):
        held = tensors(number * entries, entries)
        made = manifest(held)
        if number == 0 and Manifest.decode(_raw(made)).id != made.digest.hex():
            raise AssertionError("the manifests are not what mlgit would write")
        commit = Commit(
            manifest=ManifestId.from_digest(made.digest),
            parents=tuple(Parent(ids[parent], Role.INIT if place == 0 else Role.MERGE, 0.5 if place else None)
                          for place, parent in enumerate(parents)),
            stage=Stage.SNAPSHOT,
            metrics={"id_accuracy": number / len(shape.parents)},
            author=WHO,
            time=Timestamp(START + STEP_S * number),
            message=f"Change number {number}",
        )  # fmt: skip
        stored = record("commit", commit.encode())
        ids.append(CommitId.from_digest(stored.digest))
        yield [*held, made, stored]


OBJECT = np.dtype([("id", "u1", 32), ("size", "<u8"), ("first", "<u4"), ("count", "<u4"), ("metadata", "<u4"),
                   ("length", "<u2"), ("kind", "u1"), ("exponent", "u1"), ("rest", "<u8")])  # fmt: skip
CHUNK = np.dtype([("offset", "<u8"), ("stored", "<u4"), ("raw", "<u4"), ("base", "<u4"), ("codec", "u1"),
                  ("width", "u1"), ("depth", "u1"), ("rest", "u1"), ("checksum", "u1", 8)])  # fmt: skip


class PackBuilder:
    """Writes one pack without syncing it; millions of objects fit."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / f"building-{os.getpid()}"
        self._file = self._path.open("wb", buffering=1 << 20)
        self._file.write(layout.HEADER.pack(layout.MAGIC, layout.VERSION, 0))
        self._columns: dict[str, bytearray] = {"id": bytearray(), "check": bytearray()}
        self._numbers: list[tuple[int, int, int, int]] = []
        self._parts: list[np.ndarray] = []

    def add(self, objects: Sequence[Stored]) -> None:
        """Write objects; the last one gives the pack its name."""
        for one in objects:
            self._file.write(one.stored)
            self._columns["id"] += one.digest
            self._columns["check"] += layout.checksum(one.stored)
            self._numbers.append((one.size, len(one.stored), one.codec, layout.KIND_NUMBERS[one.kind]))
        self._main = objects[-1].digest
        if len(self._numbers) > 1 << 16:
            self._condense()

    def _condense(self) -> None:
        self._parts.append(np.array(self._numbers, np.int64).reshape(-1, 4))
        self._numbers = []

    def publish(self) -> str:
        """Write the index and give the pack its name."""
        self._condense()
        size, stored, codec, kind = np.concatenate(self._parts).T
        count = len(size)
        chunks = np.zeros(count, CHUNK)
        ends = layout.HEADER.size + np.cumsum(stored)
        chunks["offset"], chunks["stored"], chunks["raw"] = ends - stored, stored, size
        chunks["codec"], chunks["width"] = codec, np.where(kind == layout.KIND_NUMBERS["tensor"], 4, 1)
        chunks["checksum"] = np.frombuffer(self._columns["check"], np.uint8).reshape(-1, 8)
        objects = np.zeros(count, OBJECT)
        objects["id"] = np.frombuffer(self._columns["id"], np.uint8).reshape(-1, 32)
        objects["size"], objects["first"], objects["count"] = size, np.arange(count), 1
        objects["kind"], objects["exponent"] = kind, EXPONENT
        objects["length"] = np.where(kind == layout.KIND_NUMBERS["tensor"], len(FORM), 0)
        order = np.lexsort(objects["id"].view(">u8").reshape(-1, 4).T[::-1])
        index = layout.COUNTS.pack(count, count, 0, len(FORM)) + objects[order].tobytes() + chunks.tobytes() + FORM
        digest = blake3(index).digest()
        self._file.write(index + layout.FOOTER.pack(int(ends[-1]), len(index), digest, bytes(8), layout.END_MAGIC))
        self._file.close()
        name = pack_name(self._main, digest)
        self._path.rename(self._root / name)
        return name


def build(root: Path, shape: Shape, entries: int, *, loose: bool) -> list[CommitId]:
    """Write the repository; return the ids of its commits."""
    repository = Repository.create(root)
    objects = repository.folder / "objects"
    ids = []
    builder: PackBuilder | None = None
    for made in commits_of(shape, entries):
        builder = builder or PackBuilder(objects)
        builder.add(made)
        ids.append(CommitId.from_digest(made[-1].digest))
        if loose:
            builder.publish()
            builder = None
    if builder is not None:
        builder.publish()
    folder = PackFolder(objects)
    folder.refresh()
    folder.write_catalogue()
    for name, number in shape.branches.items():
        repository.refs.update(HEADS + name, ids[number], expected=None, who=WHO, when=Timestamp(START), reason="built")
    return ids


def build_git(root: Path, shape: Shape) -> list[str]:
    """Write the same history with git; return the ids of its commits."""
    root.mkdir()
    git = ["git", "-C", str(root)]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    lines = []
    for number, parents in enumerate(shape.parents):
        message = f"Change number {number}"
        lines += ["commit refs/heads/building", f"mark :{number + 1}",
                  f"committer {WHO} {START + STEP_S * number} +0000", f"data {len(message)}", message]  # fmt: skip
        if not parents:
            lines.append("deleteall")
        lines += [f"{'merge' if place else 'from'} :{parent + 1}" for place, parent in enumerate(parents)]
        lines.append("")
    for name, number in shape.branches.items():
        lines += [f"reset refs/heads/{name}", f"from :{number + 1}", ""]
    marks = root / "marks"
    subprocess.run([*git, "fast-import", "--quiet", "--force", f"--export-marks={marks}"],
                   input="\n".join(lines), text=True, check=True)  # fmt: skip
    subprocess.run([*git, "update-ref", "-d", "refs/heads/building"], check=True)
    subprocess.run([*git, "gc", "--quiet"], check=True)
    found = dict(line.split() for line in marks.read_text().splitlines())
    return [found[f":{number + 1}"] for number in range(len(shape.parents))]


@dataclass(frozen=True)
class Run:
    """One run of a program."""

    seconds: float
    own_bytes: int
    peak_bytes: int
    output: str


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str], *, watch: bool = False) -> Run:
    """Run a program to its end; with ``watch`` look at its memory every 20 ms."""
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output)
        own = peak = 0
        while watch and process.poll() is None:
            with suppress(OSError, KeyError):  # it may end meanwhile
                text = Path(f"/proc/{process.pid}/status").read_text()
                sizes = dict(line.split(":", 1) for line in text.splitlines())
                own = max(own, int(sizes["RssAnon"].split()[0]) * 1024)
                peak = max(peak, int(sizes["VmHWM"].split()[0]) * 1024)
            time.sleep(0.02)
        code = process.wait()
        took = time.perf_counter() - start
        if code:
            raise subprocess.CalledProcessError(code, command)
        output.seek(0)
        return Run(took, own, peak, output.read().decode())


def questions(shape: Shape, ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the questions that mlgit and git answer alike, as arguments, by what the table calls them."""
    count = len(shape.parents)
    return {
        "log -n 20": ["log", "-n", "20", "--oneline"],
        "log --all": ["log", "--all", "--oneline"],
        "merge-base --all": ["merge-base", "--all", "main", "side"],
        "merge-base --is-ancestor": ["merge-base", "--is-ancestor", ids[count // 10], "main"],
        "branch --contains, old": ["branch", "--contains", ids[count // 10]],
        "branch --contains, new": ["branch", "--contains", ids[count * 9 // 10]],
        "branch --merged": ["branch", "--merged", "side"],
        "far ancestor": ["log", "-n", "1", "--oneline", f"main~{count // 4}"],
        "prefix of an id": ["log", "-n", "1", "--oneline", ids[count // 3][:12]],
    }


class Bench:
    """Runs programs in turns and keeps their times."""

    def __init__(self, root: Path, git: Path, rounds: int, folder: Path) -> None:
        self.root, self.git, self.rounds = root, git, rounds
        self.environment = os.environ | {"HOME": str(folder), "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
                                         "GIT_CONFIG_NOSYSTEM": "1", "NO_COLOR": "1"}  # fmt: skip
        for name in ("XDG_CONFIG_HOME", "PYTHONDONTWRITEBYTECODE"):
            self.environment.pop(name, None)
        self.mlgit = [sys.executable, "-c", "from mlgit.cli.main import run; run()"]

    def ours(self, arguments: Sequence[str], *, watch: bool = False) -> Run:
        """Run mlgit."""
        return run([*self.mlgit, *arguments], self.root, self.environment, watch=watch)

    def theirs(self, arguments: Sequence[str]) -> Run:
        """Run git."""
        return run(["git", *arguments], self.git, self.environment)

    def against(self, programs: Mapping[str, Callable[[], Run]]) -> dict[str, Any]:
        """Return the median times of programs that run in turns, after one turn that does not count.

        What takes more than 20 seconds runs once.
        """
        times: dict[str, list[float]] = {name: [program().seconds] for name, program in programs.items()}
        if max(map(max, times.values())) < 20:
            times = {name: [] for name in programs}
            for _ in range(self.rounds):
                for name, program in programs.items():
                    times[name].append(program().seconds)
        medians = {name: statistics.median(found) for name, found in times.items()}
        first, *others = medians
        return {
            "seconds": {name: round(value, 4) for name, value in medians.items()},
            "ratios": {name: round(medians[first] / medians[name], 2) for name in others},
        }


def check_answers(bench: Bench, shape: Shape, ours: Sequence[str], theirs: Sequence[str]) -> None:
    """Compare what mlgit and git answer.

    Raises:
        AssertionError: They differ.
    """
    numbers = {one: number for ids in (ours, theirs) for number, one in enumerate(ids)}
    for name in ("merge-base --all", "branch --contains, old", "branch --contains, new", "branch --merged"):
        one = bench.ours(questions(shape, ours)[name]).output
        other = bench.theirs(questions(shape, theirs)[name]).output
        if name.startswith("merge"):
            found = [sorted(numbers[each] for each in text.split()) for text in (one, other)]
        else:
            found = [sorted(line[2:].split()[0] for line in text.splitlines()) for text in (one, other)]
        if found[0] != found[1]:
            raise AssertionError(f"{name}: mlgit says {found[0][:9]}, git says {found[1][:9]}")
    lengths = [
        len(program(["log", "--all", "--oneline"]).output.splitlines()) for program in (bench.ours, bench.theirs)
    ]
    if lengths != [len(ours)] * 2:
        raise AssertionError(f"log --all has {lengths[0]} lines with mlgit, {lengths[1]} with git, of {len(ours)}")


def lookups(root: Path, ids: Sequence[CommitId]) -> dict[str, float]:
    """Return microseconds per look-up of an object that is there, one that is not, and a prefix of 12 digits."""
    objects = ObjectDatabase(root / ".mlgit" / "objects")
    some = [ids[number * 7919 % len(ids)] for number in range(LOOKUPS)]
    missing = [CommitId.from_digest(blake3(one.encode()).digest()) for one in some]
    start = time.perf_counter()
    objects.size(some[0])
    found = {"first of a process": time.perf_counter() - start}
    folder = PackFolder(objects.root)
    folder.refresh()
    for name, wanted in (("hit", some), ("miss", missing)):
        start = time.perf_counter()
        answers = [folder.contains(one.digest) for one in wanted]
        found[name] = (time.perf_counter() - start) / LOOKUPS
        if answers != [name == "hit"] * LOOKUPS:
            raise AssertionError(f"{name}: {answers.count(True)} of {LOOKUPS} were found")
    start = time.perf_counter()
    if [objects.with_prefix(one[:12]) for one in some[:20]] != [[one] for one in some[:20]]:
        raise AssertionError("a prefix was not found")
    found["prefix, the folder listed each time"] = (time.perf_counter() - start) / 20
    return {name: round(seconds * 1e6, 1) for name, seconds in found.items()}


def measure(bench: Bench, shape: Shape, ids: Sequence[CommitId], git_ids: Sequence[str]) -> dict[str, Any]:
    """Return all figures of one layout."""
    graph = bench.root / ".mlgit" / "objects" / "commit-graph"
    graph.unlink(missing_ok=True)
    without = bench.ours(["merge-base", "--all", "main", "side"])
    result: dict[str, Any] = {"merge-base without a commit-graph, writing it, s": round(without.seconds, 2)}
    result["commit-graph bytes"] = graph.stat().st_size if graph.exists() else 0
    check_answers(bench, shape, ids, git_ids)
    rows = {}
    theirs = questions(shape, git_ids)
    bare = [sys.executable, "-c", "import typer, rich"]
    for name, arguments in questions(shape, ids).items():
        rows[name] = bench.against({
            "mlgit": lambda a=arguments: bench.ours(a),
            "git": lambda a=theirs[name]: bench.theirs(a),
            "import typer, rich": lambda: run(bare, bench.root, bench.environment),
        })  # fmt: skip
        tell(name, rows[name])
    rows["status"] = bench.against({
        "mlgit": lambda: bench.ours(["status"]),
        "git": lambda: bench.theirs(["status"]),
        "import typer, rich": lambda: run(bare, bench.root, bench.environment),
    })  # fmt: skip
    tell("status", rows["status"])
    result["questions"] = rows
    result["look-ups, µs"] = lookups(bench.root, ids)
    idle = bench.ours(["status"], watch=True)
    collected = bench.ours(["gc", "--dry-run", "--grace", "0"], watch=True)
    result["gc --dry-run"] = {
        "seconds": round(collected.seconds, 2),
        "own bytes": collected.own_bytes,
        "own bytes of status": idle.own_bytes,
        "bytes with mapped files": collected.peak_bytes,
    }
    return result


def tell(name: str, row: Mapping[str, Any]) -> None:
    times = "  ".join(f"{program} {seconds * 1000:9.1f} ms" for program, seconds in row["seconds"].items())
    ratios = "  ".join(f"{ratio:g} x {program}" for program, ratio in row["ratios"].items())
    print(f"  {name:26} {times}   {ratios}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commits", type=int, default=5000, help="about how many commits")
    parser.add_argument("--entries", type=int, default=100_000, help="tensors in all manifests together")
    parser.add_argument("--layouts", nargs="+", choices=["packed", "loose"], default=["packed", "loose"])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each program that count")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--folder", type=Path, help="where to build; by default the directory for temporary files")
    options = parser.parse_args()
    shape = shape_of(options.commits)
    commits, entries = len(shape.parents), max(1, options.entries // options.commits)
    result: dict[str, Any] = {"commits": commits, "entries": commits * entries, "branches": len(shape.branches),
                              "rounds": options.rounds, "load": os.getloadavg()[0], "layouts": {}}  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="mlgit-history-", dir=options.folder) as name:
        folder = Path(name)
        git_ids = build_git(folder / "git", shape)
        for form in options.layouts:
            start = time.perf_counter()
            ids = build(folder / "model", shape, entries, loose=form == "loose")
            size = sum(entry.stat().st_size for entry in os.scandir(folder / "model" / ".mlgit" / "objects"))
            took = time.perf_counter() - start
            print(f"{form}: {commits} commits, {commits * entries} tensors, {size / 1e9:.2f} GB, built in {took:.0f} s")
            bench = Bench(folder / "model", folder / "git", options.rounds, folder)
            found = measure(bench, shape, ids, git_ids)
            objects = commits * (entries + 2)
            memory = found["gc --dry-run"]
            memory["own bytes per object"] = round((memory["own bytes"] - memory["own bytes of status"]) / objects, 1)
            print(
                json.dumps({name: found[name] for name in found if name != "questions"}, indent=2, ensure_ascii=False)
            )
            result["layouts"][form] = found
            shutil.rmtree(folder / "model")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
