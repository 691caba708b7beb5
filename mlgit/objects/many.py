"""Making very many objects at once."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def making_many() -> Iterator[None]:
    """Put off the search for reference cycles while the block makes tens of thousands of objects that have none.

    Python searches everything that lives, a million objects once torch is imported, whenever enough new ones are there:
    that took ten times as long as reading a manifest.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
