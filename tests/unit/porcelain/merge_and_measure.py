"""Merge commits in a process of its own, and print what it held at most over one that has only imported torch.

python merge_and_measure.py REPOSITORY CORES REVISION...
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch  # noqa: F401 - its memory does not count


def peak() -> int:
    """Return the most memory that this process has held, in bytes."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("the system does not tell")


def main() -> None:
    root, cores, *revisions = sys.argv[1:]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    before = peak()
    from mlgit.porcelain.merge import merge
    from mlgit.repository import Repository

    made = merge(Repository(Path(root)), revisions, "soup")
    assert made.commit is not None
    sys.stdout.write(json.dumps({"manifest": made.commit.manifest, "grown": peak() - before}))


main()
