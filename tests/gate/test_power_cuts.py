"""Power cuts: the file system stops at once, with all that was not synced, and everything acknowledged is there.

The file system is a file of its own, mounted through a loop device and shut down by an ioctl that drops its log. What
is in a disk's own cache and may be written in another order is not part of this.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from faulty import Program
from faulty.client import python_path

SHUTDOWN, DROP_LOG = 0x8004587D, 2
SIZES = {"ext4": 64 << 20, "xfs": 310 << 20}
MAKERS = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}
CONTROLS = 10
TRIED: dict[str, Counter[str]] = {}


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """Mount a file system that is a file."""
    subprocess.run(["mount", "-o", "loop", image, place], check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True, capture_output=True)


@pytest.fixture(params=SIZES)
def disk(request: pytest.FixtureRequest, tmp_path: Path, plain: Program) -> tuple[str, Path]:
    """Return the kind and the image of a file system that holds a repository of one commit."""
    kind = request.param
    if os.getuid() != 0 or shutil.which(MAKERS[kind][0]) is None or not Path("/dev/loop-control").exists():
        pytest.skip(f"a power cut on {kind} needs root, loop devices and {MAKERS[kind][0]}")
    image, place = tmp_path / "start", tmp_path / "mounted"
    place.mkdir()
    with image.open("wb") as stream:
        stream.truncate(SIZES[kind])
    subprocess.run([*MAKERS[kind], image], check=True, capture_output=True)
    try:
        with mounted(image, place):
            root = place / "model"
            plain.mlgit("init", root)
            (root / "notes.txt").write_text("one\n")
            plain.mlgit("commit", "-m", "first", cwd=root)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"a loop device cannot be mounted here: {error.stderr.decode().strip()}")
    return kind, image


def cut(start: Path, delay_s: float, environment: dict[str, str]) -> tuple[list[dict[str, Any]], Path, bytes]:
    """Let a writer work on a copy of a disk, cut its power; return what it acknowledged, the copy, and its errors."""
    image, place = start.with_name("cut"), start.with_name("mounted")
    subprocess.run(["cp", "--sparse=always", start, image], check=True)
    found = importlib.util.find_spec("committer")
    assert found is not None
    said = bytearray()
    with mounted(image, place):
        writer = subprocess.Popen(
            [sys.executable, str(found.origin), place / "model", "1"],
            env=environment | python_path(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert writer.stdout is not None
        while b"\n" not in said:  # it has begun
            said += os.read(writer.stdout.fileno(), 1 << 16) or b"\n"
        end = time.monotonic() + delay_s
        while (rest := end - time.monotonic()) > 0:
            if select.select([writer.stdout], [], [], rest)[0]:
                said += os.read(writer.stdout.fileno(), 1 << 16)
        descriptor = os.open(place, os.O_RDONLY)
        fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", DROP_LOG))
        os.close(descriptor)
        time.sleep(0.02)
        writer.kill()  # it gets errors from now on; what it said until now was said before the cut or is true
        rest_said, errors = writer.communicate()
    lines = (said + rest_said).decode().split("\n")
    return [json.loads(line) for line in lines[:-1] if line], image, errors


def losses(program: Program, image: Path, acknowledged: list[dict[str, Any]]) -> list[object]:
    """Mount a disk again and return everything that is not as it was acknowledged."""
    with mounted(image, image.with_name("mounted")) as place:
        root = place / "model"
        steps = [["status"], ["fsck"], ["log", "--json", "--all"], ["tag"], ["commit", "--allow-empty", "-m", "later"]]
        results = program.do(*[["mlgit", "-C", root, *step] for step in steps])
        wrong: list[object] = [ran for ran in results if ran["code"]]
        with suppress(ValueError):
            known = results[2]["out"]
            wrong += [f"lost {line}" for line in acknowledged if line.get("commit", "") not in known]
            tags = results[3]["out"].split()
            wrong += [f"lost {line}" for line in acknowledged if line.get("tag", "t1") not in [*tags, "t1"]]
        return wrong


@pytest.mark.timeout(0)
def test_nothing_acknowledged_is_lost_in_a_power_cut(
    plain: Program,
    disk: tuple[str, Path],
    gate_environment: dict[str, str],
    count: Callable[[int, int], int],
    gate_report: Callable[..., None],
) -> None:
    kind, image = disk
    dice, found, wrong = random.Random(1), Counter[str](), list[object]()
    for number in range(count(2, 200)):
        acknowledged, after, errors = cut(image, dice.uniform(0, 1.2), gate_environment)
        assert acknowledged, errors
        lost = losses(plain, after, acknowledged)
        wrong += [[kind, number, len(acknowledged), *lost]] if lost else []
        found.update(cuts=1, acknowledged=len(acknowledged), losses=bool(lost))
    gate_report(f"power cuts on {kind}", **found)
    assert wrong == [], "\n".join(map(str, wrong[:10]))


@pytest.mark.timeout(0)
def test_without_syncing_a_power_cut_loses_acknowledged_work(
    plain: Program,
    shim: Path,
    disk: tuple[str, Path],
    gate_environment: dict[str, str],
    count: Callable[[int, int], int],
    gate_report: Callable[..., None],
) -> None:
    """The control: were this to pass without a loss, the test above would prove nothing."""
    kind, image = disk
    dice, lost = random.Random(2), 0
    environment = gate_environment | {"LD_PRELOAD": str(shim), "FAULTS_NO_SYNC": "1"}
    runs = count(2, CONTROLS)
    for _ in range(runs):
        acknowledged, after, errors = cut(image, dice.uniform(0.1, 1.2), environment)
        assert acknowledged, errors
        lost += bool(losses(plain, after, acknowledged))
    gate_report(f"power cuts on {kind} without fsync", runs=runs, with_losses=lost)
    assert lost >= 0.8 * runs
