"""What a verb says on stderr is what mlgit says: libraries have no last word."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="digits are data of scikit-learn")


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mlgit", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)


def test_training_ends_without_words_of_the_libraries_below(tmp_path: Path) -> None:
    for arguments in (
        ["init"],
        ["task", "add", "t", "--kind", "digits", "--set", "part=auxiliary"],
        ["import", "mlgit:digits-cnn"],
    ):
        assert run(tmp_path, *arguments).returncode == 0
    trained = run(tmp_path, "train", "--task", "t", "--steps", "2")
    assert trained.returncode == 0
    notes = trained.stderr.splitlines()
    assert [line.partition(" ")[0] for line in notes] == ["trained", "record"], trained.stderr
