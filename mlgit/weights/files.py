"""The weights of safetensors files, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path

import torch

from mlgit.errors import InvalidInputError
from mlgit.fileio import file_system_error
from mlgit.weights.header import Header, HeaderEntry
from mlgit.weights.stored import empty_tensor, writable_bytes


class FileWeights(Mapping[str, torch.Tensor]):
    """The tensors of safetensors files; each look-up reads the tensor anew, by plain reads.

    A memory map would be faster, but a file that shrinks meanwhile would kill the process.

    Args:
        files: Path and header of each file; no two hold the same name.
    """

    def __init__(self, files: Sequence[tuple[Path, Header]]) -> None:
        self._places = {
            entry.name: (path, header.data_offset, entry) for path, header in files for entry in header.entries
        }
        self.entries: Mapping[str, HeaderEntry] = {name: place[2] for name, place in sorted(self._places.items())}

    def __getitem__(self, name: str) -> torch.Tensor:
        path, data_offset, entry = self._places[name]
        tensor = empty_tensor(entry.dtype, entry.shape)
        try:
            with path.open("rb", buffering=0) as stream:
                stream.seek(data_offset + entry.start)
                _fill(stream, writable_bytes(tensor), path, name)
        except OSError as error:
            raise file_system_error(error, "read", path) from error
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self._places)


def _fill(stream: FileIO, target: memoryview, path: Path, name: str) -> None:
    done = 0
    while done < target.nbytes:
        count = stream.readinto(target[done:])
        if not count:
            raise InvalidInputError(
                f"'{path}': the file ends inside tensor '{name}', after {done} of {target.nbytes} bytes",
                kind="bad-safetensors",
                hint="the file changed while it was read; run the command again when its writer is done",
            )
        done += count
