"""How a decoded image becomes a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mlgit.tasks.augmentation import Draw, draw, recolour
from mlgit.tasks.split import CPU

Pixels = NDArray[np.uint8]
"""One image, uint8 (H, W, 3), red, green and blue."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue; published weights expect them."""
_CHUNK = 32  # images at once: few enough for the processor's caches


@dataclass(frozen=True)
class Preprocessing:
    """The transforms of Ramé et al. 2023 (arXiv:2212.10445), as in DomainBed.

    Resizing is bilinear with antialiasing and rounds to whole numbers, as the published ones do: for evaluation bit for
    bit as Pillow, so on every machine; for training by a faster kernel that rounds some numbers the other way. Colours
    are changed in floating point, where the published ones round after each of up to five changes.

    Attributes:
        size: Height and width of the result, in pixels.
        resize_first: Bring images to that size before they are cropped at random, as published for WILDS.
    """

    size: int
    resize_first: bool = False

    def plain(self, images: Sequence[Pixels], device: torch.device = CPU) -> torch.Tensor:
        """Resize without keeping the aspect ratio, and normalise.

        Returns:
            float32 (B, 3, size, size) on the device.
        """
        resized = torch.empty((len(images), 3, self.size, self.size), dtype=torch.uint8)
        for row, pixels in enumerate(images):
            resized[row] = resize_exactly(pixels, self.size)
        return normalise_(resized.to(device).float().div_(255))

    def augmenting(
        self, images: Sequence[Pixels], generator: torch.Generator, device: torch.device = CPU
    ) -> torch.Tensor:
        """Crop, flip and colour at random, and normalise; cropping is done on the CPU, colours on the device.

        Args:
            images: Decoded.
            generator: All randomness comes from it.
            device: Where the result is wanted.

        Returns:
            float32 (B, 3, size, size) on the device.
        """
        result = torch.empty((len(images), 3, self.size, self.size), device=device)
        for start in range(0, len(images), _CHUNK):
            chunk = result[start : start + _CHUNK]
            some = images[start : start + _CHUNK]
            if self.resize_first:
                some = [resize(pixels, self.size).permute(1, 2, 0).numpy() for pixels in some]
            drawn = draw(torch.tensor([pixels.shape[:2] for pixels in some], dtype=torch.int64), generator)
            chunk.copy_(self.crops(some, drawn).to(device)).div_(255)
            normalise_(recolour(chunk, drawn))
        return result

    def crops(self, images: Sequence[Pixels], drawn: Draw) -> torch.Tensor:
        """Return cropped, resized, flipped images, uint8 (B, 3, size, size)."""
        result = torch.empty((len(images), 3, self.size, self.size), dtype=torch.uint8)
        boxes, flips = drawn.boxes.tolist(), drawn.flips.tolist()
        for row, (pixels, (top, left, height, width), flip) in enumerate(zip(images, boxes, flips, strict=True)):
            crop = resize(pixels[top : top + height, left : left + width], self.size)
            result[row] = crop.flip(-1) if flip else crop
        return result


def resize_exactly(pixels: Pixels, size: int) -> torch.Tensor:
    """Resize one image as Pillow does, in whole numbers; see ``resize``."""
    resized = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def resize(pixels: Pixels, size: int) -> torch.Tensor:
    """Resize one image bilinearly with antialiasing, rounded.

    Args:
        pixels: uint8 (H, W, 3).
        size: Height and width of the result.

    Returns:
        uint8 (3, size, size).
    """
    if pixels.shape[:2] == (size, size):
        return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
    image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]  # copied: what lies on disk is read-only
    return torch.nn.functional.interpolate(image, size=(size, size), mode="bilinear", antialias=True)[0]


def normalise_(images: torch.Tensor) -> torch.Tensor:
    """Normalise float32 images (B, 3, H, W) from 0 to 1, in place, and return them."""
    mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (MEAN, STD))
    return images.sub_(mean).div_(std)
