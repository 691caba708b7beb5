"""Decoded images on disk, mapped into memory and so shared by all processes of a machine.

One file holds one list of images: the pixels of each, height after width after red, green and blue, one image after
the other whatever its size; then an index; then a footer of fixed size. The file's name is made from the digests of the
images' bytes and from how they are decoded, so content that has changed is another file. A file appears whole or not at
all. Every image carries a checksum that is compared when a process first uses it; a file that does not hold what it
should is made anew. It can be deleted at any time.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, final

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from mlgit.errors import ConflictError, FileSystemError
from mlgit.fileio import file_system_error, replacing
from mlgit.progress import Progress
from mlgit.storage.lock import FileLock
from mlgit.tasks.decoding import Decoder, MemoryCache, Picture, PixelSource
from mlgit.tasks.preprocessing import Pixels

LOCK_TIMEOUT_S = 3600.0
"""How long a process waits for another one that decodes the same images, before it decodes them too."""
_MAGIC = b"mlgit pixels 1\n\0"
_INDEX = np.dtype([("offset", "<u8"), ("height", "<u4"), ("width", "<u4"), ("check", "u1", 16)])
_FOOTER = np.dtype([("magic", "S16"), ("key", "u1", 32), ("index", "<u8"), ("count", "<u8"), ("check", "u1", 32)])


@final
class PixelCache(PixelSource):
    """The decoded images of one domain; decoded when the first of them is asked for.

    Args:
        folder: Where the file is or will be; made when it is needed. If it cannot be written, images are decoded
            whenever they are asked for.
        pictures: All of them; those with equal content are decoded once.
        decoder: Decodes.
        progress: Is told of images.
        title: What the work is called.
    """

    def __init__(
        self, folder: Path, pictures: Sequence[Picture], decoder: Decoder, *, progress: Progress, title: str
    ) -> None:
        self._paths = {picture.digest: picture.path for picture in reversed(pictures)}
        self._paths = dict(reversed(self._paths.items()))  # in the order of the first of each
        self._rows = {digest: row for row, digest in enumerate(self._paths)}
        self._decoder = decoder
        self._progress = progress
        self._title = title
        self._key = blake3("\n".join([f"decode {decoder.decode_size}", *self._paths]).encode()).digest()
        self.path = folder / f"{self._key.hex()[:32]}.pixels"
        self._memory = MemoryCache(decoder)
        self._open: _Mapped | None = None
        self._usable = True

    def pixels(self, picture: Picture) -> Pixels:
        """Return a decoded picture, read-only.

        Raises:
            InvalidInputError: One of the pictures cannot be decoded; it is named.
        """
        mapped = self._mapped()
        if mapped is None:
            return self._memory.pixels(picture)
        row = self._rows[picture.digest]
        found = mapped.image(row)
        if found is None:  # damaged: another file takes its place, this one may still be mapped by others
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
            self._open = None
            mapped = self._mapped()
            found = None if mapped is None else mapped.image(row)
        return self._memory.pixels(picture) if found is None else found

    def _mapped(self) -> _Mapped | None:
        if self._open is None and self._usable:
            try:
                self._open = _map(self.path, self._key) or self._make()
            except FileSystemError:
                self._usable = False
        return self._open

    def _make(self) -> _Mapped | None:
        """Decode everything, unless another process is faster."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise file_system_error(error, "create", self.path.parent) from error
        lock = FileLock(self.path.with_suffix(".lock"), timeout_s=LOCK_TIMEOUT_S)
        try:
            with lock:
                self._tidy()
                return _map(self.path, self._key) or self._write()
        except ConflictError:
            return self._write()

    def _tidy(self) -> None:
        """Remove what a process that was killed left of this file."""
        for path in self.path.parent.glob(f".{self.path.name}.*.tmp"):
            with suppress(OSError):
                path.unlink()

    def _write(self) -> _Mapped | None:
        with replacing(self.path, durable=False) as stream, self._progress.task(self._title, len(self._paths)) as bar:
            index = np.zeros(len(self._paths), _INDEX)
            offset = 0
            for row, pixels in enumerate(_decoded(self._decoder, list(self._paths.values()))):
                data = np.ascontiguousarray(pixels)
                stream.write(data.data)
                index[row] = offset, *data.shape[:2], _checksum(data)
                offset += data.nbytes
                bar.advance()
            _finish(stream, self._key, index, offset)
        return _map(self.path, self._key)


class _Mapped:
    """An open file of which each image is checked once."""

    def __init__(self, data: NDArray[np.uint8], index: NDArray[np.void]) -> None:
        self._data = data
        self._offsets: list[int] = index["offset"].tolist()
        self._shapes = list(zip(index["height"].tolist(), index["width"].tolist(), strict=True))
        self._checks = index["check"]
        self._checked = bytearray(len(index))

    def image(self, row: int) -> Pixels | None:
        """Return an image, or None when it is not what was written."""
        height, width = self._shapes[row]
        offset = self._offsets[row]
        pixels = self._data[offset : offset + 3 * height * width].reshape(height, width, 3)
        if not self._checked[row]:
            if not np.array_equal(_checksum(pixels), self._checks[row]):
                return None
            self._checked[row] = 1
        return pixels


def _map(path: Path, key: bytes) -> _Mapped | None:
    """Open a file, or return None when it is missing or cannot be a whole file for this key."""
    try:
        size_bytes = path.stat().st_size
        if size_bytes < _FOOTER.itemsize:
            return None
        data = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError):
        return None
    footer = data[size_bytes - _FOOTER.itemsize :].view(_FOOTER)[0]
    start, count = int(footer["index"]), int(footer["count"])
    if bytes(footer["magic"]) != _MAGIC.rstrip(b"\0") or footer["key"].tobytes() != key:
        return None
    if start + count * _INDEX.itemsize + _FOOTER.itemsize != size_bytes:
        return None
    raw = np.array(data[start : size_bytes - _FOOTER.itemsize])
    if blake3(raw.data).digest() != footer["check"].tobytes():
        return None
    return _Mapped(np.asarray(data[:start]), raw.view(_INDEX))


def _finish(stream: BinaryIO, key: bytes, index: NDArray[np.void], offset: int) -> None:
    raw = index.tobytes()
    check = np.frombuffer(blake3(raw).digest(), np.uint8)
    footer = np.array([(_MAGIC, np.frombuffer(key, np.uint8), offset, len(index), check)], _FOOTER)
    stream.write(raw)
    stream.write(footer.tobytes())


def _checksum(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.frombuffer(blake3(pixels.data).digest(length=16), np.uint8)


def _decoded(decoder: Decoder, paths: Sequence[str]) -> Iterator[Pixels]:
    """Decode in a few threads, never many images ahead."""
    threads = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Pixels]] = deque()
        try:
            for path in paths:
                waiting.append(pool.submit(decoder.decode, path))
                if len(waiting) >= 8 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
