"""Small files that say whether they are whole: a line with the BLAKE3 of what follows, then what follows."""

from __future__ import annotations

from blake3 import blake3

from mlgit.errors import CorruptObjectError

_LINE_BYTES = 65


def seal(data: bytes) -> bytes:
    """Return ``data`` with a line before it by which ``unseal`` notices any change."""
    return blake3(data).hexdigest().encode() + b"\n" + data


def unseal(sealed: bytes) -> bytes:
    """Return what ``seal`` was given.

    Raises:
        CorruptObjectError: It is not what ``seal`` returned, to the bit.
    """
    data = sealed[_LINE_BYTES:]
    if seal(data) != sealed:
        raise CorruptObjectError("it does not match its digest", kind="corrupt-file")
    return data
