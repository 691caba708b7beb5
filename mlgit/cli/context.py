"""What a verb gets to know about its surroundings; the only place that reads the environment for verbs."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlgit.cli.output import Output
from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.progress import NoProgress, Progress

if TYPE_CHECKING:  # imported by those who need them: most runs draw nothing, and `help` opens no repository
    from mlgit.cli.progress import TerminalProgress
    from mlgit.porcelain.actor import Actor
    from mlgit.repository import Repository

AUTHOR_NAME = "MLGIT_AUTHOR_NAME"
AUTHOR_EMAIL = "MLGIT_AUTHOR_EMAIL"
AUTHOR_DATE = "MLGIT_AUTHOR_DATE"
NO_COLOR = "NO_COLOR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The surroundings of one run of one verb.

    Attributes:
        directory: Where the user stands, absolute; ``-C`` was applied.
        command: The arguments as the user wrote them, without the program's name; for records of how a commit was made.
        author_name: Takes the place of the configured name, if not None (``MLGIT_AUTHOR_NAME``).
        author_email: The same for the address (``MLGIT_AUTHOR_EMAIL``).
        author_date: The same for the time (``MLGIT_AUTHOR_DATE``), as written.
        user_settings: Where the user's own settings are, or None without a home; the file may be missing.
        output: Prints.
        progress: Takes the progress of long work.
    """

    directory: Path
    command: tuple[str, ...]
    author_name: str | None
    author_email: str | None
    author_date: str | None
    user_settings: Path | None
    output: Output
    progress: Progress

    def repository(self) -> Repository:
        """Open the repository the user stands in.

        Raises:
            NotFoundError: There is none here or above.
        """
        from mlgit.repository import Repository

        repository = Repository.discover(self.directory, user_settings=self.user_settings)
        repository.settle()
        return repository

    def actor(self, repository: Repository) -> Actor:
        """Return who acts and when, for the verbs that write.

        Raises:
            InvalidInputError: ``MLGIT_AUTHOR_DATE`` is not a time.
        """
        from mlgit.objects import Identity, Timestamp
        from mlgit.porcelain.actor import Actor

        identity = None
        if self.author_name or self.author_email:
            usual = repository.identity
            identity = Identity(self.author_name or usual.name, self.author_email or usual.email)
        return Actor(identity, None if self.author_date is None else Timestamp(*parse_date(self.author_date)))


def resolve(
    *, command: Sequence[str], quiet: bool, verbose: bool, as_json: bool, environment: Mapping[str, str]
) -> Context:
    """Return the context that options, environment and the two output streams make up.

    Args:
        command: The arguments of the program.
        quiet: ``-q`` was given; it wins over ``verbose``.
        verbose: ``-v`` was given.
        as_json: ``--json`` was given.
        environment: Name -> value; an empty value counts as none.

    Raises:
        NotFoundError: The current directory was deleted.
    """
    dumb = environment.get("TERM") == "dumb"
    color = not environment.get(NO_COLOR) and not dumb
    drawn = sys.stderr.isatty() and not quiet and not dumb
    bars = _bars(color=color) if drawn else None
    return Context(
        directory=_current_directory(),
        command=tuple(command),
        author_name=environment.get(AUTHOR_NAME) or None,
        author_email=environment.get(AUTHOR_EMAIL) or None,
        author_date=environment.get(AUTHOR_DATE) or None,
        user_settings=_user_settings(environment),
        output=Output(
            sys.stdout,
            sys.stderr,
            color=color,
            level=-1 if quiet else int(verbose),
            as_json=as_json,
            pause=bars.hidden if bars else nullcontext,
        ),
        progress=bars or NoProgress(),
    )


def parse_date(text: str) -> tuple[int, int]:
    """Read a time as git does: ``1700000000 +0100``, ``@1700000000`` or ISO 8601 (local time without a zone).

    Args:
        text: What the user wrote.

    Returns:
        Seconds since 1970-01-01T00:00:00Z, and minutes east of Greenwich.

    Raises:
        InvalidInputError: It is none of these.
    """
    raw = re.fullmatch(r"@?(\d{1,11})(?: ([+-])(\d\d)(\d\d))?", text.strip(), re.ASCII)
    if raw:
        minutes = int(raw[3] or 0) * 60 + int(raw[4] or 0)
        return int(raw[1]), -minutes if raw[2] == "-" else minutes
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(text.strip())
        moment = moment.astimezone() if moment.tzinfo is None else moment
        offset = moment.utcoffset()
        return int(moment.timestamp()), int(offset.total_seconds() // 60) if offset else 0
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidInputError(
            f"'{text}' is not a time",
            kind="bad-time",
            hint="write it as in '2026-01-31T12:00:00+01:00' or '1769857200 +0100'",
        ) from error


def _bars(*, color: bool) -> TerminalProgress:
    from mlgit.cli.progress import TerminalProgress

    return TerminalProgress(sys.stderr, color=color)


def _user_settings(environment: Mapping[str, str]) -> Path | None:
    if environment.get("XDG_CONFIG_HOME"):
        return Path(environment["XDG_CONFIG_HOME"], "mlgit", "config.toml")
    return Path(environment["HOME"], ".config", "mlgit", "config.toml") if environment.get("HOME") else None


def _current_directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise NotFoundError(
            "the current directory was deleted", kind="no-such-directory", hint="change to one that exists"
        ) from error
