"""The public ``Repository``: all groups of verbs in one class."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from mlgit import repository as core
from mlgit.api.care import CareVerbs
from mlgit.api.history import HistoryVerbs
from mlgit.api.merging import MergingVerbs
from mlgit.api.training import TrainingVerbs
from mlgit.porcelain import clone as cloning
from mlgit.porcelain import init as creating


class Repository(HistoryVerbs, CareVerbs, TrainingVerbs, MergingVerbs):
    """A model directory with its history, and every verb as a method.

    The constructor opens ``root`` itself; ``discover`` looks upwards from any directory, ``init`` makes a new one.
    Each method documents only what differs from the function of ``mlgit.porcelain`` it calls.

    Args:
        root: The model directory.
        user_settings: The user's own settings file, which the repository's override; None for none.

    Raises:
        NotFoundError: ``root`` is not a repository.
    """

    @classmethod
    def init(cls, directory: Path | str, *, branch: str = core.DEFAULT_BRANCH) -> Self:
        """Make a directory a repository; see ``mlgit.porcelain.init``."""
        return cls(creating.init(Path(directory), branch=branch).repository.root)


def clone(source: Path | str, directory: Path | str | None = None) -> Repository:
    """Copy a repository with its history; see ``mlgit.porcelain.clone``."""
    place = None if directory is None else Path(directory)
    return Repository(cloning.clone(Path(source), place).repository.root)
