"""``mlgit restore``: give up uncommitted changes of files, or take files from another commit."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from mlgit.errors import InvalidInputError, NotFoundError, did_you_mean
from mlgit.objects import Manifest
from mlgit.objects.many import making_many
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.worktree.checkout import checkout, remember
from mlgit.worktree.snapshot import Hashing, snapshot
from mlgit.worktree.status import committed_contents, file_changes, working_contents


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What was restored.

    Attributes:
        paths: Files that were written, sorted.
    """

    paths: tuple[str, ...]


def restore(
    repository: Repository, paths: Sequence[str], *, source: str = "HEAD", progress: Progress | None = None
) -> RestoreResult:
    """Write committed files over the working ones.

    Args:
        repository: Where.
        paths: Files or directories relative to the model directory; ``.`` is all of it.
        source: Revision to take them from.
        progress: Is told of files.

    Raises:
        NotFoundError: A path that ``source`` does not hold.
    """
    with repository.lock(), making_many():
        manifest_id = repository.commit_of(repository.resolve(source)).manifest
        manifest = repository.manifest(manifest_id)
        wanted = _matching(manifest, paths, source)
        target = committed_contents(repository, manifest)
        try:
            current = snapshot(repository, Hashing(), progress=progress)
            working, seen = working_contents(current), current.files
        except InvalidInputError:
            working, seen = {}, {}  # a working file that cannot be read is just what should be overwritten
        differing = [
            change.path for change in file_changes(target, working) if change.path in wanted and change.path in target
        ]
        checkout(repository, manifest, paths=differing, progress=progress)
        head = repository.head
        if head is not None and manifest_id == repository.commit_of(head).manifest:
            clean = [path for path in target if path in wanted or working.get(path) == target[path]]
            remember(
                repository,
                manifest,
                clean,
                seen={path: seen[path] for path in clean if path in seen and path not in differing},
            )
    return RestoreResult(tuple(differing))


def _matching(manifest: Manifest, paths: Sequence[str], source: str) -> set[str]:
    known = [file.path for file in manifest.files]
    wanted: set[str] = set()
    for path in paths:
        plain = posixpath.normpath(path)
        found = {name for name in known if plain in {".", name} or name.startswith(plain + "/")}
        if not found:
            raise NotFoundError(
                f"'{source}' holds no file '{path}'", kind="unknown-path", hint=did_you_mean(plain, known)
            )
        wanted |= found
    return wanted
