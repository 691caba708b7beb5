"""From an object's place to its bytes: chunks decoded, bases resolved, damage found.

A first reading decodes and compares the id. Only when it does not match, a second one checks the checksum of every
chunk, takes each from the first copy that is sound, and names the first that has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice

from mlgit.errors import CorruptObjectError
from mlgit.storage.codecs import CodecError, codec
from mlgit.storage.located import Located
from mlgit.storage.pack_format import MAX_DEPTH, ChunkEntry, checksum
from mlgit.storage.scratch import scratch

_COPIES = 4
"""How many copies of one object are tried, so that hostile packs cannot make one reading explode into many."""

Copies = Callable[[bytes], Iterator[Located]]


class ChunkReader:
    """Decodes chunks.

    Args:
        copies: Yields every place of an object, given the 32 bytes of its id.
    """

    def __init__(self, copies: Copies) -> None:
        self._copies = copies

    def decode(self, located: Located, place: int, target: memoryview, *, check: bool = False, depth: int = 0) -> None:
        """Decode one chunk of an object.

        Args:
            located: The object.
            place: 0 for its first chunk.
            target: Writable bytes, exactly as many as the chunk has.
            check: Compare checksums first, the bases' too.
            depth: How many differences were followed to get here.

        Raises:
            CorruptObjectError: It does not decode; nothing is said about whether the bytes are the right ones.
        """
        chunk = located.chunk(place)
        if depth > MAX_DEPTH:
            raise located.source.damaged(chunk.offset, f"more than {MAX_DEPTH} differences in a row", located.subject)
        stored = scratch(f"stored {depth}", chunk.stored)
        located.source.read_stored(chunk, stored)
        if check and checksum(stored) != chunk.checksum:
            raise located.source.damaged(chunk.offset, f"chunk {place} does not match its checksum", located.subject)
        base = None if chunk.base is None else self._base(located, chunk, place, check=check, depth=depth)
        try:
            implementation = codec(chunk.codec)
            if implementation.needs_base != (base is not None):
                raise CodecError(f"codec {chunk.codec} and its base do not go together")
            implementation.decode(stored, target, chunk.width, base)
        except CodecError as error:
            raise located.source.damaged(chunk.offset, str(error), located.subject) from error

    def decode_any(self, located: Located, place: int, target: memoryview) -> None:
        """Decode one chunk of an object, checked, from whichever copy of the object is sound.

        Args:
            located: One copy.
            place: 0 for its first chunk.
            target: Writable bytes, exactly as many as the chunk has.

        Raises:
            CorruptObjectError: No copy is sound; it tells about ``located``.
        """
        try:
            self.decode(located, place, target, check=True)
        except CorruptObjectError as problem:
            for copy in islice(self._copies(located.entry.digest), _COPIES):
                if copy.source is not located.source and copy.fits(located):
                    with suppress(CorruptObjectError):
                        self.decode(copy, place, target, check=True)
                        return
            raise problem from problem.__cause__

    def _base(self, located: Located, chunk: ChunkEntry, place: int, *, check: bool, depth: int) -> memoryview:
        target = scratch(f"base {depth}", chunk.raw)
        problem: CorruptObjectError | None = None
        for copy in islice(self._copies(chunk.base or b""), 1 if depth else _COPIES):
            if not copy.fits(located):
                continue
            try:
                self.decode(copy, place, target, check=check, depth=depth + 1)
            except CorruptObjectError as error:
                problem = problem or error
            else:
                return target
        base = (chunk.base or b"").hex()[:10]
        if problem is not None:
            raise CorruptObjectError(
                f"{located.subject} is a difference to {base}: {problem.message}", hint=problem.hint
            )
        raise located.source.damaged(
            chunk.offset, f"chunk {place} is a difference to {base}, which is not here", located.subject
        )
