"""Measure what ``mlgit repack`` saves on a real family of models, print a table, and write JSON.

Eight commits: the four checkpoints of ``../shared/data/family`` on three branches, the one that is farthest from the
others first, and four averages of them made by ``merge``. The repository is repacked with depth 1, 2, 3 and 8 in a row,
and checked. The ideal is the best star, or tree, that there is for each tensor, found by encoding every pair.

    python benchmarks/repacking.py [--repeat 1] [--dtypes F32 BF16] [--json FILE]

``--repeat`` says how often each tensor stands in a model, under another name and with other values.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import networkx as nx
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from mlgit import Repository
from mlgit.objects import Manifest, TensorId
from mlgit.storage.codecs.selection import Content, encode_chunk, total
from mlgit.storage.pack_format import CHUNK_BYTES

FAMILY = Path(__file__).parents[2] / "shared" / "data" / "family"
AVERAGES = (("main", "a"), ("main", "a", "b"), ("a", "b"), ("main", "b"))
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16}
DEPTHS = (1, 2, 3, 8)
GROWTH = 0.37
"""What each repetition adds to the factor of its values."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [row for dtype in options.dtypes for row in measure(dtype, options.repeat)]
    print(f"{'dtype':6} {'step':22} {'bytes':>14} {'of raw':>7} {'of commits':>10} {'re-based':>8} {'seconds':>8}")
    for row in rows:
        print(
            f"{row['dtype']:6} {row['step']:22} {row['bytes']:>14,} {row['of_raw']:>7.3f} {row['of_commits']:>10.3f} "
            f"{row.get('rebased', ''):>8} {row.get('seconds', ''):>8}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


def measure(dtype: str, repeat: int) -> list[dict[str, str | float]]:
    """Return one row for each step."""
    with tempfile.TemporaryDirectory() as folder:
        repository = build(Path(folder) / "family", DTYPES[dtype], repeat)
        raw = 8 * (repository.root / "model.safetensors").stat().st_size
        star, tree = ideal(repository)
        commits = repository.objects.stored_bytes()
        overhead = commits - sum(repository.objects.stored_size(one) for one in repository.objects.ids("tensor"))
        found: list[dict[str, str | float]] = [{"step": "commits", "bytes": commits}]
        for depth in DEPTHS:
            start = time.perf_counter()
            done = repository.repack(depth=depth)
            seconds = round(time.perf_counter() - start, 2)
            found.append(
                {
                    "step": f"repack --depth {depth}",
                    "bytes": done.after_bytes,
                    "rebased": done.rebased,
                    "seconds": seconds,
                }
            )
        found += [{"step": "best star", "bytes": star + overhead}, {"step": "best tree", "bytes": tree + overhead}]
        if not repository.fsck().sound:
            raise SystemExit("the repository is damaged")
    return [
        {"dtype": dtype, **row, "of_raw": row["bytes"] / raw, "of_commits": row["bytes"] / commits} for row in found
    ]


def build(root: Path, dtype: torch.dtype, repeat: int) -> Repository:
    """Commit the family and four averages of it."""
    repository = Repository.init(root)

    def put(name: str) -> None:
        weights = {
            f"{number}.{key}": (value * (1 + number * GROWTH)).to(dtype) if value.is_floating_point() else value.clone()
            for key, value in load_file(FAMILY / f"{name}.safetensors").items()
            for number in range(repeat)
        }
        save_file(weights, root / "model.safetensors")
        repository.commit(message=name)

    put("target_inter_3")
    repository.branch("a")
    repository.branch("b")
    put("target_vanilla_0")
    for branch, name in (("a", "target_vanilla_1"), ("b", "pretrained_lp")):
        repository.switch(branch)
        put(name)
    repository.switch("main")
    for members in AVERAGES:
        repository.merge(members, " + ".join(members))
    return repository


def ideal(repository: Repository) -> tuple[int, int]:
    """Return the bytes of the best stars and of the best trees of any depth, all names together."""
    manifests: list[Manifest] = [repository.manifest(one) for one in repository.objects.ids("manifest")]  # type: ignore[arg-type]
    star = tree = 0
    for name, entry in manifests[0].tensors.items():
        ids: list[TensorId] = list(dict.fromkeys(manifest.tensors[name].id for manifest in manifests))
        values = [memoryview(repository.objects.read(one)) for one in ids]
        content = Content.of(entry.dtype)
        costs = np.array([[cost(one, None if one is other else other, content) for other in values] for one in values])
        star += int(costs.sum(axis=0).min())
        graph = nx.DiGraph()
        for place, row in enumerate(costs):
            for other, size in enumerate(row):
                graph.add_edge("whole" if place == other else other, place, weight=int(size))
        tree += int(nx.minimum_spanning_arborescence(graph).size("weight"))
    return star, tree


def cost(value: memoryview, base: memoryview | None, content: Content) -> int:
    """Return how many bytes a tensor takes."""
    return sum(
        total(encode_chunk(value[at : at + CHUNK_BYTES], content, base and base[at : at + CHUNK_BYTES])[1])
        for at in range(0, len(value), CHUNK_BYTES)
    )


if __name__ == "__main__":
    main()
