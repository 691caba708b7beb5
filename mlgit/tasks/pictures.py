"""Domains whose images lie in files: hashed when a task is opened, decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self, final

import torch
from blake3 import blake3

from mlgit.tasks.decoding import Picture, PixelSource
from mlgit.tasks.examples import Example
from mlgit.tasks.preprocessing import Pixels, Preprocessing
from mlgit.tasks.split import CPU, DomainData


@final
class PictureDomain(DomainData):
    """A domain whose images lie in files.

    Args:
        name: The domain.
        pictures: In order; labels fit the task's classes.
        source: Gives pixels; shared by all parts of the domain.
        preprocessing: What happens to each image.
        decode_size: As the source's decoder; it changes numbers, so it is part of the digest unless it is 0.
    """

    def __init__(
        self,
        name: str,
        pictures: Sequence[Picture],
        source: PixelSource,
        preprocessing: Preprocessing,
        *,
        decode_size: int = 0,
    ) -> None:
        self.name = name
        self.pictures = tuple(pictures)
        self.labels = torch.tensor([picture.label for picture in pictures], dtype=torch.int64)
        self.source = source
        self._preprocessing = preprocessing
        self._decode_size = decode_size
        self.digest = self._hash()

    def images(self, indices: torch.Tensor, device: torch.device = CPU) -> torch.Tensor:
        """Return resized, normalised images, float32 (B, 3, size, size)."""
        return self._preprocessing.plain(self._pixels(indices), device)

    def augmented(self, indices: torch.Tensor, generator: torch.Generator, device: torch.device = CPU) -> torch.Tensor:
        """Return randomly cropped, flipped and coloured images, float32 (B, 3, size, size)."""
        return self._preprocessing.augmenting(self._pixels(indices), generator, device)

    def subset(self, indices: torch.Tensor) -> Self:
        """Return the images at ``indices``."""
        chosen = [self.pictures[index] for index in indices.tolist()]
        return type(self)(self.name, chosen, self.source, self._preprocessing, decode_size=self._decode_size)

    def examples(self) -> Iterator[Example]:
        """Yield name, label and digest of each image."""
        for each in self.pictures:
            yield Example(self.name, each.path, each.label, each.digest)

    def _hash(self) -> str:
        how = [f"size {self._preprocessing.size}\n"]
        how += ["resize first\n"] if self._preprocessing.resize_first else []
        how += [f"decode {self._decode_size}\n"] if self._decode_size else []
        rows = [f"{each.digest} {each.label} {each.path}\n" for each in self.pictures]  # no path has a newline
        return blake3("".join(["mlgit domain 1 pictures\n", *how, *rows]).encode()).hexdigest()

    def _pixels(self, indices: torch.Tensor) -> list[Pixels]:
        return [self.source.pixels(self.pictures[index]) for index in indices.tolist()]
