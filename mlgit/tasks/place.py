"""What a kind of task may use on this machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mlgit.progress import NoProgress, Progress


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a task is opened; nothing of it may change what the task is.

    Attributes:
        data: Where the data lie, or None.
        cache: A folder, not necessarily there yet, for what can be computed again from the data: digests of files,
            decoded images. None: nothing is kept on disk.
        trust_code: Whether code from outside mlgit may run.
        search: Where ``python:`` code is looked for first: the repository's root.
        progress: Is told of long work.
    """

    data: Path | None = None
    cache: Path | None = None
    trust_code: bool = False
    search: Path | None = None
    progress: Progress = field(default_factory=NoProgress)
