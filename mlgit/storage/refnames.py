"""Which names a ref may have: the rules of ``git check-ref-format`` and a few against harm."""

from __future__ import annotations

import unicodedata

from mlgit.errors import InvalidInputError

MAX_COMPONENT_BYTES = 200
MAX_NAME_BYTES = 1024
_FORBIDDEN = frozenset(" ~^:?*[\\")
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def check_ref_name(name: str) -> None:
    """Refuse a name that no ref may have.

    Args:
        name: A full name, ``refs/heads/main``.

    Raises:
        InvalidInputError: It breaks one of git's rules (``git check-ref-format``), does not start with ``refs/``,
            has a part over 200 or is over 1,024 bytes of UTF-8, starts with ``-`` after ``refs/heads/`` or its like,
            or has an invisible, bidi, private or surrogate character.
    """
    reason = _objection(name)
    if reason:
        raise InvalidInputError(
            f"{name[:100]!a} cannot name a ref: {reason}",
            kind="bad-ref-name",
            hint="use letters, digits, '-', '_', '.' and '/', as in 'experiments/lr-3e-5'",
        )


def _objection(name: str) -> str | None:
    for character in name:
        if character in _FORBIDDEN or unicodedata.category(character) in _INVISIBLE:
            return f"it has the character {character!a}"
    parts = name.split("/")
    if len(parts) < 3 or parts[0] != "refs":
        return "it does not start with 'refs/heads/', 'refs/tags/' or the like"
    if ".." in name or "@{" in name or name.endswith("."):
        return "it has '..' or '@{', or ends with '.'"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"it is longer than {MAX_NAME_BYTES} bytes"
    objections = (_objection_to_part(part) for part in parts)
    return "it starts with '-'" if parts[2].startswith("-") else next(filter(None, objections), None)


def _objection_to_part(part: str) -> str | None:
    if not part:
        return "a part between two '/' is empty"
    if part.startswith("."):
        return "a part starts with '.'"
    if part.endswith(".lock"):
        return "a part ends with '.lock'"
    if len(part.encode()) > MAX_COMPONENT_BYTES:
        return f"a part is longer than {MAX_COMPONENT_BYTES} bytes"
    return None
