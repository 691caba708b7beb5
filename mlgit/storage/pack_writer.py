"""Writing one pack: chunks as they come, the index at the end, then the file takes its name.

Until then it is a temporary file named after its writer. One that a killed process has left is removed by a later
writer: when its process ran on this host and has ended, or when nothing was written to it for a day.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from mlgit.errors import CorruptObjectError
from mlgit.fileio import file_system_error, sync_directory
from mlgit.storage import pack_format as layout
from mlgit.storage.encoder import Encoded
from mlgit.storage.owner import INCOMING, TEMPORARY, Owner, temporary_name
from mlgit.storage.pack_folder import pack_name
from mlgit.storage.pack_format import ChunkEntry, ObjectEntry

STALE_AFTER_S = 24 * 3600
_BUFFER_BYTES = 1 << 20


class PackWriter:
    """A pack that nobody else sees yet.

    Args:
        root: The folder of packs.

    Raises:
        FileSystemError: The operating system refused.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / temporary_name(INCOMING)
        self.chunks: list[ChunkEntry] = []
        self._buffer = bytearray(layout.HEADER.pack(layout.MAGIC, layout.VERSION, 0))
        self._end = len(self._buffer)
        try:
            self._file = self.path.open("x+b", buffering=0)
        except OSError as error:
            raise file_system_error(error, "write", self.path) from error

    def append(self, encoded: Encoded) -> None:
        """Add one chunk.

        Raises:
            FileSystemError: The operating system refused.
        """
        stored = encoded.stored
        entry = ChunkEntry(
            offset=self._end,
            stored=len(stored),
            raw=encoded.raw,
            codec=encoded.codec,
            width=encoded.width,
            depth=encoded.depth,
            base=encoded.base,
            checksum=encoded.checksum,
        )
        self.chunks.append(entry)
        self._end += len(stored)
        if len(self._buffer) + len(stored) <= _BUFFER_BYTES:
            self._buffer += stored
        else:
            self.flush()
            self._write(stored)

    def flush(self) -> None:
        """Hand everything to the operating system, so that chunks can be read back."""
        self._write(self._buffer)
        self._buffer = bytearray()

    def _write(self, data: bytearray | memoryview) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise file_system_error(error, "write", self.path) from error

    def truncate(self, chunk_count: int) -> None:
        """Drop all chunks but the first ones."""
        if chunk_count == len(self.chunks):
            return
        self.flush()
        self._end = self.chunks[chunk_count].offset
        del self.chunks[chunk_count:]
        try:
            self._file.truncate(self._end)
            self._file.seek(self._end)
        except OSError as error:
            raise file_system_error(error, "write", self.path) from error

    def publish(self, objects: list[ObjectEntry], main: bytes) -> Path:
        """Write index and footer, sync, and give the pack its name.

        Args:
            objects: What the pack holds.
            main: Id of the object that will be looked for first.

        Returns:
            The path of the pack.

        Raises:
            FileSystemError: The operating system refused; the pack does not exist.
        """
        index = layout.build_index(objects, self.chunks)
        destination = self.root / pack_name(main, blake3(index).digest())
        self._buffer += index + layout.build_footer(self._end, index)
        self.flush()
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            self.path.replace(destination)
            sync_directory(self.root)
        except OSError as error:
            raise file_system_error(error, "write", destination) from error
        return destination

    def abandon(self) -> None:
        """Leave nothing behind; does nothing after ``publish``."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def chunk(self, entry: ObjectEntry, place: int) -> ChunkEntry:
        """Return one chunk of an object that was added."""
        return self.chunks[entry.first_chunk + place]

    def read_stored(self, chunk: ChunkEntry, target: memoryview) -> None:
        """Fill ``target`` with the stored bytes of a chunk that was flushed."""
        try:
            os.preadv(self._file.fileno(), [target], chunk.offset)
        except OSError as error:
            raise file_system_error(error, "read", self.path) from error

    def damaged(self, offset: int, reason: str, subject: str | None = None) -> CorruptObjectError:
        """Return the error for something wrong at an offset of the temporary file."""
        return CorruptObjectError(f"{subject or 'a pack'} in '{self.path}' at offset {offset}: {reason}")


def remove_stale(root: Path) -> None:
    """Remove the temporary files that killed processes left in the folder of packs, or in that of its catalogues."""
    here = Owner.current()
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if not entry.name.endswith(TEMPORARY):
                continue
            tag = entry.name.removeprefix(INCOMING).rpartition("-")[0]
            if here.owns(tag) is False or time.time() - entry.stat().st_mtime > STALE_AFTER_S:
                (root / entry.name).unlink(missing_ok=True)
