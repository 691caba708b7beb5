"""A JSON reader without recursion, for text whose shape is known: it reads what the caller expects, or refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_SPACE = r"[ \t\n\r]*+"
_TEXT = r'"((?:[^"\\\x00-\x1f]++|\\.)*+)"'
_STRING = re.compile(_SPACE + _TEXT)
_KEY = re.compile(_SPACE + _TEXT + _SPACE + ":")
_OPEN = re.compile(_SPACE + r"\{")
_CLOSE = re.compile(_SPACE + r"\}")
_NEXT = re.compile(_SPACE + "([,}])")
_INTEGERS = re.compile(_SPACE + r"\[([0-9, \t\n\r]*+)\]")
_INTEGER = re.compile(_SPACE + "(0|[1-9][0-9]{0,18})" + _SPACE)
_END = re.compile(_SPACE + r"\Z")


class Cursor:
    """A place in a JSON text. Every method reads from there and moves on, or raises ValueError with the reason.

    Args:
        text: The document. Strings with lone surrogates and integers of more than 19 digits are refused.
        position: Where to begin.
    """

    def __init__(self, text: str, position: int = 0) -> None:
        self._text = text
        self._position = position

    @property
    def position(self) -> int:
        """Number of the character that is read next."""
        return self._position

    def members(self, limit: int) -> Iterator[str]:
        """Read an object: yield each key; the caller reads the value before it asks for the next key.

        Args:
            limit: Most keys the object may have.
        """
        seen: set[str] = set()
        self._match(_OPEN, "'{'")
        more = not self._accepts(_CLOSE)
        while more:
            key = _unescaped(self._match(_KEY, "a key")[1])
            if key in seen:
                raise ValueError(f"the key {key[:80]!a} stands twice")
            if len(seen) == limit:
                raise ValueError(f"an object has more than {limit} keys")
            seen.add(key)
            yield key
            more = self._match(_NEXT, "',' or '}'")[1] == ","

    def string(self) -> str:
        """Read a string."""
        return _unescaped(self._match(_STRING, "a string")[1])

    def integers(self, limit: int) -> tuple[int, ...]:
        """Read a list of non-negative integers.

        Args:
            limit: Most integers the list may have.
        """
        inside = self._match(_INTEGERS, "a list of non-negative integers")[1]
        if not inside.strip():
            return ()
        if inside.count(",") >= limit:
            raise ValueError(f"a list of integers has {inside.count(',') + 1} items; {limit} are allowed")
        return tuple(_integer(item) for item in inside.split(","))

    def end(self) -> None:
        """Read the end of the text."""
        self._match(_END, "the end")

    def _accepts(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self._text, self._position)
        if match is not None:
            self._position = match.end()
        return match is not None

    def _match(self, pattern: re.Pattern[str], expected: str) -> re.Match[str]:
        match = pattern.match(self._text, self._position)
        if match is None:
            found = self._text[self._position : self._position + 40]
            raise ValueError(f"at character {self._position}, {expected} is expected, not {found!a}")
        self._position = match.end()
        return match


def _unescaped(text: str) -> str:
    if "\\" in text:
        text = str(json.loads(f'"{text}"'))
        text.encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, which is a ValueError
    return text


def _integer(item: str) -> int:
    match = _INTEGER.fullmatch(item)
    if match is None:
        raise ValueError(f"{item[:40]!a} is not a non-negative integer below 10^19")
    return int(match[1])
