r"""The one sanitiser: every string that a user, a file or a remote chose passes here before it is printed.

A terminal obeys control characters and a reader believes bidirectional ones, so a branch name or a commit message
could clear the screen, set the window's title, or show ``exe.txt`` where ``txt.exe`` stands. What could do that, or
cannot be seen at all, is written as an escape: ``\x1b``, ``\u202e``, ``\U000e0001``.
"""

from __future__ import annotations

import unicodedata

_UNSAFE_CATEGORIES = frozenset(
    {
        "Cc",  # controls: C0, DEL, C1
        "Cf",  # formats: bidirectional controls, zero-width characters, tags
        "Cn",  # not assigned in this Python's Unicode: a newer one may have made it a format
        "Cs",  # lone surrogates: file names that are not UTF-8
        "Zl",  # line separator
        "Zp",  # paragraph separator
    }
)
_INVISIBLE = (  # letters and marks that take no ink, so that two different names would look the same
    frozenset({0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0})
    | frozenset(range(0xE0100, 0xE01F0))
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escape(char: str) -> str:
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


class _Table(dict[int, str]):
    """What ``str.translate`` asks for each character; answers are not kept, text may hold a million of them."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        unsafe = code in _INVISIBLE or unicodedata.category(char) in _UNSAFE_CATEGORIES
        return _escape(char) if unsafe else char


_TABLE = _Table()


def clean(text: object) -> str:
    r"""Return ``text`` as one line that a terminal only shows.

    Args:
        text: Anything; ``str`` is taken of it.

    Returns:
        The text with every character of the categories Cc, Cf, Cn, Cs, Zl and Zp, and those that cannot be seen,
        escaped. Line breaks too: ``\n``.
    """
    string = str(text)
    if string.isascii() and string.isprintable():
        return string
    return string.translate(_TABLE)


def clean_block(text: object) -> str:
    r"""Return text of several lines, such as a commit's message, in a form that a terminal only shows.

    Args:
        text: Anything; ``str`` is taken of it.

    Returns:
        The lines, each as by ``clean``, joined by ``\n``. Tabs become spaces, Windows line ends plain ones.
    """
    lines = str(text).replace("\r\n", "\n").split("\n")
    return "\n".join(clean(line.expandtabs()) for line in lines)
