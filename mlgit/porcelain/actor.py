"""Who does something, and when: part of every record."""

from __future__ import annotations

from dataclasses import dataclass

from mlgit.objects import Identity, Timestamp
from mlgit.repository import Repository


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts and when; a missing part is filled in from the repository's settings and the clock.

    Attributes:
        identity: Who, or None for the repository's settings.
        time: When, or None for now.
    """

    identity: Identity | None = None
    time: Timestamp | None = None

    def who(self, repository: Repository) -> Identity:
        """Return the person for records in ``repository``."""
        return self.identity or repository.identity

    def when(self) -> Timestamp:
        """Return the moment for records."""
        return self.time or Timestamp.now()


ANYONE = Actor()
"""The actor the settings and the clock name."""
