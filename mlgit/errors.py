"""Every error mlgit raises, and the exit code each one means.

One class per reaction of the caller; within a class, ``kind`` names the cause and never changes once released::

    MlgitError                          70
    ├── CheckFailedError                 1   ran to the end, the answer is no
    ├── InvalidInputError (ValueError)   2   wrong arguments, file or configuration
    │   └── IncompatibleWeightsError     2   models that do not fit together
    ├── NotFoundError (KeyError)        10   no such repository, revision, ref, plug-in
    ├── AlreadyExistsError              11   branch, tag or path is taken
    ├── ConflictError                   12   a ref moved or the repository is locked; try again
    ├── CorruptObjectError              13   stored bytes do not match their id
    ├── RemoteError                     14   network, access; may pass
    ├── JobFailedError                  15   a training or evaluation job failed
    └── FileSystemError                 16   the operating system refused to read or write

A message says what happened, with the values, in lower case and without a full stop; a hint says what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class MlgitError(Exception):
    """Base of all errors of mlgit; raised itself only for bugs.

    Args:
        message: What happened, with the values; lower case, no full stop.
        kind: Stable name of the cause, in kebab case, for scripts.
        hint: What the user can do about it.
    """

    exit_code: ClassVar[int] = 70
    default_kind: ClassVar[str] = "bug"

    def __init__(self, message: str, *, kind: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind or self.default_kind
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class CheckFailedError(MlgitError):
    """The command ran to its end and the answer is no."""

    exit_code = 1
    default_kind = "check-failed"


class InvalidInputError(MlgitError, ValueError):
    """An argument, a file or a configuration value that cannot be used."""

    exit_code = 2
    default_kind = "invalid-input"


class IncompatibleWeightsError(InvalidInputError):
    """Models whose names, shapes or dtypes do not fit together."""

    default_kind = "incompatible-weights"


class NotFoundError(MlgitError, KeyError):
    """Something that was named does not exist."""

    exit_code = 10
    default_kind = "not-found"


class AlreadyExistsError(MlgitError):
    """A name or path is taken."""

    exit_code = 11
    default_kind = "already-exists"


class ConflictError(MlgitError):
    """Somebody else changed the same thing, or uncommitted work is in the way; nothing was changed."""

    exit_code = 12
    default_kind = "conflict"


class CorruptObjectError(MlgitError):
    """Stored bytes do not match their id."""

    exit_code = 13
    default_kind = "corrupt-object"


class RemoteError(MlgitError):
    """A network or a remote place refused; it may pass."""

    exit_code = 14
    default_kind = "remote"


class JobFailedError(MlgitError):
    """A training or evaluation job failed."""

    exit_code = 15
    default_kind = "job-failed"


class FileSystemError(MlgitError):
    """The operating system refused to read or write: disk full, read-only, no permission."""

    exit_code = 16
    default_kind = "file-system"


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return a hint naming the closest known name, or all of them when none is close.

    Args:
        name: What the user wrote.
        known: The names that exist.

    Returns:
        ``did you mean 'x'?``, ``known: a, b``, or None when nothing is known.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    if names:
        return "known: " + ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return None
