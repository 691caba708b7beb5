"""The index of a pack as arrays, to judge millions of objects at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mlgit.storage.marks import Keys, keys_of
from mlgit.storage.pack import Pack
from mlgit.storage.pack_format import BASE_BYTES, CHUNK, KIND_NAMES, OBJECT

_OBJECT = np.dtype(
    [
        ("id", "u1", 32),
        ("size", "<u8"),
        ("first", "<u4"),
        ("count", "<u4"),
        ("metadata_at", "<u4"),
        ("metadata_bytes", "<u2"),
        ("kind", "u1"),
        ("exponent", "u1"),
        ("rest", "<u8"),
    ]
)
_CHUNK = np.dtype(
    [
        ("offset", "<u8"),
        ("stored", "<u4"),
        ("raw", "<u4"),
        ("base", "<u4"),
        ("codec", "u1", 4),
        ("checksum", "u1", 8),
    ]
)

_PART = 1 << 16
Mask = npt.NDArray[np.bool_]


class PackTable:
    """The index of one pack.

    Args:
        pack: It; its whole index was compared with its digest.
    """

    def __init__(self, pack: Pack) -> None:
        self._objects: npt.NDArray[Any] = np.frombuffer(pack.object_table, _OBJECT)
        self._chunks: npt.NDArray[Any] = np.frombuffer(pack.chunk_table, _CHUNK)
        self._pack = pack
        assert _OBJECT.itemsize == OBJECT.size and _CHUNK.itemsize == CHUNK.size  # noqa: S101, PT018 - one layout

    def check(self) -> None:
        """Refuse a pack with an object of which chunks do not exist, or that is of no kind.

        Raises:
            CorruptObjectError: There is one.
        """
        end = self._objects["first"].astype(np.int64) + self._objects["count"]
        wrong = (end > len(self._chunks)) | ~self.of_kinds(*KIND_NAMES)
        for number in np.flatnonzero(wrong):
            self._pack.entry(int(number))  # says what is wrong

    def __len__(self) -> int:
        return len(self._objects)

    @property
    def keys(self) -> Keys:
        """The first 8 bytes of all ids."""
        return keys_of(self._objects["id"])

    def ids(self, chosen: Mask) -> Iterator[bytes]:
        """Yield the ids of some objects, 32 bytes each, one after another, in parts."""
        for at in range(0, len(chosen), _PART):
            yield self._objects["id"][at : at + _PART][chosen[at : at + _PART]].tobytes()

    def of_kinds(self, *codes: int) -> Mask:
        """Return which objects are of some kinds, given their numbers in packs."""
        table = np.zeros(256, np.bool_)
        table[list(codes)] = True
        kinds: Mask = table[self._objects["kind"]]
        return kinds

    def by_place(self, chosen: Mask) -> list[int]:
        """Return the numbers of some objects in the order of their chunks."""
        numbers = np.flatnonzero(chosen)
        ordered: list[int] = numbers[np.argsort(self._objects["first"][numbers], kind="stable")].tolist()
        return ordered

    def stored_bytes(self, chosen: Mask) -> int:
        """Return how many bytes some objects take in the pack, their entries included."""
        chunks = self._of(chosen)
        stored = self._chunks["stored"][chunks].sum(dtype=np.int64)
        return int(chosen.sum() * OBJECT.size + chunks.sum() * CHUNK.size + stored)

    def bases(self, chosen: Mask) -> bytes:
        """Return the ids of the bases of some objects, each once, one after another.

        Raises:
            CorruptObjectError: A chunk names a base that does not exist.
        """
        numbers = np.unique(self._chunks["base"][self._of(chosen)])
        table = self._pack.base_table
        if len(numbers) and int(numbers[-1]) * BASE_BYTES > len(table):
            raise self._pack.damaged(self._pack.index_offset, f"a chunk names base {numbers[-1]}, which cannot be")
        places = numbers[numbers > 0].astype(np.int64) - 1
        return np.frombuffer(table, np.uint8).reshape(-1, BASE_BYTES)[places].tobytes()

    def _of(self, chosen: Mask) -> Mask:
        """Return which chunks belong to some objects."""
        change = np.zeros(len(self._chunks) + 1, np.int64)
        begin = np.minimum(self._objects["first"][chosen].astype(np.int64), len(self._chunks))
        end = np.minimum(begin + self._objects["count"][chosen], len(self._chunks))
        np.add.at(change, begin, 1)
        np.add.at(change, end, -1)
        return np.cumsum(change[:-1]) > 0
