"""The one plug-in mechanism: a literal table of names, extended by entry points of other packages.

A row is text, ``package.module:Name``, so listing names imports nothing; the object is loaded when it is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import metadata
from typing import Generic, TypeVar, cast

from mlgit.errors import InvalidInputError, NotFoundError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one kind of plug-in and where each one is found.

    Args:
        noun: What a row is, for error messages: ``merge strategy``.
        group: Entry point group in which other packages offer rows.
        builtin: Rows of mlgit itself, name -> ``module:attribute``.
    """

    def __init__(self, *, noun: str, group: str, builtin: Mapping[str, str]) -> None:
        self.noun = noun
        self.group = group
        self._builtin = dict(builtin)

    @cached_property
    def _rows(self) -> dict[str, str]:
        rows = {point.name: point.value for point in metadata.entry_points(group=self.group)}
        return rows | self._builtin  # a foreign package cannot replace a built-in name

    def names(self) -> list[str]:
        """Return all names, sorted; nothing is imported."""
        return sorted(self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def get(self, name: str) -> T:
        """Load and return the plug-in called ``name``.

        Args:
            name: A name from ``names()``.

        Returns:
            The object the row points at.

        Raises:
            NotFoundError: No row has this name; the hint gives the closest one.
            InvalidInputError: A row of another package cannot be imported.
        """
        if name not in self._rows:
            raise NotFoundError(
                f"no {self.noun} is named '{name}'",
                kind="unknown-" + self.noun.replace(" ", "-"),
                hint=did_you_mean(name, self._rows),
            )
        module, _, attribute = self._rows[name].partition(":")
        try:
            return cast("T", getattr(importlib.import_module(module), attribute))
        except (ImportError, AttributeError) as error:
            if name in self._builtin:
                raise
            raise InvalidInputError(
                f"the {self.noun} '{name}' of another package cannot be loaded from '{self._rows[name]}': {error}",
                kind="broken-plug-in",
                hint="update or remove the package that offers it",
            ) from error
