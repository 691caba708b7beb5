"""Calls of code that is not mlgit's: whatever it raises becomes one error that names it."""

from __future__ import annotations

from types import TracebackType
from typing import final

import torch

from mlgit.errors import JobFailedError, MlgitError


@final
class ForeignCode:
    """A block in which a module or a function from outside runs.

    Every exception but mlgit's own and an interrupt becomes a JobFailedError; the original is its cause.

    Args:
        what: What runs, as in ``{what} failed``: ``the model``.
        hint: What to do about a failure.
    """

    def __init__(self, what: str, hint: str | None = None) -> None:
        self._what = what
        self._hint = hint

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, MlgitError) or not isinstance(error, (Exception, SystemExit)):
            return
        if isinstance(error, torch.OutOfMemoryError):
            raise JobFailedError(
                f"{self._what} needs more memory than the device has",
                kind="out-of-memory",
                hint="use a smaller batch, or `--device cpu`",
            ) from error
        said = (str(error).strip() or "no message").partition("\n")[0][:300]
        raise JobFailedError(
            f"{self._what} failed: {type(error).__name__}: {said}", kind="foreign-code-failed", hint=self._hint
        ) from error
