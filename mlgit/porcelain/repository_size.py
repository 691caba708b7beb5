"""How much a repository takes on disk, against the checkpoints it holds."""

from __future__ import annotations

from dataclasses import dataclass

from mlgit.history.ancestry import walk
from mlgit.objects import CommitId, TagId
from mlgit.repository import Repository


@dataclass(frozen=True, slots=True)
class RepositorySize:
    """Sizes in bytes.

    Attributes:
        commits: How many commits any name reaches.
        checkpoints_bytes: What their models would take as one file set each.
        stored_bytes: What the packs take.
    """

    commits: int
    checkpoints_bytes: int
    stored_bytes: int


def repository_size(repository: Repository) -> RepositorySize:
    """Measure a repository.

    Returns:
        Number of commits that refs reach, the sum of their checkpoints, and the bytes of all packs.
    """
    starts = []
    for name in repository.refs.names():
        value = repository.refs.read(name)
        if isinstance(value, TagId):
            starts.append(repository.objects.read_record(value).commit)
        elif isinstance(value, CommitId):
            starts.append(value)
    total = count = 0
    for _, commit in walk(repository.commit_of, dict.fromkeys(starts)):
        manifest = repository.manifest(commit.manifest)
        total += sum(entry.size_bytes for entry in manifest.tensors.values())
        count += 1
    return RepositorySize(count, total, repository.objects.stored_bytes())
