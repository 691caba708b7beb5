"""Predictions on disk, under the digest of all that they depend on.

One file holds what one set of weights says about the images of one domain: probabilities as float32, as they were
computed, and the labels they were computed beside. Files appear whole or not at all, carry a digest and the key they
belong to, and may be deleted at any time; one that is not what it should be counts as missing. When all together
become larger than allowed, those go that were not used for longest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch
from blake3 import blake3

from mlgit.errors import FileSystemError
from mlgit.evaluation.score import Predictions
from mlgit.fileio import replacing
from mlgit.objects.encoding import JsonValue, canonical_json
from mlgit.storage.owner import remove_abandoned, temporary_name
from mlgit.tasks.split import DomainData

MAX_BYTES = 10**9
"""How large all files may be together unless a setting says otherwise."""
_TEMPORARY = ".predictions-"
SUFFIX = ".predictions"
_MAGIC = b"mlgit predictions 1\n"
_HEADER = np.dtype([("check", "u1", 32), ("key", "u1", 32), ("examples", "<u8"), ("classes", "<u8")])
_CHECKED = len(_MAGIC) + 32
_START = len(_MAGIC) + _HEADER.itemsize


class _File(NamedTuple):
    used_ns: int
    name: str
    size_bytes: int


@final
class PredictionCache:
    """A folder of predictions; several processes may use it at once.

    Args:
        folder: Where; made when it is needed. If it cannot be written or read, nothing is remembered.
        max_bytes: How large all files may be together, in bytes.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def find(self, key: bytes, domain: DomainData) -> Predictions | None:
        """Return what is remembered, or None; it then counts as used just now.

        Args:
            key: 32 bytes: the digest of all that the predictions depend on.
            domain: What they are about; they are not those of a domain with other labels.
        """
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        found = _decode(data, key, domain)
        if found is not None:
            with suppress(OSError):
                os.utime(path)
        return found

    def keep(self, key: bytes, predictions: Predictions) -> None:
        """Remember predictions, and forget others where there is no room.

        Args:
            key: As for ``find``.
            predictions: Of one domain. Nothing happens if they are larger than all files may be together.
        """
        size_bytes = _START + predictions.labels.nbytes + predictions.probabilities.nbytes
        if size_bytes > self.max_bytes:
            return
        with suppress(OSError, FileSystemError):  # a full or read-only disk: they are computed again next time
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_abandoned(self.folder, _TEMPORARY)
            name = temporary_name(_TEMPORARY)
            with replacing(self._path(key), durable=False, temporary_name=name) as stream:
                stream.write(_encode(key, predictions))
            self._shrink()

    def clear(self) -> int:
        """Forget everything; return how many bytes that frees."""
        return sum(file.size_bytes for file in self._files() if self._remove(file))

    def size_bytes(self) -> int:
        """Return how large all files are together."""
        return sum(file.size_bytes for file in self._files())

    def _path(self, key: bytes) -> Path:
        return self.folder / f"{key.hex()}{SUFFIX}"

    def _shrink(self) -> None:
        files = sorted(self._files())
        left = sum(file.size_bytes for file in files)
        for file in files:
            if left <= self.max_bytes:
                return
            if self._remove(file):
                left -= file.size_bytes

    def _files(self) -> Iterator[_File]:
        """Yield all files, those that a killed process left half written included."""
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                if SUFFIX in entry.name:
                    with suppress(OSError):  # another process has just removed it
                        status = entry.stat(follow_symlinks=False)
                        yield _File(status.st_mtime_ns, entry.name, status.st_size)

    def _remove(self, file: _File) -> bool:
        try:
            (self.folder / file.name).unlink()
        except OSError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Remembered:
    """The part of a cache that belongs to one module on one device.

    Attributes:
        cache: The files.
        module: How the module is built, and of which libraries.
    """

    cache: PredictionCache
    module: Mapping[str, JsonValue]

    def key(self, weights: str, domain: DomainData, how: Mapping[str, JsonValue]) -> bytes:
        """Return the digest of all that predictions depend on.

        Args:
            weights: What names the weights' content.
            domain: Its digest covers images, their order, labels and preprocessing; so split and trial are in it.
            how: Arithmetic and batches.
        """
        facts: JsonValue = {
            "module": dict(self.module),
            "how": dict(how),
            "weights": weights,
            "domain": domain.name,
            "data": domain.digest,
        }
        return blake3(b"mlgit prediction 1\n" + canonical_json(facts)).digest()


def _encode(key: bytes, predictions: Predictions) -> bytes:
    labels = predictions.labels.numpy().astype("<i8", copy=False).tobytes()
    probabilities = predictions.probabilities.contiguous().numpy().astype("<f4", copy=False).tobytes()
    header = np.zeros((), _HEADER)
    header["key"] = np.frombuffer(key, np.uint8)
    header["examples"], header["classes"] = predictions.probabilities.shape
    checked = header.tobytes()[32:] + labels + probabilities
    return _MAGIC + blake3(checked).digest() + checked


def _decode(data: bytes, key: bytes, domain: DomainData) -> Predictions | None:
    """Return what a file holds if it is whole and about this key and these labels."""
    if len(data) < _START or not data.startswith(_MAGIC):
        return None
    header = np.frombuffer(data, _HEADER, 1, len(_MAGIC))[0]
    examples, classes = int(header["examples"]), int(header["classes"])
    if header["key"].tobytes() != key or examples != len(domain):
        return None
    if len(data) != _START + examples * (8 + 4 * classes):
        return None
    if blake3(memoryview(data)[_CHECKED:]).digest() != header["check"].tobytes():
        return None
    labels = torch.from_numpy(np.frombuffer(data, "<i8", examples, _START).copy())
    if not torch.equal(labels, domain.labels):
        return None
    numbers = np.frombuffer(data, "<f4", examples * classes, _START + 8 * examples)
    return Predictions(domain.name, torch.from_numpy(numbers.reshape(examples, classes).copy()), domain.labels)
