"""Jobs, what they need, and how they ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from mlgit.errors import InvalidInputError
from mlgit.objects import CommitId, canonical_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a job needs while it runs.

    Attributes:
        threads: CPU threads it computes with, at least 1; None: as many as the program takes of itself.
        gpus: Whole accelerators, from 0.
        memory: Bytes of main memory, from 0; None: not known.

    Raises:
        InvalidInputError: A number is too low.
    """

    threads: int | None = None
    gpus: int = 0
    memory: int | None = None

    def __post_init__(self) -> None:
        if (self.threads is not None and self.threads < 1) or self.gpus < 0 or (self.memory or 0) < 0:
            raise InvalidInputError(
                f"a job cannot have {self.threads} threads, {self.gpus} accelerators and {self.memory} bytes",
                kind="bad-resources",
            )


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work.

    Attributes:
        arguments: Of the program, without its name: ``("train", "--task", "digit", …)``.
        start: The commit whose weights it starts from; the arguments name it too.
        resources: What it needs; no part of its identity.
    """

    arguments: tuple[str, ...]
    start: CommitId
    resources: Resources = Resources()

    @property
    def identity(self) -> str:
        """32 hexadecimal digits: equal for equal arguments and start, on every machine."""
        inputs = canonical_json({"arguments": list(self.arguments), "start": self.start})
        return blake3(b"mlgit job 1\n" + inputs).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    Attributes:
        exit_code: 0 is success; -N means that signal N ended it.
        log: What it printed.
        duration_s: How long it ran, in seconds.
    """

    exit_code: int
    log: Path
    duration_s: float

    @property
    def succeeded(self) -> bool:
        """Whether it did what it was to do."""
        return self.exit_code == 0
