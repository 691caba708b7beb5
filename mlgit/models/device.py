"""The one place where the name of a device becomes a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mlgit.errors import InvalidInputError, did_you_mean

KINDS = ("auto", "cpu", "cuda", "mps")


def resolve_device(name: str) -> torch.device:
    """Return the device called ``name``.

    Args:
        name: ``auto`` (the first that exists of cuda, mps and cpu), ``cpu``, ``mps``, ``cuda`` or ``cuda:N``.

    Raises:
        InvalidInputError: No such kind of device, or this machine has none.
    """
    kind, colon, number = name.partition(":")
    if kind not in KINDS or (colon and (kind != "cuda" or not number.isdecimal())):
        raise InvalidInputError(
            f"no device is named {name[:80]!a}", kind="unknown-device", hint=did_you_mean(kind, KINDS)
        )
    if kind == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if _count(kind)))
    if int(number or 0) >= _count(kind):
        raise InvalidInputError(
            f"this machine has no device '{name}'",
            kind="no-device",
            hint="use `--device auto` to take the best there is",
        )
    return torch.device(name)


def _count(kind: str) -> int:
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    return int(kind == "cpu" or torch.backends.mps.is_available())


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute with so many CPU threads inside the block; small networks are fastest with one.

    Args:
        number: At least 1.

    Raises:
        InvalidInputError: Less than 1.
    """
    if number < 1:
        raise InvalidInputError(f"cannot compute with {number} threads", kind="bad-threads")
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
