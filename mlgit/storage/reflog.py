r"""The log of a ref: one line per change, only ever appended to.

A line is ``<check> <length> <old> <new> <seconds> <offset minutes> <name> <email>``, a tab and the reason. Old and new
are ``<kind>:<id>``, or ``-`` where there was or is no value. Backslashes, brackets in names, and everything that is not
printable are escaped as ``\uXXXX``. Length counts the bytes after the blank that follows it, and check is the start of
their BLAKE3: a line that a crash has torn is shorter than it says, and every other difference is damage.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path

from blake3 import blake3

from mlgit.errors import InvalidInputError
from mlgit.fileio import file_system_error, read_file, write_file
from mlgit.objects import Identity, ObjectId, Timestamp
from mlgit.objects.ids import ID_TYPES

_CHECK_DIGITS = 8
_START = re.compile(rb"([0-9a-f]{8}) ([0-9]{1,9}) ")
_PART_OF_START = re.compile(rb"[0-9a-f]{0,8}|[0-9a-f]{8} [0-9]{0,9}")
_REST = re.compile(r"(\S+) (\S+) (-?\d+) (-?\d+) ([^<>\t]*) <([^<>\t]*)>\t(.*)")
_ESCAPE = re.compile(r"\\u([0-9a-f]{4})|\\U([0-9a-f]{8})")


@dataclass(frozen=True, slots=True)
class ReflogEntry:
    """One change of a ref.

    Attributes:
        old: The value before; None when the ref did not exist.
        new: The value after; None when the ref was deleted.
        who: Who changed it.
        when: When.
        reason: Which command, ``commit: subject``.
    """

    old: ObjectId | None
    new: ObjectId | None
    who: Identity
    when: Timestamp
    reason: str

    def encode(self) -> bytes:
        """Return the line, with its end."""
        rest = (
            f"{write_value(self.old)} {write_value(self.new)} {self.when.seconds} {self.when.offset_minutes} "
            f"{_escape(self.who.name, '<>')} <{_escape(self.who.email, '<>')}>\t{_escape(self.reason)}"
        ).encode()
        return b"%s %d %s\n" % (_check(rest), len(rest), rest)

    @classmethod
    def decode(cls, line: bytes) -> ReflogEntry | None:
        """Return the change that a line, without its end, tells; None when it is torn or damaged."""
        start = _START.match(line)
        rest = line[start.end() :] if start else b""
        if start is None or (start[1], int(start[2])) != (_check(rest), len(rest)):
            return None
        match = _REST.fullmatch(rest.decode("utf-8", "replace"))
        if match is None:
            return None
        old, new, seconds, offset, name, email, reason = match.groups()
        try:
            return cls(
                read_value(old),
                read_value(new),
                Identity(_unescape(name), _unescape(email)),
                Timestamp(int(seconds), int(offset)),
                _unescape(reason),
            )
        except ValueError:  # an id or a time that is none
            return None


def write_value(value: ObjectId | None) -> str:
    """Return ``kind:id``, or ``-`` for None."""
    return "-" if value is None else f"{value.kind}:{value}"


def read_value(text: str) -> ObjectId | None:
    """Read what ``write_value`` wrote.

    Raises:
        InvalidInputError: Something else.
    """
    if text == "-":
        return None
    kind, _, digits = text.partition(":")
    if kind not in ID_TYPES:
        raise InvalidInputError(f"{kind[:40]!a} is not a kind of object", kind="bad-id")
    return ID_TYPES[kind](digits)


def append(path: Path, entry: ReflogEntry) -> None:
    """Add one change at the end of a log and sync it; a torn last line before it stays alone on its line.

    Raises:
        FileSystemError: The operating system refused.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            _write_all(descriptor, b"\n" * torn + entry.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise file_system_error(error, "write", path) from error


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def read(path: Path, current: ObjectId | None) -> list[ReflogEntry]:
    """Return all changes, oldest first.

    The line is written before the ref moves. A crash between the two leaves a change that never happened; it is
    recognised by what follows it starting from the same old value, and left out.

    Args:
        path: The log; a missing one is empty.
        current: The ref's value now.

    Raises:
        FileSystemError: The operating system refused.
    """
    try:
        lines = read_file(path).split(b"\n")
    except FileNotFoundError:
        return []
    entries = [entry for line in lines if (entry := ReflogEntry.decode(line)) is not None]
    return _without_unmade(entries, current)


def damaged_lines(path: Path) -> list[int]:
    """Return the numbers, from 1, of the lines that neither tell a change nor were torn by a crash.

    Args:
        path: The log; a missing one is empty.

    Raises:
        FileSystemError: The operating system refused.
    """
    try:
        lines = read_file(path).split(b"\n")
    except FileNotFoundError:
        return []
    return [number for number, line in enumerate(lines, 1) if ReflogEntry.decode(line) is None and not _is_torn(line)]


def _is_torn(line: bytes) -> bool:
    """Whether a line is the beginning of one, followed by the zeros that a power cut leaves, if any."""
    written = line.rstrip(b"\0")
    start = _START.match(written)
    if start is None:
        return _PART_OF_START.fullmatch(written) is not None
    rest = written[start.end() :]
    is_whole = _check(rest) == start[1]
    return (len(rest) < int(start[2]) and not is_whole) or (is_whole and written != line)


def _check(rest: bytes) -> bytes:
    return blake3(rest).hexdigest(_CHECK_DIGITS // 2).encode()


def expire(path: Path, before_s: int) -> int:
    """Drop the changes made before a moment, up to the first that was made later; the caller holds the lock.

    Args:
        path: The log; a missing one is empty.
        before_s: The moment, in seconds since 1970-01-01T00:00:00Z.

    Returns:
        How many lines were dropped.

    Raises:
        FileSystemError: The operating system refused; the log is as it was.
    """
    try:
        lines = read_file(path).split(b"\n")
    except FileNotFoundError:
        return 0
    kept = dropwhile(lambda line: _is_before(line, before_s), (line for line in lines if line))
    data = b"".join(line + b"\n" for line in kept)
    dropped = sum(map(bool, lines)) - data.count(b"\n")
    if dropped:
        write_file(path, data)
    return dropped


def _is_before(line: bytes, before_s: int) -> bool:
    entry = ReflogEntry.decode(line)
    return entry is None or entry.when.seconds < before_s


def _without_unmade(entries: Sequence[ReflogEntry], current: ObjectId | None) -> list[ReflogEntry]:
    kept: list[ReflogEntry] = []
    following = write_value(current)
    for entry in reversed(entries):
        if write_value(entry.new) != following and write_value(entry.old) == following:
            continue
        kept.append(entry)
        following = write_value(entry.old)
    return kept[::-1]


def _escape(text: str, also: str = "") -> str:
    return "".join(
        letter if letter == " " or (letter.isprintable() and letter not in "\\" + also) else _code(letter)
        for letter in text
    )


def _code(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1] or match[2], 16)), text)
