"""A domain held in memory as whole numbers."""

from __future__ import annotations

from typing import ClassVar, Self, final

import torch
from blake3 import blake3

from mlgit.errors import InvalidInputError
from mlgit.objects.encoding import JsonValue, canonical_json
from mlgit.tasks.split import CPU, DomainData


@final
class ArrayDomain(DomainData):
    """Small images as uint8; they are normalised on the way out and never augmented.

    Args:
        name: The domain.
        pixels: uint8 (N, C, H, W).
        labels: int64 (N,).
        mean: Subtracted from ``pixels / 255``.
        std: Divides what is left; positive.

    Raises:
        InvalidInputError: Shapes or dtypes do not fit together.
    """

    augments: ClassVar[bool] = False

    def __init__(self, name: str, pixels: torch.Tensor, labels: torch.Tensor, *, mean: float, std: float) -> None:
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or labels.dtype != torch.int64:
            raise InvalidInputError(f"domain '{name}' is not uint8 (N, C, H, W) with int64 labels", kind="bad-domain")
        if labels.shape != pixels.shape[:1]:
            raise InvalidInputError(
                f"domain '{name}' has {len(pixels)} images and {len(labels)} labels", kind="bad-domain"
            )
        self.name = name
        self.labels = labels
        self.pixels = pixels
        self.mean = mean
        self.std = std
        self._values = (torch.arange(256, dtype=torch.float32) / 255 - mean) / std
        self.digest = self._hash()

    def images(self, indices: torch.Tensor, device: torch.device = CPU) -> torch.Tensor:
        """Return normalised images, float32 (B, C, H, W)."""
        return self._values[self.pixels[indices].long()].to(device)

    def augmented(self, indices: torch.Tensor, generator: torch.Generator, device: torch.device = CPU) -> torch.Tensor:
        """Return the images as they are: their domain is their augmentation."""
        del generator
        return self.images(indices, device)

    def subset(self, indices: torch.Tensor) -> Self:
        """Return the images at ``indices``."""
        return type(self)(self.name, self.pixels[indices], self.labels[indices], mean=self.mean, std=self.std)

    def _hash(self) -> str:
        content: JsonValue = {
            "shape": list(self.pixels.shape),
            "mean": self.mean,
            "std": self.std,
            "labels": blake3(self.labels.numpy().astype("<i8").tobytes()).hexdigest(),
            "pixels": blake3(self.pixels.contiguous().numpy().tobytes()).hexdigest(),
        }
        return blake3(b"mlgit domain 1 array\n" + canonical_json(content)).hexdigest()
