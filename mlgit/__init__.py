"""mlgit: git for neural networks.

``from mlgit import Repository, clone`` is the library; ``mlgit --help`` is the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlgit.version import __version__

__all__ = ["Repository", "__version__", "clone"]

if TYPE_CHECKING:
    from mlgit.api import Repository, clone


def __getattr__(name: str) -> object:
    """Import the library when it is used: the command line needs the version alone."""
    if name in ("Repository", "clone"):
        from mlgit import api  # noqa: PLC0415 - that is the point of this function

        return getattr(api, name)
    raise AttributeError(f"module 'mlgit' has no attribute '{name}'")
