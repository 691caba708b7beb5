"""What a script's code was when it ran: the git commit of the directory it lies in, and what differed from it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mlgit.objects import JsonValue

MAX_DIFF_BYTES = 64 * 2**10
"""A longer difference is recorded by its size and SHA-256 only."""
_SCRIPTS = (".py", ".sh", ".bash", ".jl", ".r", ".lua")
_TIMEOUT_S = 30.0


def code_state(command: Sequence[str], directory: Path, *, with_diff: bool = True) -> dict[str, JsonValue]:
    """Describe the code that a command runs.

    The script is the first part of the command that is a file with the name of one, ``train.py`` or ``run.sh``; git is
    asked in its directory, or in ``directory`` where there is none.

    Args:
        command: Program and arguments.
        directory: Where it runs.
        with_diff: Record the uncommitted difference itself, not only that there is one. It holds whatever stands in
            the tracked files: secrets too.

    Returns:
        ``script`` and its ``sha256``; in a git repository ``commit``, ``dirty``, ``untracked`` (a number), and of an
        uncommitted difference ``diff_bytes``, ``diff_sha256`` and, unless it is too long, ``diff``.
    """
    named = (directory / part for part in command if part.lower().endswith(_SCRIPTS))
    script = next((path for path in named if path.is_file()), None)
    found: dict[str, JsonValue] = {}
    if script is not None:
        found |= {"script": script.name, "sha256": _digest(script)}
    place = directory if script is None else script.resolve().parent
    commit = _git(place, "rev-parse", "--verify", "HEAD")
    status = _git(place, "status", "--porcelain", "--untracked-files=normal")
    if commit is None or status is None:
        return found
    lines = status.decode("utf-8", "replace").splitlines()
    untracked = sum(line.startswith("??") for line in lines)
    found |= {"commit": commit.decode("ascii").strip(), "dirty": len(lines) > untracked, "untracked": untracked}
    diff = _git(place, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD", "--", ":/")
    if diff:
        found |= {"diff_bytes": len(diff), "diff_sha256": hashlib.sha256(diff).hexdigest()}
        if with_diff and len(diff) <= MAX_DIFF_BYTES:
            found["diff"] = diff.decode("utf-8", "replace")
    return found


def _digest(script: Path) -> str | None:
    try:
        with script.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:  # it may be run, but not read
        return None


def _git(directory: Path, *arguments: str) -> bytes | None:
    """Return what git prints; None without git, outside of a repository, or where it fails."""
    program = shutil.which("git")
    if program is None:
        return None
    command = [program, "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.quotePath=true", *arguments]
    try:
        ran = subprocess.run(
            command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ran.stdout if ran.returncode == 0 else None
