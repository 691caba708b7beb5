"""Committers killed at random moments while others go on: nothing acknowledged is lost, nobody is locked out."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty import Program
from faulty.client import python_path
from faulty.server import leftovers

from mlgit.history import ancestors
from mlgit.objects import CommitId
from mlgit.porcelain.fsck import fsck
from mlgit.repository import Repository

COMMITTERS = 8
KILLED = "-9"


@pytest.mark.timeout(0)
def test_killed_committers_lose_nothing_and_keep_nobody_out(
    plain: Program,
    gate_environment: dict[str, str],
    place: Path,
    count: Callable[[int, int], int],
    gate_report: Callable[..., None],
) -> None:
    root, kills = place / "model", count(20, 1000)
    plain.mlgit("init", root)
    (root / "notes.txt").write_text("one\n")
    plain.mlgit("commit", "-m", "first", cwd=root)
    found = importlib.util.find_spec("committer")
    assert found is not None
    program = [sys.executable, str(found.origin), root, str(COMMITTERS), str(kills), "1"]
    environment = gate_environment | python_path()
    ran = subprocess.run(program, capture_output=True, check=False, env=environment, timeout=7200)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert not (place / "errors").exists(), (place / "errors").read_text()
    assert said == {"ends": {KILLED: kills}, "unsound": []}  # nobody ended otherwise

    lines = [json.loads(line) for line in (place / "acknowledged").read_text().splitlines()]
    commits = [line for line in lines if "commit" in line]
    repository = Repository(root)
    for branch in {line["branch"] for line in commits}:
        tip = repository.refs.read(branch)
        assert tip is not None
        history = ancestors(repository.commit_of, [CommitId(tip)])
        assert {line["commit"] for line in commits if line["branch"] == branch} <= history
    state = fsck(repository)
    assert state.sound, state.hurt
    assert state.commits > len({line["commit"] for line in commits})
    for command in (["status"], ["commit", "--allow-empty", "-m", "later"], ["gc", "--grace", "0"], ["fsck"]):
        plain.mlgit(*command, cwd=root)
    assert leftovers(str(place)) == []
    assert len(commits) > kills / 2  # they were at work when they were killed
    assert any("collected" in line for line in lines)
    gate_report(
        f"random kills of {COMMITTERS} committers and a collector",
        kills=kills,
        acknowledged=len(commits),
        lost=0,
        collections=len(lines) - len(commits),
    )
