"""The examples run from beginning to end and leave what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlgit import Repository
from mlgit.objects import Role, Stage

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # three minutes and more where others use the cores


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run an example with an `mlgit` of this environment on the path, and a home of its own."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "mlgit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mlgit "$@"\n')
    (programs / "mlgit").chmod(0o755)
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "HOME": str(folder),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def check_what_is_left(root: Path) -> None:
    """Both examples spend the same day."""
    repository = Repository(root)
    assert {"main", "aux/parity", "digit/0", "digit/1", "soup", "stranger"} == set(repository.branches())
    soup = repository.commit_of(repository.resolve("soup~1"))
    assert soup.stage is Stage.MERGE
    assert [parent.role for parent in soup.parents] == [Role.BASE, Role.MERGE, Role.MERGE]
    assert [parent.coefficient for parent in soup.parents] == [None, 0.5, 0.5]
    members = {repository.resolve(name) for name in ("digit/0", "digit/1")}
    assert {parent.id for parent in soup.parents[1:]} == members
    assert repository.commit_of(repository.resolve("stranger")).stage is Stage.TARGET  # the merge wrote nothing
    assert len(list(repository.refs.names("refs/certificates/"))) == 1
    assert repository.status().clean
    assert repository.fsck().sound
    copy = Repository(root.with_name(root.name + "-copy"))
    assert copy.resolve("origin/soup") == repository.resolve("soup")


def test_the_script_runs(tmp_path: Path) -> None:
    result = run([str(EXAMPLES / "day.sh"), "day"], tmp_path)
    assert result.returncode == 0, result.stderr
    assert "are not linearly connected" in result.stderr
    assert "certificate rotated-digits: passed" in result.stdout
    check_what_is_left(tmp_path / "day")


def test_the_script_says_how_it_is_used(tmp_path: Path) -> None:
    result = run([str(EXAMPLES / "day.sh")], tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r"usage: .*day\.sh DIR\n", result.stderr)


def test_the_program_runs(tmp_path: Path) -> None:
    result = run([sys.executable, "-W", "error", str(EXAMPLES / "day.py"), "day"], tmp_path)
    assert result.returncode == 0, result.stderr
    assert "refused: " in result.stdout
    assert "certificate rotated-digits: passed" in result.stdout
    assert "the clone's weights are the same: True" in result.stdout
    assert "the clone is sound: True" in result.stdout
    check_what_is_left(tmp_path / "day")
