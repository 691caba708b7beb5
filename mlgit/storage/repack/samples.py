"""Small parts of tensors, by which they are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlgit.storage.chunk_reader import ChunkReader
from mlgit.storage.codecs.selection import Content, encode_chunk, total
from mlgit.storage.located import Located
from mlgit.storage.pack_folder import PackFolder
from mlgit.storage.payload import tensor_type
from mlgit.storage.repack.inventory import Item, locate
from mlgit.storage.scratch import scratch

Array = npt.NDArray[Any]
_PIECE_BYTES = 1 << 14
"""Most bytes of each of the three pieces: from the first, the middle and the last chunk."""
_TOGETHER_BYTES = 1 << 26
"""Memory that the samples of all groups under way may take."""
_ALIGNMENT = 16
_POINTS = 1024
"""Elements by which the distance of two tensors is guessed."""


class Sampler:
    """Reads samples of tensors of one group. Safe for use by several threads.

    Args:
        folder: The packs.
        threads: How many will use it at once.
    """

    def __init__(self, folder: PackFolder, threads: int) -> None:
        self._folder = folder
        self._reader = ChunkReader(folder.copies_anywhere)
        self._memory = _TOGETHER_BYTES // threads

    def read(self, items: list[Item]) -> Samples:
        """Return samples of tensors that are alike.

        Raises:
            CorruptObjectError: A chunk is damaged.
            FileSystemError: The operating system refused.
        """
        share = self._memory // (3 * len(items)) // _ALIGNMENT * _ALIGNMENT
        piece = min(_PIECE_BYTES, max(share, 1024))
        found = [self._sample(item, piece) for item in items]
        return Samples(found, Content.of(tensor_type(locate(self._folder, items[0]))[0]))

    def _sample(self, item: Item, piece: int) -> bytes:
        located = locate(self._folder, item)
        count = item.entry.chunk_count
        places = sorted({0, count // 2, count - 1})
        share = 3 * piece // len(places) // _ALIGNMENT * _ALIGNMENT
        return b"".join(self._piece(located, place, share) for place in places)

    def _piece(self, located: Located, place: int, size: int) -> bytes:
        target = scratch("sampled chunk", located.chunk(place).raw)
        self._reader.decode_any(located, place, target)
        start = max(0, len(target) - size) // 2 // _ALIGNMENT * _ALIGNMENT
        return bytes(target[start : start + size])


class Samples:
    """Equal parts of tensors that are alike.

    Args:
        parts: The bytes, one of each tensor.
        content: What they are.
    """

    def __init__(self, parts: list[bytes], content: Content) -> None:
        self._parts = parts
        self._content = content
        self._known: dict[tuple[int, int | None], int] = {}

    def encoded(self, place: int, base: int | None) -> int:
        """Return how many bytes one sample takes, alone or as a difference to another."""
        if (place, base) not in self._known:
            other = None if base is None else memoryview(self._parts[base])
            _, pieces = encode_chunk(memoryview(self._parts[place]), self._content, other)
            self._known[place, base] = total(pieces)
        return self._known[place, base]

    def bits_alone(self) -> Array:
        """Return the bits per element of each sample encoded alone, ``(n,)``."""
        elements = max(1, len(self._parts[0]) // self._content.width)
        return np.array([8.0 * self.encoded(place, None) / elements for place in range(len(self._parts))])

    def points(self) -> Array:
        """Return some elements of each, ``(n, k)``: floats in their order as float64, others as unsigned integers."""
        width = self._content.width
        step = max(1, len(self._parts[0]) // width // _POINTS)
        rows = np.stack([np.frombuffer(part, f"<i{width}")[::step] for part in self._parts])
        if not self._content.is_float:
            return rows.view(f"<u{width}")
        ordered: Array = rows ^ ((rows >> (8 * width - 1)) & np.iinfo(rows.dtype).max)
        return ordered.astype(np.float64)
