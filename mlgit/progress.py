"""How long work reports its progress without knowing whether anybody looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Bar(Protocol):
    """One running piece of work."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Say that ``amount`` more units are done; ``note`` is shown beside the bar."""


class Progress(Protocol):
    """Where long work announces itself; the command line draws it, everybody else ignores it."""

    def task(self, title: str, total: int | None = None) -> AbstractContextManager[Bar]:
        """Open a bar of ``total`` units (None: unknown); leaving the context closes it."""


class _Nothing:
    def advance(self, amount: int = 1, note: str = "") -> None:
        """Ignore it."""


class NoProgress:
    """The progress nobody watches; the default everywhere."""

    @contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Bar]:
        """Return a bar that ignores everything."""
        del title, total
        yield _Nothing()
