"""A set of ids that takes eight bytes for each: what is needed, among ten million objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

ID_BYTES = 32
_FLUSH_BYTES = 1 << 21
_NEW_BYTES = 1 << 21

Keys = npt.NDArray[np.uint64]


def keys_of(table: npt.NDArray[Any]) -> Keys:
    """Return the first 8 bytes of ids, as numbers that sort like the ids.

    Args:
        table: uint8, (n, 32) or longer rows that begin with an id.
    """
    return np.ascontiguousarray(table[:, :8]).view(">u8")[:, 0].astype(np.uint64)


class Marks:
    """Ids, kept by their first 8 bytes: it may hold an id that was not put in, and never lacks one that was.

    So what is not held is not needed, whoever made the ids; what is held by chance stays on disk a while longer.
    """

    def __init__(self) -> None:
        self._runs: list[Keys] = []  # each sorted and without repetition, the later ones much smaller
        self._pending = bytearray()
        self._new: bytearray | None = bytearray()

    def __len__(self) -> int:
        self._flush()
        return sum(map(len, self._runs))

    def add(self, ids: bytes | memoryview) -> None:
        """Put in ids.

        Args:
            ids: 32 bytes each, one after another.
        """
        for at in range(0, len(ids), _FLUSH_BYTES):
            self._pending += ids[at : at + _FLUSH_BYTES]
            if len(self._pending) >= _FLUSH_BYTES:
                self._flush()

    def mask(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Return for each of these first 8 bytes whether such an id is held."""
        self._flush()
        return self._known(keys)

    def take_new(self) -> bytes | None:
        """Return the ids put in since this was asked last, for the first time; None when they are too many to keep."""
        self._flush()
        new, self._new = self._new, bytearray()
        return None if new is None else bytes(new)

    def _known(self, keys: Keys) -> npt.NDArray[np.bool_]:
        found = np.zeros(len(keys), np.bool_)
        for run in self._runs:
            places = np.searchsorted(run, keys)
            places[places == len(run)] = 0
            found |= run[places] == keys
        return found

    def _flush(self) -> None:
        if not self._pending:
            return
        table = np.frombuffer(bytes(self._pending), np.uint8).reshape(-1, ID_BYTES)
        self._pending = bytearray()
        keys, first = np.unique(keys_of(table), return_index=True)
        is_new = ~self._known(keys)
        if not is_new.any():
            return
        self._remember(table[first[is_new]].tobytes())
        self._runs.append(keys[is_new])
        while len(self._runs) > 1 and len(self._runs[-2]) < 4 * len(self._runs[-1]):
            joined = np.concatenate(self._runs[-2:])
            del self._runs[-2:]
            joined.sort()
            self._runs.append(joined)

    def _remember(self, ids: bytes) -> None:
        if self._new is not None:
            self._new += ids
            if len(self._new) > _NEW_BYTES:
                self._new = None
