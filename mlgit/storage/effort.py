"""What storage should favour: speed, or size."""

from __future__ import annotations

from enum import StrEnum

from mlgit.storage.pack_format import DEFAULT_DEPTH, MAX_DEPTH


class Effort(StrEnum):
    """How much is done to make a pack small. Whatever is chosen, everything is kept to the bit."""

    FAST = "fast"
    """Tensors stay whole: nothing of a parent is read to store a child, or to read it back."""
    NORMAL = "normal"
    """A tensor is a difference to one that is stored whole, where that is smaller."""
    SMALL = "small"
    """A tensor may be a difference to a difference, several in a row: smallest where each commit is close to the one
    before, such as the checkpoints of one run, and slower to read."""

    @property
    def depth(self) -> int:
        """How many differences may stand between a chunk and its value."""
        return _DEPTHS[self]


_DEPTHS = {Effort.FAST: 0, Effort.NORMAL: DEFAULT_DEPTH, Effort.SMALL: MAX_DEPTH}
