"""Asking who descends from whom, with the help of the commit-graph file, which is kept up to date on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mlgit.errors import CorruptObjectError, FileSystemError, NotFoundError
from mlgit.history.names import peel
from mlgit.objects import Commit, CommitId
from mlgit.repository import Repository
from mlgit.storage import commit_graph
from mlgit.storage.commit_graph import CommitGraph, Shape, shape_of

WRITE_AFTER = 1000
"""After a question for which more commits than this had to be read, the file is written."""


@dataclass(frozen=True)
class Ancestry:
    """What questions about ancestors are asked of.

    Attributes:
        repository: Where.
        graph: What is known without reading; None without a sound file.
    """

    repository: Repository
    graph: CommitGraph | None
    _met: dict[CommitId, Shape] = field(default_factory=dict)

    def read(self, commit_id: CommitId) -> Commit:
        """Return a commit, and remember its shape.

        Raises:
            NotFoundError, CorruptObjectError: It is missing or damaged.
        """
        commit = self.repository.commit_of(commit_id)
        self._met[commit_id] = shape_of(commit)
        return commit

    def keep(self, *, after: int) -> None:
        """Write the file if more commits than ``after`` were read; one that cannot be written is done without."""
        if len(self._met) > after:
            with suppress(FileSystemError, NotFoundError, CorruptObjectError):
                data = commit_graph.grown(self.graph, self._shape, [*tips(self.repository), *self._met])
                if data is not None:
                    commit_graph.write(graph_path(self.repository), data)

    def _shape(self, commit_id: CommitId) -> Shape:
        return self._met.get(commit_id) or shape_of(self.repository.commit_of(commit_id))


def graph_path(repository: Repository) -> Path:
    """Return where the commit-graph file of a repository is."""
    return repository.objects.root / commit_graph.NAME


def tips(repository: Repository) -> list[CommitId]:
    """Return the commits that refs and HEAD name."""
    found = [peel(repository.refs.read(name), repository.objects) for name in repository.refs.names()]
    return [commit_id for commit_id in (repository.head, *found) if commit_id is not None]


@contextmanager
def ancestry(repository: Repository) -> Iterator[Ancestry]:
    """Return a context manager for questions about the ancestors of commits."""
    asked = Ancestry(repository, repository.objects.graph())
    yield asked
    asked.keep(after=WRITE_AFTER)


def replace_graph(repository: Repository, shapes: Mapping[bytes, Shape]) -> None:
    """Write the file anew with these commits alone; one that cannot be written is done without."""
    with suppress(FileSystemError):
        commit_graph.write(graph_path(repository), commit_graph.build(shapes))


def check_graph(repository: Repository) -> Iterator[str]:
    """Compare the commit-graph file with the commits and yield what is wrong."""
    return commit_graph.check(graph_path(repository), repository.commit_of)
