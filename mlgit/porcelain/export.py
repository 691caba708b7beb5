"""``mlgit export``: write a commit's weights for other tools."""

from __future__ import annotations

from pathlib import Path

from mlgit.objects import CommitId
from mlgit.repository import Repository
from mlgit.weights.export import Format
from mlgit.weights.export import export as write
from mlgit.weights.stored import StoredWeights


def export(
    repository: Repository, revision: str, destination: Path, *, form: Format = "safetensors", force: bool = False
) -> CommitId:
    """Write the weights of a commit.

    Args:
        repository: Where.
        revision: The commit.
        destination: A path that does not exist yet.
        form: ``safetensors``, ``huggingface`` (a directory, sharded when large) or ``pt``.
        force: Replace an existing destination.

    Returns:
        The commit that was written.

    Raises:
        NotFoundError: No such revision.
        AlreadyExistsError: The destination exists.
        InvalidInputError: No such format.
        CorruptObjectError: A stored tensor is damaged; nothing was written.
    """
    commit_id = repository.resolve(revision)
    weights = StoredWeights(repository.objects, repository.manifest_of(commit_id))
    write(weights, destination, form, force=force)
    return commit_id
