"""Who does something, and when: part of every record."""

from __future__ import annotations

from dataclasses import dataclass

from mlgit.errors import InvalidInputError
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
        """Return the person for records in ``repository``.

        Raises:
            InvalidInputError: Name or address is not valid Unicode.
        """
        found = self.identity or repository.identity
        check_text(found.name, "the author's name")
        check_text(found.email, "the author's address")
        return found

    def when(self) -> Timestamp:
        """Return the moment for records."""
        return self.time or Timestamp.now()


def check_text(text: str, what: str) -> None:
    """Refuse text that came as bytes which are not UTF-8.

    Args:
        text: As Python read it from the command line or the environment.
        what: What it is, for the error: ``the message``.

    Raises:
        InvalidInputError: It has lone surrogates.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{what} is not valid UTF-8 at character {error.start}", kind="not-utf-8", hint="write it in UTF-8"
        ) from error


ANYONE = Actor()
"""The actor the settings and the clock name."""
