"""``mlgit config``: read and change settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from mlgit.errors import InvalidInputError, NotFoundError, did_you_mean
from mlgit.fileio import file_system_error
from mlgit.objects import JsonValue
from mlgit.porcelain.actor import check_text
from mlgit.repository import Repository, Settings, new_directories
from mlgit.storage.lock import FileLock
from mlgit.tomledit import set_value

_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_/-]+)+")


def get_setting(settings: Settings, key: str) -> JsonValue:
    """Return the value of a dotted key.

    Raises:
        NotFoundError: It is not set.
    """
    if key not in settings.values:
        raise NotFoundError(f"'{key}' is not set", kind="unknown-setting", hint=did_you_mean(key, settings.values))
    return settings.values[key]


def set_setting(path: Path, key: str, value: str) -> None:
    """Set a dotted key in one settings file.

    Args:
        path: ``.mlgit/config.toml``, or the user's own file.
        key: ``user.name``.
        value: Text, kept as text.

    Raises:
        InvalidInputError: Not a dotted key of letters, digits, ``-`` and ``_``, or a value that is not Unicode.
        FileSystemError: The operating system refused; the file is as it was.
    """
    _check_key(key)
    check_text(value, "the value")
    try:
        with new_directories(path.parent), changing(path):
            set_value(path, key.split("."), value)
    except OSError as error:
        raise file_system_error(error, "write", path) from error


def unset_setting(path: Path, key: str) -> None:
    """Remove a dotted key from one settings file.

    Raises:
        NotFoundError: It is not set there.
    """
    _check_key(key)
    with changing(path) if path.exists() else nullcontext():
        found = set_value(path, key.split("."), None)
    if not found:
        raise NotFoundError(f"'{key}' is not set in '{path}'", kind="unknown-setting")


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Let no other process change a settings file meanwhile.

    Raises:
        ConflictError: Another process does, all the time.
        FileSystemError: The operating system refused.
    """
    with FileLock(path.with_name(f"{path.name}.lock")) as lock:
        if lock.recovered:  # its process was killed
            for leftover in path.parent.glob(f".{path.name}.*.tmp"):
                leftover.unlink(missing_ok=True)
        yield


def settings_path(repository: Repository) -> Path:
    """Return the file of a repository's own settings."""
    return repository.folder / "config.toml"


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise InvalidInputError(
            f"'{key[:80]}' is not a settings key", kind="bad-key", hint="write it as `section.name`"
        )
