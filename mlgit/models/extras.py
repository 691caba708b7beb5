"""Libraries of models that mlgit does not need, but can use where they are installed."""

from __future__ import annotations

import importlib
import warnings
from importlib import metadata
from typing import Any

from mlgit.errors import NotFoundError


def import_extra(module: str, extra: str) -> Any:
    """Import a module of a library that comes with one of mlgit's extras.

    Args:
        module: ``timm``, or a module of it.
        extra: The extra's name, ``pip install 'mlgit[NAME]'``.

    Returns:
        The module; untyped, since whether it is there is not known before.

    Raises:
        NotFoundError: The library is not installed.
    """
    library = module.partition(".")[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of their own dependencies; no user of mlgit can act on them
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != library:
            raise
        raise NotFoundError(
            f"'{library}' is not installed, which models of '{extra}:' need",
            kind="missing-extra",
            hint=f"install it with `pip install 'mlgit[{extra}]'`",
        ) from error


def library_versions(factory: str | None) -> dict[str, str]:
    """Return the version of the library that a factory's models come from, by name; nothing for mlgit's own.

    Args:
        factory: ``timm:NAME``, or None.
    """
    scheme = (factory or "").partition(":")[0]
    return {scheme: metadata.version(scheme)} if scheme in ("timm", "transformers") else {}
