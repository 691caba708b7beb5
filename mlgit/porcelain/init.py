"""``mlgit init``: make a directory a repository."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlgit.repository import DEFAULT_BRANCH, Repository


@dataclass(frozen=True, slots=True)
class InitResult:
    """A new repository.

    Attributes:
        repository: It.
        branch: The branch the first commit will create.
    """

    repository: Repository
    branch: str


def init(directory: Path, *, branch: str = DEFAULT_BRANCH, user_settings: Path | None = None) -> InitResult:
    """Make ``directory`` an empty repository.

    Args:
        directory: Created when missing; its files stay as they are.
        branch: Name of the first branch.
        user_settings: The user's own settings file.

    Raises:
        AlreadyExistsError: It is a repository or lies inside one.
        InvalidInputError: ``branch`` cannot be a branch's name.
        FileSystemError: The operating system refused; nothing is left behind.
    """
    return InitResult(Repository.create(directory, branch=branch, user_settings=user_settings), branch)
