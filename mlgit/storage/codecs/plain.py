"""Codecs that do not look at elements: raw, zstd, copy of the base."""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING

from mlgit.storage.codecs import CodecError, Readable

if TYPE_CHECKING:
    from backports.zstd import ZstdCompressor, ZstdDecompressor

LEVEL = 1
_WINDOW_LOG_MAX = 23
_NAMES = ("plain", "plane")
_thread = threading.local()
"""Compressors keep their working memory from frame to frame, one per thread and kind."""


class Raw:
    """Codec 0: the bytes themselves."""

    needs_base = False

    def encode(self, raw: memoryview, width: int, base: memoryview | None) -> list[Readable]:
        """Return the bytes."""
        del width, base
        return [raw]

    def decode(self, stored: Readable, target: memoryview, width: int, base: memoryview | None) -> None:
        """Copy the bytes."""
        del width, base
        if len(stored) != len(target):
            raise CodecError(f"{len(stored)} raw bytes stand for {len(target)}")
        target[:] = stored


class Zstd:
    """Codec 1: one zstd frame (RFC 8878)."""

    needs_base = False

    def encode(self, raw: memoryview, width: int, base: memoryview | None) -> list[Readable]:
        """Return one frame."""
        del width, base
        return [compress(raw)]

    def decode(self, stored: Readable, target: memoryview, width: int, base: memoryview | None) -> None:
        """Decompress one frame."""
        del width, base
        target[:] = decompress(stored, len(target))


class Copy:
    """Codec 5: nothing is stored; the chunk equals its base."""

    needs_base = True

    def encode(self, raw: memoryview, width: int, base: memoryview | None) -> list[Readable]:
        """Return no bytes; the caller has seen that chunk and base are equal."""
        del raw, width, base
        return []

    def decode(self, stored: Readable, target: memoryview, width: int, base: memoryview | None) -> None:
        """Copy the base."""
        del width
        if len(stored) or base is None or len(base) != len(target):
            raise CodecError("a copy of a base has bytes of its own, or a base of another size")
        target[:] = base


def compress(data: Readable, *, is_plane: bool = False) -> bytes:
    """Return one zstd frame with its content size.

    Args:
        data: The content.
        is_plane: The bytes are one plane of numbers, where short repetitions are chance: only long ones are looked
            for. Measured on the exponents of float32 weights, the frame is 13 % smaller and takes 0.4 of the time
            of level 1 to write and 0.45 to read.
    """
    compressor: ZstdCompressor | None = getattr(_thread, _NAMES[is_plane], None)
    if compressor is None:
        from backports.zstd import CompressionParameter, ZstdCompressor  # noqa: PLC0415 - raw records need no zstd

        options: dict[int, int] = {CompressionParameter.compression_level: LEVEL}
        if is_plane:
            options |= {CompressionParameter.min_match: 7, CompressionParameter.hash_log: 8}
        compressor = ZstdCompressor(options=options)
        setattr(_thread, _NAMES[is_plane], compressor)
    return compressor.compress(data, compressor.FLUSH_FRAME)


def decompress(stored: Readable, size: int) -> bytes:
    """Return the content of one frame.

    Args:
        stored: The frame and nothing else.
        size: How many bytes it must decode to; never are more than one byte more produced.

    Raises:
        CodecError: Anything else.
    """
    decompressor_type, error_type, options = _decompression()
    decompressor = decompressor_type(options=options)
    try:
        data = decompressor.decompress(stored, max_length=size + 1)
    except error_type as error:
        raise CodecError(f"zstd: {error}") from error
    if len(data) != size or not decompressor.eof or decompressor.unused_data:
        raise CodecError(f"a zstd frame does not hold exactly {size} bytes")
    return data


@cache
def _decompression() -> tuple[type[ZstdDecompressor], type[Exception], dict[int, int]]:
    from backports import zstd  # noqa: PLC0415 - raw records need no zstd

    return zstd.ZstdDecompressor, zstd.ZstdError, {int(zstd.DecompressionParameter.window_log_max): _WINDOW_LOG_MAX}
