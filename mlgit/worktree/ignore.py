"""Which files are not tracked: ``.mlgitignore``, with the rules of ``.gitignore``, and a few that never are."""

from __future__ import annotations

from pathlib import Path

from pathspec import GitIgnoreSpec

from mlgit.errors import InvalidInputError
from mlgit.fileio import read_file

IGNORE_FILE = ".mlgitignore"
NEVER = (".git/", ".hg/", ".svn/", "__pycache__/", ".DS_Store", "*.tmp", ".ipynb_checkpoints/")
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
"""Suffixes of files that may carry code; they are imported, never tracked as they are."""


def ignored(root: Path) -> GitIgnoreSpec:
    """Return the patterns in force for a model directory.

    Raises:
        InvalidInputError: ``.mlgitignore`` holds a pattern that is none.
    """
    try:
        own = read_file(root / IGNORE_FILE).decode("utf-8").splitlines()
    except FileNotFoundError:
        own = []
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"'{root / IGNORE_FILE}' is not UTF-8: {error}") from error
    try:
        return GitIgnoreSpec.from_lines([*NEVER, *own])
    except ValueError as error:
        raise InvalidInputError(f"'{root / IGNORE_FILE}' holds a bad pattern: {error}") from error
