"""From an object's place to its bytes: chunks decoded, bases resolved, damage found.

A first reading decodes and compares the id. Only when it does not match, a second one checks the checksum of every
chunk, takes each from the first copy that is sound, and names the first that has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice

from mlgit.errors import CorruptObjectError
from mlgit.storage.base_cache import BaseCache
from mlgit.storage.codecs import RAW, CodecError, codec
from mlgit.storage.located import Located
from mlgit.storage.pack import Pack
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
        self.bases = BaseCache()
        """Keeps decoded bases, while somebody asks for that."""

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
        if chunk.codec == RAW and chunk.stored == chunk.raw and chunk.base is None and not check:
            located.source.read_stored(chunk, target)
            return
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
        key, is_kept = (chunk.base or b"", place, check), self.bases.is_used
        known = self.bases.get(key, chunk.raw) if is_kept else None
        if known is not None:
            return known
        target = memoryview(bytearray(chunk.raw)) if is_kept else scratch(f"base {depth}", chunk.raw)
        problem: CorruptObjectError | None = None
        for copy in islice(self._base_copies(located, chunk, place), 1 if depth else _COPIES):
            try:
                self.decode(copy, place, target, check=check, depth=depth + 1)
            except CorruptObjectError as error:
                problem = problem or error
            else:
                if is_kept:
                    self.bases.put(key, target)
                return target
        base = (chunk.base or b"").hex()[:10]
        if problem is not None:
            raise CorruptObjectError(
                f"{located.subject} is a difference to {base}: {problem.message}", hint=problem.hint
            )
        raise located.source.damaged(
            chunk.offset, f"chunk {place} is a difference to {base}, which is not here", located.subject
        )

    def _base_copies(self, located: Located, chunk: ChunkEntry, place: int) -> Iterator[Located]:
        """Yield copies of a base: the one in the same pack, then those nearer to their value, then the others.

        While packs are replaced, one copy of A may be a difference to B and another copy of B one to A. A pack that
        holds a difference together with its base is sound in itself, and going on to ever smaller depths has an end.
        """
        base, source = chunk.base or b"", located.source
        own = _in(source, base) if isinstance(source, Pack) else None
        if own is not None and own.fits(located):
            yield own
        later: list[Located] = []
        for copy in islice(self._copies(base), _COPIES):
            if not copy.fits(located) or (own is not None and copy.source is source):
                continue
            if copy.chunk(place).depth < chunk.depth:
                yield copy
            else:
                later.append(copy)
        yield from later


def _in(pack: Pack, digest: bytes) -> Located | None:
    with suppress(CorruptObjectError):
        number = pack.find(digest)
        return None if number is None else Located(pack, pack.entry(number))
    return None
