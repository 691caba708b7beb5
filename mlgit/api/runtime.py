"""Where models run when the caller does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlgit.porcelain.open_model import Runtime


def runtime_or_default(given: Runtime | None) -> Runtime:
    """Return what was given, or the default."""
    from mlgit.porcelain.open_model import DEFAULT_RUNTIME  # noqa: PLC0415 - imports torch

    return given or DEFAULT_RUNTIME
